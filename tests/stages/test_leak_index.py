"""Leaks planted in the embedded world: the index knows its benchmarks, the mixture loses them all.

And nothing else: the pools share backgrounds, objects and manner of speaking.
"""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from genixer.data import ImageRef, Origin, Sample, Turn, decode_row
from genixer.errors import ConfigError
from genixer.filters.decontaminate import LeakTable
from genixer.filters.leak_index import HashedItem, LeakIndex
from genixer.stages.base import Estimate, Step
from genixer.stages.collect import CollectSettings, CollectStage
from genixer.stages.filter import FilterStage, FilterStageSettings
from genixer.stages.leak_index import LeakIndexSettings, LeakIndexStage
from genixer.stages.mix import MixSettings, MixStage
from genixer.stages.scenes import ScenesSettings, ScenesStage
from genixer.store.images import ImageCatalog
from tests.stages.conftest import MemoryStep, MemoryWriter

POOL = {"images": 60, "backgrounds": ["sky", "grass"], "mirror": 0.5}
LONG = "In which of the four corners of this picture is the thing that is not alive and not blue?"


def vqa(pool: str) -> dict[str, str]:
    return {
        "name": "vqav2",
        "questions": f"@world/{pool}/annotations/vqav2_questions.json",
        "annotations": f"@world/{pool}/annotations/vqav2_annotations.json",
        "image_pattern": f"{pool}/images/{{image_id:06d}}.jpg",
    }


def pope(pool: str) -> dict[str, str]:
    return {"name": "pope", "questions": f"@world/{pool}/annotations/pope.jsonl"}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world, drawn once."""
    folder = tmp_path_factory.mktemp("world")
    settings = ScenesSettings.model_validate({"pools": {"labelled": POOL, "test": POOL}})
    stage, step = ScenesStage(settings), Step("world", 7, folder, run=folder)
    out = MemoryWriter(folder)
    stage.process(step, 0, stage.items(step), out)
    done = MemoryStep("world", "scenes", folder, out.kept)
    stage.finish(step, out, done)
    return folder


@pytest.fixture
def world(drawn: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged at will."""
    return shutil.copytree(drawn, tmp_path / "world" / "files")


@pytest.fixture
def ask_longer(world: Path) -> str:
    """Give one question of the test pool more words than a run has, and return it."""
    path = world / "test/annotations/vqav2_questions.json"
    data = json.loads(path.read_text())
    data["questions"][0]["question"] = LONG
    path.write_text(json.dumps(data))
    return LONG


@pytest.fixture
def index(run_stage, world: Path, ask_longer: str) -> Callable[..., Any]:
    def run(name: str = "leaks", shard: int = 512, **settings: Any) -> Any:
        if not settings:
            settings = {"benchmarks": [vqa("test"), pope("test")]}
        stage = LeakIndexStage(LeakIndexSettings.model_validate(settings))
        return run_stage(stage, {}, name=name, shard=shard, images=world)

    return run


def collected(run_stage, world: Path) -> list[Sample]:
    settings = CollectSettings.model_validate({"sources": [vqa("labelled"), pope("labelled")]})
    return list(run_stage(CollectStage(settings), {}, "collect", images=world).rows(Sample))


def plant(world: Path) -> dict[str, str]:
    """Pictures of the test pool in the labelled one, each in another way; path -> way."""
    test, ours = world / "test/images", world / "labelled/images"
    shutil.copy(test / "000003.jpg", ours / "copy.jpg")
    with Image.open(test / "000004.jpg") as image:
        image.save(ours / "coded.jpg", quality=60)
        image.resize((180, 180)).save(ours / "small.webp", quality=80)
        image.resize((512, 480)).save(ours / "large.png")
        image.convert("L").save(ours / "grey.png")
    return {"copy.jpg": "bytes"} | dict.fromkeys(
        ("coded.jpg", "small.webp", "large.png", "grey.png"), "look"
    )


def asks(world: Path, path: str, question: str) -> Sample:
    image = ImageCatalog(world).ref(path)
    turns = Turn("user", question), Turn("assistant", "a cup")
    return Sample.of("common_vqa", image, turns, Origin("planted"))


