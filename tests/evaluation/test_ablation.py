"""Arms side by side."""

import random

import pytest

from genixer.data import ImageRef, Score
from genixer.errors import ConfigError, DataError
from genixer.evaluation.ablation import Run, ablation, main_metrics
from genixer.evaluation.base import KindScore, Prediction, ScoreFile

IMAGE = ImageRef("a.png", 1, 1, "")


def run(arm: str, seed: int, right: float, items: int = 80, skip: int = -1) -> Run:
    rng = random.Random(f"{seed}")
    luck = [rng.random() for _ in range(items)]
    return Run(
        arm,
        str(seed),
        [
            Prediction(f"i{i}", "vqav2", "common_vqa", IMAGE, "?", "", float(luck[i] < right),
                       kind=("color", "count")[i % 2])
            for i in range(items) if i != skip
        ],
    )  # fmt: skip


def rows(*runs: Run, **more: object) -> dict[tuple[str, str], object]:
    return {(row.kind, row.arm): row for row in ablation(runs, **more)}


STUDY = [
    run(arm, seed, right) for arm, right in (("kept", 0.8), ("none", 0.5)) for seed in (1, 2, 3)
]


def test_every_arm_and_kind_has_a_row_the_baseline_first() -> None:
    found = list(rows(*STUDY))
    assert found == [(kind, arm) for kind in ("", "color", "count") for arm in ("none", "kept")]


def test_the_difference_is_paired_with_the_baseline() -> None:
    found = rows(*STUDY, metrics={"vqav2": "soft_score"})
    kept, none = found["", "kept"], found["", "none"]
    assert none.difference is None
    assert kept.difference.value == pytest.approx(kept.score.value - none.score.value)
    assert kept.difference.ci95[0] > 0.0
    assert (kept.seeds, kept.score.n, kept.score.metric) == (3, 80, "soft_score")


def test_pairing_makes_the_interval_narrower_than_the_arms_own() -> None:
    kept = rows(*STUDY)["", "kept"]
    width = kept.difference.ci95[1] - kept.difference.ci95[0]
    # Luck is shared by seed and item, so that only the gap of 0.3 varies.
    assert width < 0.3


def test_an_item_some_run_missed_is_left_out_of_all() -> None:
    found = rows(run("none", 1, 0.5), run("kept", 1, 0.5, skip=4))
    assert found["", "none"].score.n == found["", "kept"].score.n == 79


def test_an_arm_equal_to_the_baseline_differs_by_nothing() -> None:
    found = rows(run("none", 1, 0.5), run("kept", 1, 0.5))["", "kept"].difference
    assert found.value == 0.0
    assert found.ci95[0] < 0.0 < found.ci95[1]


def test_arms_may_have_different_numbers_of_seeds() -> None:
    found = rows(run("none", 1, 0.5), run("kept", 1, 0.8), run("kept", 2, 0.8))
    assert found["", "kept"].seeds == 2
    assert found["", "kept"].difference.value > 0.0


def test_arms_without_a_seed_in_common_are_compared_unpaired_by_seed() -> None:
    found = rows(run("none", 1, 0.5), run("kept", 2, 0.9))
    assert found["", "kept"].difference.value > 0.0


def test_a_missing_baseline_a_double_run_and_strange_questions_are_refused() -> None:
    with pytest.raises(ConfigError, match="no arm is called 'base'; there are kept, none"):
        ablation(STUDY, baseline="base")
    with pytest.raises(ConfigError, match="comes twice"):
        ablation([STUDY[0], STUDY[0]], baseline="kept")
    other = Run("kept", "1", [Prediction("z", "pope", "adv_vqa", IMAGE, "?", "", 1.0)])
    with pytest.raises(DataError, match="no question in common"):
        ablation([run("none", 1, 0.5), other])


def test_nothing_to_compare_is_no_table() -> None:
    assert ablation([]) == []


def test_the_first_score_of_a_benchmark_names_its_mark() -> None:
    scores = [KindScore("pope", "", Score(name, 0.5, 2, (0.0, 1.0))) for name in ("accuracy", "f1")]
    assert main_metrics(ScoreFile({}, tuple(scores))) == {"pope": "accuracy"}
