"""The filter stage: chains, blocks, ledgers."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import ValidationError

from genixer.data import ImageRef, Origin, Sample, Turn, Verdict
from genixer.filters.base import FilterSettings
from genixer.stages.filter import FilterStage, FilterStageSettings

SETTINGS = FilterStageSettings(filters=({"name": "rules"},), block=4)


class Scores:
    """Scores a sample by the number it answers; keeps those over `above`."""

    reasons: ClassVar[tuple[str, ...]] = ("too_low",)
    Settings: ClassVar[type[FilterSettings]] = FilterSettings

    def __init__(self, name: str, above: float) -> None:
        self.name, self.above = name, above
        self.blocks: list[int] = []

    def judge(self, samples: Sequence[Sample], images: Path) -> list[Verdict]:
        self.blocks.append(len(samples))
        scores = [float(sample.turns[1].text) for sample in samples]
        return [Verdict(s > self.above, "" if s > self.above else "too_low", s) for s in scores]


def rows(count: int) -> list[Sample]:
    return [
        Sample.of(
            "common_vqa",
            ImageRef("a.png", 9, 9, "ab"),
            (Turn("user", f"What is {i}?"), Turn("assistant", str(i))),
            Origin("test", scores={"early": 0.5}),
        )
        for i in range(count)
    ]


def test_kept_rows_carry_scores_and_keep_their_id(run_stage) -> None:
    stage = FilterStage(SETTINGS, [Scores("one", 3), Scores("two", 5)])
    step = run_stage(stage, rows(8))
    kept = list(step.rows(Sample))
    assert [sample.turns[1].text for sample in kept] == ["6", "7"]
    assert kept[0].origin.scores == {"early": 0.5, "one": 6.0, "two": 6.0}
    assert kept[0].id == rows(8)[6].id


def test_refused_rows_carry_the_reason_and_every_score_known_by_then(run_stage) -> None:
    stage = FilterStage(SETTINGS, [Scores("one", 3), Scores("two", 5)])
    step = run_stage(stage, rows(8))
    assert [(r.reason, r.scores) for r in step.rejects[3:5]] == [
        ("too_low", {"early": 0.5, "one": 3.0}),
        ("too_low", {"early": 0.5, "one": 4.0, "two": 4.0}),
    ]


def test_later_filters_see_only_what_is_left(run_stage) -> None:
    one, two = Scores("one", 3), Scores("two", 0)
    run_stage(FilterStage(SETTINGS, [one, two]), rows(10))
    assert (one.blocks, two.blocks) == ([4, 4, 2], [4, 2])


@pytest.mark.parametrize("shard", [4, 8, 12])
def test_blocks_do_not_depend_on_the_shard_size(run_stage, shard: int) -> None:
    one = Scores("one", 3)
    run_stage(FilterStage(SETTINGS, [one]), rows(10), shard=shard)
    assert one.blocks == [4, 4, 2]


def test_no_rows_is_no_work(run_stage) -> None:
    assert run_stage(FilterStage(SETTINGS, [Scores("one", 3)]), []).kept == []


def test_the_chain_is_made_from_its_settings(run_stage) -> None:
    stage = FilterStage(FilterStageSettings(filters=({"name": "rules", "max_answer_chars": 1},)))
    step = run_stage(stage, rows(12))
    assert [r.reason for r in step.rejects] == ["answer_too_long"] * 2


def test_models_of_this_run_are_found_in_their_step(run_stage, tmp_path) -> None:
    stage = FilterStage(
        FilterStageSettings(
            filters=({"name": "judge", "model": "@generator/model", "backend": "scripted"},)
        )
    )
    run_stage(stage, rows(2))
    assert stage._chain is not None
    assert stage._chain[0].settings.model == str(tmp_path / "generator" / "files" / "model")
    assert stage.external() == []


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ([{"name": "rule"}], "did you mean rules"),
        ([{}], "no filter is called ''"),
        ([{"name": "rules", "min_side": 3}], "no setting 'min_side'; did you mean min_side_px"),
        ([{"name": "judge"}], "needs the setting 'model'"),
        ([{"name": "rules"}, {"name": "rules"}], "once"),
        ([], "at least 1"),
    ],
)
def test_a_wrong_chain_is_refused_before_anything_runs(filters: list[dict], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        FilterStageSettings(filters=filters)
