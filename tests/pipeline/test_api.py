import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from pydantic import BaseModel

import genixer
from genixer.data import ImageRef, Origin, Sample, Turn, encode_row
from genixer.errors import ConfigError, DataError, StoreError, UnknownNameError
from genixer.pipeline import api
from genixer.registry import Entry, Registry

Write = Callable[..., Path]
CAT = ImageRef("cat.png", 64, 64, "ab12")
SAMPLE = Sample.of("rec", CAT, (Turn("user", "Where?"), Turn("assistant", "There.")), Origin("x"))


class LinesSettings(BaseModel):
    indent: int | None = None


class Lines:
    """A format as simple as can be."""

    Settings = LinesSettings

    def __init__(self, settings: LinesSettings) -> None:
        self.settings = settings

    def write(self, samples: Iterable[Sample], out: Path, images: Path) -> dict[str, int]:
        rows = [{"id": one.id, "images": str(images)} for one in samples]
        out.write_text(json.dumps(rows, indent=self.settings.indent))
        return {"samples": len(rows)}


@pytest.fixture
def formats(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Registry("format", {"lines": Entry(f"{__name__}:Lines", "for tests")})
    monkeypatch.setattr(table, "load", lambda _: Lines)
    real = api.registry
    monkeypatch.setattr(api, "registry", lambda kind: table if kind == "formats" else real(kind))


@pytest.fixture
def folder(toy_config: Write, tmp_path: Path) -> Path:
    copies = {"stage": "toy_samples", "with": {"sample": encode_row(SAMPLE).decode()}}
    return genixer.run(toy_config(copies=copies), out=tmp_path / "run").folder


def exported(source: Path, **options: object) -> object:
    out = source.parent / "out.json"
    counts = genixer.export(source, out, format="lines", **options)
    assert counts == {"samples": 1}
    return json.loads(out.read_text())


def test_the_one_step_that_keeps_samples_is_exported(folder: Path, formats: None) -> None:
    images = str(folder / "numbers" / "files" / "images")
    assert exported(folder) == [{"id": SAMPLE.id, "images": images}]
    assert exported(folder, step="copies") == exported(folder)
    assert exported(folder / "copies") == exported(folder)
    assert exported(folder) == exported(folder, settings={"indent": 1})
    assert "\n" in (folder.parent / "out.json").read_text()


def test_of_several_steps_with_samples_one_has_to_be_named(
    toy_config: Write, formats: None, tmp_path: Path
) -> None:
    copies = {"stage": "toy_samples", "with": {"sample": encode_row(SAMPLE).decode()}}
    run = genixer.run(toy_config(copies=copies, more=copies), out=tmp_path / "run").folder
    several = r"copies \(toy_samples, 1 rows\), more \(toy_samples, 1 rows\); name one: --step more"
    with pytest.raises(ConfigError, match=several):
        exported(run)
    assert exported(run, step="copies")


def test_a_file_of_rows_is_exported(folder: Path, formats: None) -> None:
    shard = folder / "copies" / "part-00000.jsonl"
    assert exported(shard, images="pictures") == [{"id": SAMPLE.id, "images": "pictures"}]
    with pytest.raises(DataError, match=r"part-00000\.jsonl:1: not a Sample"):
        exported(folder / "numbers" / "part-00000.jsonl")


def test_what_cannot_be_exported_is_said(
    folder: Path, formats: None, toy_config: Write, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"no step is called 'copis'; did you mean copies"):
        exported(folder, step="copis")
    with pytest.raises(StoreError, match="neither a run folder, a finished step"):
        exported(tmp_path / "nothing")
    bare = genixer.run(toy_config(), out=tmp_path / "bare").folder
    with pytest.raises(StoreError, match="no finished step keeps samples"):
        exported(bare)


def test_plugins_are_listed_without_being_loaded(toys: None) -> None:
    stages = {one["name"]: one for one in genixer.list_plugins("stages")}
    assert stages["toy_sum"]["about"] == "from genixer-toys"
    assert "mix" in stages
    with pytest.raises(UnknownNameError, match="did you mean stages"):
        genixer.list_plugins("stage")


def test_a_report_is_made_again_and_shown(
    toy_config: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genixer.stages import STAGES

    report = Entry("genixer_toys:Page", "stands in for the page")
    monkeypatch.setitem(STAGES._own, "report", report)
    config = toy_config(page={"stage": "report", "from": ["total"]})
    result = genixer.run(config, out=tmp_path / "run")
    assert result.summary == f"2 lines\nin short\n\nReport: {tmp_path}/run/page/files/index.html"
    again = genixer.build_report(tmp_path / "run")
    assert again.worked == ("page",)
    assert again.summary == result.summary
    assert genixer.verify(tmp_path / "run").ok


def test_a_report_needs_a_run_and_a_step(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no step of the stage report"):
        genixer.build_report(folder)
    with pytest.raises(StoreError, match="no run is here"):
        genixer.build_report(tmp_path)


def test_the_package_offers_what_it_says() -> None:
    assert sorted(genixer.__all__) == genixer.__all__
    for name in genixer.__all__:
        assert getattr(genixer, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = genixer.nothing
