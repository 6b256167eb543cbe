from collections import Counter
from pathlib import Path

import msgspec
import pytest
from pydantic import ValidationError

from genixer.data import Sample
from genixer.formats import FORMATS
from genixer.stages.import_file import ImportSettings, ImportStage

FIXTURES = Path(__file__).parents[1] / "fixtures"
IMAGES = FIXTURES / "images"


def stage(name="ms_swift", file="ms_swift.jsonl", **settings):
    path = str(FIXTURES / "formats" / file)
    given = {"format": name, "path": path, "settings": settings}
    return ImportStage(ImportSettings.model_validate(given))


def test_shards_do_not_change_the_rows(run_stage):
    whole = run_stage(stage(), images=IMAGES, name="a")
    parts = run_stage(stage(), images=IMAGES, name="b", shard=3)
    assert whole.kept == parts.kept
    assert len(whole.kept) == 4
    assert {msgspec.json.decode(row, type=Sample).origin.source for row in whole.kept} == {
        "ms_swift"
    }


def test_broken_rows_are_quarantined_with_their_line(run_stage):
    done = run_stage(stage(file="ms_swift_broken.jsonl"), images=IMAGES, shard=5)
    assert (len(done.kept), len(done.quarantines)) == (1, 13)
    assert Counter(one.reason for one in done.quarantines)["missing_object"] == 2
    assert done.quarantines[0].where == "ms_swift_broken.jsonl:2"


def test_a_format_that_knows_no_parts_is_read_through_once_more_for_its_count(
    run_stage, monkeypatch
):
    real, opened = FORMATS.load("ms_swift"), []

    class Whole:
        Settings = real.Settings

        def __init__(self, settings):
            self._real = real(settings)

        def read(self, path, images):
            opened.append(path)
            return self._real.read(path, images)

    monkeypatch.setattr(FORMATS, "load", lambda _: Whole)
    done = run_stage(stage(), images=IMAGES, shard=2)
    assert len(opened) == 2
    assert len(done.kept) == 4
    jumps = stage()
    assert [one.id for one in jumps._rows(_step(), 2, 1)] == [
        msgspec.json.decode(done.kept[2])["id"]
    ]
    assert [one.id for one in jumps._rows(_step(), 0, 1)] == [
        msgspec.json.decode(done.kept[0])["id"]
    ]


def _step():
    from genixer.stages.base import Step

    return Step("import", 7, IMAGES)


def test_the_sidecar_counts_as_input(tmp_path):
    path = tmp_path / "a.json"
    settings = ImportSettings(format="llava", path=path)
    assert ImportStage(settings).external() == [path]
    sidecar = tmp_path / "a.json.provenance.jsonl"
    sidecar.touch()
    assert ImportStage(settings).external() == [path, sidecar]


def test_what_a_file_will_give_is_not_guessed():
    assert stage().estimate({}).items is None


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [("lava", {}, "did you mean llava"), ("llava", {"fram": "unit"}, "did you mean frame")],
)
def test_wrong_settings_are_told_before_anything_is_read(name, settings, message):
    with pytest.raises(ValidationError, match=message):
        stage(name, "sharegpt.jsonl", **settings)