@pytest.mark.parametrize("shard", [37, 512])
def test_all_planted_leaks_are_taken_out_and_nothing_else(
    run_stage, tmp_path: Path, world: Path, index: Callable[..., Any], shard: int
) -> None:
    index()
    clean = collected(run_stage, world)
    ways = plant(world)
    pictures = [asks(world, f"labelled/images/{name}", "What is it?") for name in ways]
    words = asks(world, "labelled/images/000001.jpg", f"Tell me. {LONG}")
    rows = [*clean[:200], *pictures, *clean[200:], words]
    base = [MemoryStep("base", "any", tmp_path, as_rows(rows))]
    stage = MixStage(MixSettings(arm="none", leak_index="@leaks/benchmarks.leaks"))
    step = run_stage(stage, {"base": base}, "mix", images=world, shard=shard)
    assert list(step.rows(Sample)) == clean
    reasons = {one.id: one.reason for one in step.rejects}
    assert reasons == {one.id: "benchmark_picture" for one in pictures} | {
        words.id: "benchmark_question"
    }
    table = decode_row((step.files / "leaks.json").read_bytes(), LeakTable)
    assert (table.checked, table.rows, table.leaked) == (True, len(rows), 6)
    vqa_leaks, pope_leaks = table.benchmarks
    assert (vqa_leaks.rows, vqa_leaks.by_bytes, vqa_leaks.by_look, vqa_leaks.by_words) == (
        6,
        1,
        5,
        1,
    )
    assert (pope_leaks.rows, pope_leaks.by_words) == (5, 0)
    found = {
        note["id"]: {(one["benchmark"], one["by"]) for one in note["finding"]["leaks"]}
        for path in sorted(step.files.glob("leaks/*.jsonl"))
        for note in map(json.loads, path.read_text().splitlines())
    }
    assert found[words.id] == {("vqav2", "words")}
    for one, way in zip(pictures, ways.values(), strict=True):
        assert ("vqav2", way) in found[one.id]


def as_rows(rows: list[Sample]) -> list[bytes]:
    from genixer.data import encode_row

    return [encode_row(row) for row in rows]


def test_every_arm_loses_the_same_pictures(
    run_stage, tmp_path: Path, world: Path, index: Callable[..., Any]
) -> None:
    index()
    base = collected(run_stage, world)[:20]
    leaking = [asks(world, "test/images/000002.jpg", f"Question {n}?") for n in range(3)]
    roles = {
        role: [MemoryStep(role, "any", tmp_path, as_rows(rows))]
        for role, rows in {"base": base, "synthetic": [*leaking, *base[:4]]}.items()
    }
    for arm in ("kept", "shuffled"):
        stage = MixStage(MixSettings(arm=arm, leak_index="@leaks/benchmarks.leaks"))
        step = run_stage(stage, roles, f"mix-{arm}", images=world)
        leaked = [one.id for one in step.rejects if one.reason == "benchmark_picture"]
        assert leaked == [one.id for one in leaking]


def test_a_picture_that_cannot_be_looked_at_is_rejected_and_counted(
    run_stage, tmp_path: Path, world: Path, index: Callable[..., Any]
) -> None:
    index()
    one = collected(run_stage, world)[0]
    (world / one.image.path).unlink()
    base = [MemoryStep("base", "any", tmp_path, as_rows([one]))]
    stage = MixStage(MixSettings(arm="none", leak_index="@leaks/benchmarks.leaks"))
    step = run_stage(stage, {"base": base}, "mix", images=world)
    assert [reject.reason for reject in step.rejects] == ["missing_image"]
    table = decode_row((step.files / "leaks.json").read_bytes(), LeakTable)
    assert (table.rows, table.leaked, table.unreadable) == (1, 0, 1)


