from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from genixer.data import (
    SCHEMA,
    Completion,
    Generation,
    ImageRef,
    Measured,
    Origin,
    Request,
    Sample,
    Sampling,
    Score,
    Turn,
    encode_row,
)
from genixer.errors import ConfigError
from genixer.evaluation.base import KindScore, Prediction, ScoreFile
from genixer.filters.decontaminate import BenchmarkLeaks, LeakTable
from genixer.stages.base import Step, StepOutput
from genixer.stages.report import ReportSettings, ReportStage
from genixer.store.layout import FINISH, StepFolder, shard_unit
from genixer.store.manifest import InputEntry, Manifest, write_stored
from genixer.store.reader import open_step, shard_entry
from genixer.store.shards import UnitWriter

IMAGE = ImageRef("a.png", 64, 64, "aa")


class Run:
    """A run folder with finished steps, written by the real store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        Image.new("RGB", (64, 64), (90, 160, 220)).save(root / "a.png")

    def add(
        self,
        name: str,
        stage: str,
        items: int,
        fill: Callable[[UnitWriter], None],
        reads: Iterable[str] = (),
    ) -> StepOutput:
        folder = StepFolder(self.root / name)
        with UnitWriter(folder, shard_unit(0), "basis") as out:
            fill(out)
            receipt = out.commit(items=items)
        manifest = Manifest(
            schema=SCHEMA,
            step=name,
            stage=stage,
            version=1,
            fingerprint=f"of-{name}",
            content="c",
            inputs={"rows": [InputEntry(one, f"of-{one}", "c") for one in reads]},
            one_to_one=False,
            counts=receipt.counts,
            shards=[shard_entry(receipt)],
            files=receipt.files,
            versions={"genixer": "0.1.0"},
            seconds=1.0,
            host={},
        )
        write_stored(folder.manifest, manifest)
        return open_step(folder.root)

    def report(self, inputs: dict[str, tuple[StepOutput, ...]], **settings: Any) -> Path:
        step = Step("report", 7, self.root, inputs, run=self.root)
        stage = ReportStage(ReportSettings(**settings))
        folder = StepFolder(self.root / "report")
        with UnitWriter(folder, FINISH, "basis") as out:
            assert stage.items(step) == 0
            stage.finish(step, out, open_empty(self))
            out.commit()
        return folder.files


def open_empty(run: Run) -> StepOutput:
    return run.add("empty", "report", 0, lambda out: None)


def sample(number: int) -> Sample:
    turns = (Turn("user", f"What is number {number}?"), Turn("assistant", "a cup"))
    return Sample.of("common_vqa", IMAGE, turns, Origin("generated", mode="specific"))


def scored(number: int, score: float) -> Sample:
    one = sample(number)
    origin = msgspec.structs.replace(one.origin, scores={"judge": score})
    return msgspec.structs.replace(one, origin=origin)


def generation(number: int) -> Generation:
    request = Request.of(IMAGE, "common_vqa", "specific", number, "Ask.", Sampling())
    return Generation(request.id, request, Completion(request.id, "no", (1,), (-0.1,), "stop"))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def fill_with(
    keep: Iterable[msgspec.Struct] = (),
    reject: Iterable[tuple[Any, str, dict[str, float]]] = (),
    files: dict[str, bytes] | None = None,
) -> Callable[[UnitWriter], None]:
    def fill(out: UnitWriter) -> None:
        for row in keep:
            out.keep(row)
        for row, reason, scores in reject:
            out.reject(row.id, reason, row, scores)
        for path, data in (files or {}).items():
            out.file(path, data)

    return fill


def whole_run(run: Run) -> dict[str, tuple[StepOutput, ...]]:
    """Five generations: one does not parse, the judge refuses one that is wrong."""
    world = run.add("world", "scenes", 0, fill_with())
    generate = run.add(
        "generate",
        "generate",
        5,
        fill_with(map(generation, range(5))),
        reads=["world", "generator"],
    )
    run.add(
        "generator",
        "train",
        0,
        fill_with(
            files={
                "seen.json": b'{"rows": {"vqav2/common_vqa": 40}, "start": "base"}',
                "log.jsonl": b'{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 1.5}\n',
            }
        ),
        reads=["world"],
    )
    decode = run.add(
        "decode",
        "decode",
        5,
        fill_with(map(sample, range(4)), [(generation(4), "no_answer", {})]),
        reads=["generate"],
    )
    judge = run.add(
        "judge",
        "filter",
        4,
        fill_with(
            [scored(number, 0.9) for number in range(3)],
            [(sample(3), "judge_said_no", {"judge": 0.2})],
        ),
        reads=["decode"],
    )
    verdicts = [
        Measured(sample(number).id, "common_vqa", "specific", "right" if number < 3 else "wrong")
        for number in range(4)
    ]
    table = {
        "raw": {"common_vqa": {"right": 3, "wrong": 1, "unknown": 0}},
        "kept": {"common_vqa": {"right": 3, "wrong": 0, "unknown": 0}},
    }
    measure = run.add(
        "measure",
        "measure",
        4,
        fill_with(verdicts, files={"precision.json": encode_row(table)}),
        reads=["decode", "judge", "world"],
    )
    assert world.rows_kept == 0
    return {
        "generated": (generate,),
        "decoded": (decode,),
        "judged": (judge,),
        "precision": (measure,),
    }


def page_data(files: Path) -> dict[str, Any]:
    html = (files / "index.html").read_text()
    return dict(msgspec.json.decode(html.partition('id="data">')[2].partition("</script>")[0]))


def test_whole_run_becomes_page_text_and_card(run: Run) -> None:
    files = run.report(whole_run(run))
    text = (files / "summary.txt").read_text()
    tables = [table.splitlines() for table in text.split("\n\n")]
    lines = {line.split()[0]: line.split() for table in tables for line in table[2:]}
    judged = {line.split()[0]: line.split() for line in tables[3][2:]}
    lines["common_vqa"] = next(line.split() for line in tables[2] if line.startswith("common_vqa"))
    assert lines["generate"] == ["generate", "5", "5", "-", "-"]
    assert lines["decode"] == ["decode", "5", "4", "no_answer", "1", "-"]
    assert lines["judge"] == ["judge", "4", "3", "judge_said_no", "1", "-"]
    assert lines["common_vqa"][1:] == ["75.0", "(30-95)", "of", "4", "100.0", "(44-100)", "of", "3"]
    assert judged["common_vqa"] == ["common_vqa", "3", "1", "100.0", "100.0", "100.0"]
    assert lines["generator"] == ["generator", "base", "40", "vqav2", "40"]
    assert "3 generated rows" in (files / "dataset_card.md").read_text()


def test_gallery_shows_every_fate_with_its_truth(run: Run) -> None:
    data = page_data(run.report(whole_run(run)))
    rows = [(row["outcome"], row["reason"], row["truth"]) for row in data["gallery"]["rows"]]
    assert sorted(rows) == [
        ("kept", "", "right"),
        ("kept", "", "right"),
        ("kept", "", "right"),
        ("rejected", "judge_said_no", "wrong"),
        ("unreadable", "no_answer", "unknown"),
    ]
    assert data["judge"]["passing"][""]["wrong"][40:42] == [1, 0]
    assert len(data["gallery"]["pictures"]) == 1


def test_gallery_holds_no_more_rows_than_its_limit(run: Run) -> None:
    gallery = page_data(run.report(whole_run(run), gallery_limit=2))["gallery"]
    assert (gallery["total"], len(gallery["rows"])) == (5, 2)


def test_ledger_lists_every_step_behind_the_report_after_what_it_read(run: Run) -> None:
    html = (run.report(whole_run(run)) / "index.html").read_text()
    assert "The ledger of all 6 steps" in html
    table = html.partition("The ledger of all 6 steps")[2].partition("</table>")[0]
    places = [table.index(f">{name}</th>") for name in ("world", "generator", "generate", "judge")]
    assert places == sorted(places)


def test_same_run_gives_the_same_bytes(run: Run, tmp_path: Path) -> None:
    inputs = whole_run(run)
    first = (run.report(inputs) / "index.html").read_bytes()
    assert (run.report(inputs) / "index.html").read_bytes() == first


def test_run_without_anything_still_has_a_page(run: Run) -> None:
    files = run.report({})
    assert "no generate, decode or filter step" in (files / "summary.txt").read_text()
    assert "0 generated rows" in (files / "dataset_card.md").read_text()


def test_slider_starts_where_the_run_filtered(run: Run) -> None:
    inputs = whole_run(run)
    config = {
        "name": "mine",
        "steps": {"j": {"with": {"filters": [{"name": "judge", "keep_above": 0.7}]}}},
    }
    (run.root / "run.json").write_bytes(encode_row({"schema": 1, "config": config}))
    files = run.report(inputs)
    assert page_data(files)["judge"]["threshold"] == 0.7
    assert (files / "summary.txt").read_text().startswith("mine (config ")
    assert page_data(run.report(inputs, threshold=0.25))["judge"]["threshold"] == 0.25


def evaluated(run: Run, name: str, marks: list[float]) -> StepOutput:
    rows = [
        Prediction(f"q{n}", "pope", "adv_vqa", IMAGE, "Is it?", "yes", mark, ("yes",))
        for n, mark in enumerate(marks)
    ]
    scores = ScoreFile({}, (KindScore("pope", "", Score("accuracy", 0.5, 4, (0.0, 1.0))),))
    files = {"scores.json": encode_row(scores)}
    return run.add(name, "evaluate", len(rows), fill_with(rows, files=files))


def test_answers_of_the_students_become_a_table(run: Run) -> None:
    scores = (
        evaluated(run, "evaluate-none-1", [1.0, 0.0, 0.0, 0.0]),
        evaluated(run, "evaluate-kept-1", [1.0, 1.0, 1.0, 0.0]),
    )
    lines = (run.report({"scores": scores}) / "summary.txt").read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("Students"))
    assert lines[start].endswith("below it the difference to none")
    assert lines[start + 1].split() == ["benchmark", "metric", "none", "kept"]
    assert lines[start + 2].split()[:3] == ["pope", "accuracy", "25.0"]
    assert lines[start + 3].split()[0] == "+50.0"


def test_without_an_arm_called_none_the_first_is_what_others_are_compared_with(run: Run) -> None:
    scores = (
        evaluated(run, "evaluate-old-1", [1.0, 0.0, 0.0, 0.0]),
        evaluated(run, "evaluate-new-1", [1.0, 1.0, 1.0, 0.0]),
    )
    text = (run.report({"scores": scores}) / "summary.txt").read_text()
    assert "below it the difference to old" in text
    assert "+50.0" in text
    again = (run.report({"scores": scores}, baseline="new") / "summary.txt").read_text()
    assert "below it the difference to new" in again
    assert "-50.0" in again


def test_evaluate_step_that_scored_nothing_is_named(run: Run) -> None:
    odd = run.add("odd", "collect", 0, fill_with())
    with pytest.raises(ConfigError, match=r"role `scores` wrote no scores\.json"):
        run.report({"scores": (odd,)})


def test_models_that_saw_the_same_share_a_line(run: Run) -> None:
    seen = {"seen.json": b'{"rows": {"vqav2/common_vqa": 40}, "start": "elsewhere"}'}
    names = ["student-kept-1", "student-kept-2", "student-none-1"]
    steps = [run.add(name, "train", 0, fill_with(files=seen)) for name in names]
    text = (run.report({"models": tuple(steps)}) / "summary.txt").read_text()
    table = text.partition("has seen")[2].splitlines()[2:]
    assert [line.split("  ")[0] for line in table] == [
        "student-kept-1, student-kept-2",
        "student-none-1",
    ]


def test_weights_that_say_what_they_had_seen_come_first(run: Run) -> None:
    start = run.root / "weights"
    start.mkdir()
    (start / "model.safetensors").touch()
    (start / "seen.json").write_text('{"rows": {"world/dense_caption": 900}, "start": "new:tiny"}')
    seen = encode_row({"rows": {"vqav2/common_vqa": 40}, "start": str(start)})
    student = run.add("student", "train", 0, fill_with(files={"seen.json": seen}))
    text = (run.report({"models": (student,)}) / "summary.txt").read_text()
    assert text.index("world 900") < text.index("student") < text.index("vqav2 40")


def test_openmoji_is_named_where_the_embedded_world_is_shown(run: Run) -> None:
    assert "OpenMoji" in (run.report(whole_run(run)) / "index.html").read_text()
    assert "OpenMoji" not in (run.report({}) / "index.html").read_text()


def test_step_that_measured_nothing_is_named(run: Run) -> None:
    odd = run.add("odd", "collect", 0, fill_with())
    with pytest.raises(
        ConfigError, match=r"step odd \(stage collect\).*name a step of stage measure"
    ):
        run.report({"precision": (odd,)})


def test_threshold_outside_the_scores_range_is_refused() -> None:
    with pytest.raises(ValueError, match="less than or equal to 1"):
        ReportSettings(threshold=1.5)


def test_card_and_page_know_which_mixtures_were_checked_for_leaks(run: Run) -> None:
    inputs = whole_run(run)
    text = (run.report(inputs) / "dataset_card.md").read_text()
    assert "These rows: not checked against any benchmark." in text
    found = LeakTable(True, 4, 1, benchmarks=(BenchmarkLeaks("pope", 3, 9, rows=1, by_look=1),))
    for name, table in (("mix-kept", found), ("mix-none", LeakTable(False))):
        run.add(name, "mix", 0, fill_with(files={"leaks.json": encode_row(table)}), ["decode"])
    student = run.add("student", "train", 0, fill_with(), reads=["mix-kept", "mix-none"])
    files = run.report(inputs | {"judged": (*inputs["judged"], student)})
    page = (files / "index.html").read_text()
    assert "<h3>mix-kept</h3>" in page
    assert "mix-none: not checked against any benchmark." in page
    text = (files / "dataset_card.md").read_text()
    assert "mix-none: not checked against any benchmark." in text
    assert "| mix-kept | pope | 1 | 0 | 1 | 0 |" in text
