"""What every benchmark owes: gold answers score full, empty ones nothing, ids stay."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from genixer.data import Quarantined, encode_row
from genixer.evaluation import BENCHMARKS
from genixer.evaluation.base import Item, Prediction, by_kind
from genixer.sources import SOURCES
from genixer.stages.evaluate import BenchmarkConfig
from genixer.tasks.base import Canvas
from genixer.tasks.voices import answer_text

FIXTURES = Path(__file__).parents[1] / "fixtures"
FILES = {
    "vqav2": {"questions": "vqav2_questions.json", "annotations": "vqav2_annotations.json"},
    "pope": {"questions": "pope.jsonl"},
    "aokvqa": {"questions": "aokvqa.json"},
    "rec": {"refs": "refs.json", "instances": "instances.json"},
    "reg": {"refs": "refs.json", "instances": "instances.json"},
}
EXTRA = {
    "vqav2": {"image_pattern": "{image_id}.png"},
    "aokvqa": {"image_pattern": "{image_id}.png"},
}
GARBAGE = [
    "",
    " ",
    "\n",
    "[",
    "[0.1,0.2]",
    "[0.9,0.9,0.1,0.1]",
    "A.",
    "\N{PILE OF POO}" * 50,
    "]]<box>",
]

names = pytest.mark.parametrize("name", sorted(BENCHMARKS))
frames = pytest.mark.parametrize("frame", ["unit", "padded_square", "per_1000"])


def build(name: str, broken: bool = False, **changes: object):
    files = {
        key: FIXTURES / "sources" / (Path(file).stem + "_broken" * broken + Path(file).suffix)
        for key, file in FILES[name].items()
    }
    if broken and name in ("rec", "reg"):
        files["instances"] = FIXTURES / "sources" / "instances_broken.json"
    config = BenchmarkConfig.model_validate(
        {"name": name, **files, **EXTRA.get(name, {}), **changes}
    )
    return config.build(FIXTURES / "images", config.model_extra or {})[0]


def items(name: str, first: int = 0, count: int | None = None) -> list[Item]:
    return [row for row in build(name).items(name, first, count) if isinstance(row, Item)]


def canvas(item: Item, frame: str = "unit") -> Canvas:
    decimals = 0 if frame == "per_1000" else 3
    return Canvas(frame, decimals, item.sample.image.width, item.sample.image.height)


def predicted(name: str, answer: str | None) -> list[Prediction]:
    """Predictions with the gold answer (None), or with one answer to everything."""
    found = []
    for item in items(name):
        here = canvas(item)
        text = answer_text(item.sample.turns, here) if answer is None else answer
        mark = build(name).mark(item, text, here)
        gold = next(iter(item.sample.turns[1].boxes), None)
        found.append(
            Prediction(
                item.id, name, item.sample.task, item.sample.image, "?", text, mark.correct,
                item.references, item.kind, gold, mark.found,
            )
        )  # fmt: skip
    return found


def test_every_benchmark_has_a_fixture_here() -> None:
    assert set(FILES) == set(BENCHMARKS)


@names
def test_it_is_what_its_entry_says(name: str) -> None:
    kind = BENCHMARKS.load(name)
    assert kind.name == name
    assert kind.source in SOURCES
    assert set(kind.source_settings) <= set(SOURCES.load(kind.source).Settings.model_fields)
    shared = set(kind.Settings.model_fields) & set(SOURCES.load(kind.source).Settings.model_fields)
    assert not shared, "a setting would be taken from the source"


@names
@frames
def test_gold_answers_score_full_marks_in_any_frame(name: str, frame: str) -> None:
    benchmark = build(name)
    for item in items(name):
        here = canvas(item, frame)
        assert benchmark.mark(item, answer_text(item.sample.turns, here), here).correct == 1.0


@names
def test_gold_answers_make_perfect_scores(name: str) -> None:
    scores = build(name).score(predicted(name, None))
    assert scores[0].metric == BENCHMARKS.load(name).metric
    for score in scores:
        if score.metric not in ("yes_ratio", "mean_iou"):
            assert score.value == 1.0, score
        assert score.n == len(items(name))
        assert score.ci95[0] <= score.value <= score.ci95[1]


@names
def test_empty_answers_score_nothing(name: str) -> None:
    assert all(one.correct == 0.0 for one in predicted(name, ""))
    assert all(score.value == 0.0 for score in build(name).score(predicted(name, "")))


@names
@pytest.mark.parametrize("text", GARBAGE)
def test_any_text_can_be_marked(name: str, text: str) -> None:
    assert all(0.0 <= one.correct <= 1.0 for one in predicted(name, text))


@names
def test_no_predictions_have_scores_that_say_nothing(name: str) -> None:
    assert all(score.n == 0 for score in build(name).score([]))


@names
def test_scoring_repeats_itself(name: str) -> None:
    assert encode_row(build(name).score(predicted(name, None))) == encode_row(
        build(name).score(predicted(name, None))
    )


@names
def test_items_are_the_same_however_they_are_read(name: str) -> None:
    whole = items(name)
    assert len({item.id for item in whole}) == len(whole)
    assert [one for i in range(len(whole)) for one in items(name, i, 1)] == whole


@names
def test_rows_that_cannot_be_read_come_out_as_such(name: str) -> None:
    benchmark = build(name, broken=True)
    rows = list(benchmark.items(name, 0, None))
    assert any(isinstance(row, Quarantined) for row in rows)
    assert any(isinstance(row, Item) for row in rows)


@names
def test_kinds_add_up_to_the_whole(name: str) -> None:
    found = by_kind(build(name), "label", predicted(name, None))
    assert {one.benchmark for one in found} == {"label"}
    metric = BENCHMARKS.load(name).metric
    apart = [one.score.n for one in found if one.kind and one.score.metric == metric]
    assert not apart or sum(apart) == len(items(name))


@names
def test_a_mistyped_setting_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="no setting 'questoins'"):
        build(name, questoins="x")