def test_without_an_index_the_mixture_says_it_was_not_checked(
    run_stage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = [MemoryStep("base", "any", tmp_path, [])]
    with caplog.at_level(logging.WARNING):
        step = run_stage(MixStage(MixSettings(arm="none")), {"base": base}, "mix")
    assert "step mix: not checked for leaks" in caplog.text
    assert decode_row((step.files / "leaks.json").read_bytes(), LeakTable) == LeakTable(False)


def test_a_missing_index_stops_the_mixture_before_it_begins(run_stage, tmp_path: Path) -> None:
    base = [MemoryStep("base", "any", tmp_path, [])]
    stage = MixStage(MixSettings(arm="none", leak_index=str(tmp_path / "gone.leaks")))
    assert stage.external() == [tmp_path / "gone.leaks"]
    with pytest.raises(ConfigError, match=r"gone\.leaks: no leak index"):
        run_stage(stage, {"base": base}, "mix")


def test_the_filter_takes_them_out_of_any_step(
    run_stage, world: Path, index: Callable[..., Any]
) -> None:
    index()
    filters = ({"name": "decontaminate", "index": "@leaks/benchmarks.leaks"},)
    stage = FilterStage(FilterStageSettings(filters=filters))
    assert stage.external() == [Path("@leaks/benchmarks.leaks")]
    rows = [
        asks(world, "test/images/000002.jpg", "What?"),
        asks(world, "labelled/images/000002.jpg", "What?"),
    ]
    step = run_stage(stage, rows, "clean", images=world)
    assert [one.id for one in step.rejects] == [rows[0].id]


@pytest.mark.parametrize("shard", [1, 50])
def test_the_index_is_the_same_bytes_whatever_the_shards(
    index: Callable[..., Any], shard: int
) -> None:
    whole, parts = index("whole"), index("parts", shard=shard)
    assert whole.kept == parts.kept
    names = ("whole", "parts")
    one, two = ((step.files / "benchmarks.leaks").read_bytes() for step in (whole, parts))
    assert one == two, names


def test_an_index_holds_hashes_of_every_way_to_name_a_benchmark(
    index: Callable[..., Any], world: Path
) -> None:
    (world / "test/images/broken.jpg").write_bytes(b"\xff\xd8\xff no more")
    step = index(
        benchmarks=[pope("test") | {"label": "pope test", "limit": 20}],
        sources={"vqa": vqa("test")},
        folders={"pictures": "@world/test/images"},
    )
    found = {one.name: one for one in LeakIndex(step.files / "benchmarks.leaks").benchmarks}
    assert set(found) == {"pope test", "vqa", "pictures"}
    assert found["pope test"].questions == 20
    assert (found["pictures"].pictures, found["pictures"].questions) == (60, 0)
    assert 0 < found["vqa"].questions - found["vqa"].short < 20, "few have enough words"
    assert [(one.where, one.reason) for one in step.quarantines] == [
        ("broken.jpg", "corrupt_image")
    ]
    for item in step.rows(HashedItem):
        assert "jpg" not in item.id


def test_a_folder_without_pictures_is_a_mistake(index: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ConfigError, match="nothing: no pictures for the benchmark mme"):
        index(folders={"mme": str(tmp_path / "nothing")})


def test_rows_a_source_cannot_read_are_quarantined(index: Callable[..., Any], world: Path) -> None:
    lines = (world / "test/annotations/pope.jsonl").read_text().splitlines()
    (world / "test/annotations/pope.jsonl").write_text("\n".join(["{broken", *lines[1:]]) + "\n")
    step = index(benchmarks=[pope("test")])
    assert len(step.kept) == len(lines) - 1
    assert [one.where for one in step.quarantines] == ["pope.jsonl:1"]


def test_a_picture_that_goes_while_it_is_read_is_quarantined(
    index: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ImageCatalog.ref

    def and_gone(self: ImageCatalog, path: str) -> ImageRef:
        found = real(self, path)
        (self.root / path).unlink()
        return found

    monkeypatch.setattr(ImageCatalog, "ref", and_gone)
    step = index(folders={"pictures": "@world/test/images"})
    assert step.kept == []
    assert {one.reason for one in step.quarantines} == {"missing_image"}


def test_a_short_run_sees_every_benchmark(
    run_stage, index: Callable[..., Any], world: Path
) -> None:
    settings = {"benchmarks": [vqa("test"), pope("test")]}
    stage = LeakIndexStage(LeakIndexSettings.model_validate(settings))
    step = run_stage(stage, {}, "short", images=world, limit=10)
    names = [one.benchmark for one in step.rows(HashedItem)]
    assert names == ["vqav2"] * 5 + ["pope"] * 5


def test_files_outside_the_run_are_named(tmp_path: Path) -> None:
    settings = {
        "benchmarks": [{"name": "pope", "questions": str(tmp_path / "pope.jsonl")}],
        "sources": {"vqa": vqa("test")},
        "folders": {"mme": str(tmp_path / "mme"), "ours": "@world/test/images"},
    }
    stage = LeakIndexStage(LeakIndexSettings.model_validate(settings))
    assert stage.external() == [tmp_path / "pope.jsonl", tmp_path / "mme"]
    assert stage.estimate({}) == Estimate()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "name something to know"),
        ({"benchmarks": [pope("a"), pope("b")]}, "a name .or label. of its own"),
        ({"sources": {"x": pope("a")}, "folders": {"x": "y"}}, "a name .or label. of its own"),
        ({"sources": {"x": pope("a") | {"fraction": 0.5}}}, "leave out fraction"),
        ({"folders": {"x": "y"}, "words": 2}, "greater than or equal to 3"),
    ],
)
def test_settings_that_would_leave_holes_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LeakIndexSettings.model_validate(settings)
