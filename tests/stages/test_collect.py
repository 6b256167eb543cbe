from pathlib import Path

import msgspec
import pytest
from pydantic import ValidationError

from genixer.data import Sample, encode_row
from genixer.errors import ConfigError
from genixer.stages.base import Step
from genixer.stages.collect import CollectSettings, CollectStage
from genixer.store import images as store_images
from genixer.store.shards import raw_bytes, raw_text

FIXTURES = Path(__file__).parents[1] / "fixtures"
SOURCES = FIXTURES / "sources"
POPE = {"name": "pope", "questions": str(SOURCES / "pope.jsonl")}
BROKEN = {"name": "pope", "questions": str(SOURCES / "pope_broken.jsonl")}
REFCOCO = {
    "name": "refcoco",
    "refs": str(SOURCES / "refs.json"),
    "instances": str(SOURCES / "instances.json"),
}


def stage(*sources, **settings) -> CollectStage:
    return CollectStage(CollectSettings.model_validate({"sources": sources, **settings}))


def samples(done):
    return [msgspec.json.decode(row, type=Sample) for row in done.kept]


def test_sources_follow_each_other_and_shards_do_not_change_the_rows(run_stage):
    images = FIXTURES / "images"
    whole = run_stage(stage(POPE, BROKEN, REFCOCO), images=images, name="a")
    parts = run_stage(stage(POPE, BROKEN, REFCOCO), images=images, name="b", shard=2)
    assert whole.kept == parts.kept
    assert [row.origin.source for row in samples(whole)] == ["pope"] * 5 + ["refcoco"] * 8
    assert whole.quarantines == parts.quarantines
    assert [q.where for q in whole.quarantines][:2] == [
        "pope_broken.jsonl:2",
        "pope_broken.jsonl:4",
    ]


def test_bytes_of_a_broken_entry_are_kept_as_they_came(run_stage, tmp_path):
    seen = []

    class Spy:
        def keep(self, row):
            pass

        def quarantine(self, where, reason, detail="", raw=""):
            seen.append(raw_bytes(raw_text(raw)))

    step = Step("collect", 7, FIXTURES / "images", run=tmp_path)
    stage(BROKEN).process(step, 0, 8, Spy())
    lines = (SOURCES / "pope_broken.jsonl").read_bytes().split(b"\n")
    assert lines[3] in seen


def test_paths_of_other_steps_are_resolved(run_stage, tmp_path):
    files = tmp_path / "world" / "files"
    files.mkdir(parents=True)
    (files / "q.jsonl").write_bytes((SOURCES / "pope.jsonl").read_bytes())
    at = {"name": "pope", "questions": "@world/q.jsonl"}
    assert len(run_stage(stage(at), images=FIXTURES / "images").kept) == 3
    assert stage(at).external() == []
    assert stage(POPE, REFCOCO).external() == [
        SOURCES / "pope.jsonl",
        SOURCES / "refs.json",
        SOURCES / "instances.json",
    ]


def test_limits_take_the_first_and_a_short_run_sees_every_source(run_stage):
    images = FIXTURES / "images"
    two = run_stage(stage(POPE, REFCOCO, limit_per_source=2), images=images, name="a")
    assert [row.task for row in samples(two)] == ["adv_vqa"] * 2 + ["rec", "reg"]
    short = run_stage(stage(POPE, REFCOCO), images=images, name="b", limit=4)
    assert [row.task for row in samples(short)] == ["adv_vqa"] * 2 + ["rec", "reg"]
    one = run_stage(stage({**REFCOCO, "limit": 1}, POPE), images=images, name="c")
    assert [row.task for row in samples(one)] == ["rec"] + ["adv_vqa"] * 3


def test_a_fraction_is_drawn_by_the_seed_in_file_order(run_stage):
    images = FIXTURES / "images"
    everything = run_stage(stage(REFCOCO), images=images, name="all").kept
    drawn = [
        run_stage(
            stage({**REFCOCO, "fraction": 0.5}), images=images, name=f"r{seed}-{at}", seed=seed
        ).kept
        for seed in (1, 2, 3)
        for at in (0, 1)
    ]
    assert drawn[0] == drawn[1]
    assert len({tuple(rows) for rows in drawn}) > 1
    for rows in drawn:
        assert len(rows) == 4
        assert rows == [row for row in everything if row in set(rows)]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"name": "popes", "questions": "q"}, "did you mean pope"),
        ({"name": "pope", "question": "q"}, "questions: Field required; question: Extra inputs"),
        ({"name": "pope", "questions": "q", "fraction": 0}, "greater than 0"),
        ({"name": "vqav2", "questions": "q", "annotations": "a", "image_pattern": "x"}, "image_id"),
    ],
)
def test_a_wrong_source_is_found_before_anything_runs(source, message):
    with pytest.raises(ValidationError, match=message):
        CollectSettings.model_validate({"sources": [source]})


def test_a_file_that_is_not_there_stops_the_step(run_stage, tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.jsonl"):
        run_stage(stage({"name": "pope", "questions": str(tmp_path / "gone.jsonl")}))


def test_an_image_is_decoded_once_for_all_workers_and_rows_stay_the_same(
    run_stage, tmp_path, monkeypatch
):
    images = FIXTURES / "images"
    alone = run_stage(stage(POPE, REFCOCO), images=images, name="alone")
    decoded = []
    decode = store_images._decode
    monkeypatch.setattr(
        store_images,
        "_decode",
        lambda file, path, most: decoded.append(path) or decode(file, path, most),
    )
    run = tmp_path / "run"
    (run / "collect" / ".tmp").mkdir(parents=True)

    class Rows:
        def __init__(self):
            self.kept = []

        def keep(self, row):
            self.kept.append(encode_row(row))

    out, step = Rows(), Step("collect", 7, images, run=run)
    for first in range(0, len(alone.kept), 3):  # a fresh stage each, as in another worker
        stage(POPE, REFCOCO).process(step, first, 3, out)
    assert out.kept == alone.kept
    assert sorted(decoded) == sorted({row.image.path for row in samples(alone)})
    stage(POPE).finish(step, out, None)
    assert list((run / "collect" / ".tmp").iterdir()) == []
