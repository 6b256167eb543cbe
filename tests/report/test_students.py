import pytest

from genixer.data import ImageRef
from genixer.errors import ConfigError
from genixer.evaluation.ablation import Run
from genixer.evaluation.base import Prediction
from genixer.report.students import students

IMAGE = ImageRef("a.png", 64, 64, "aa")


def run(arm: str, seed: int, marks: list[float]) -> Run:
    rows = [
        Prediction(f"q{n}", "pope", "adv_vqa", IMAGE, "Is it?", "yes", mark, ("yes",), "random")
        for n, mark in enumerate(marks)
    ]
    return Run(arm, str(seed), rows)


def test_marks_become_percent_with_a_difference_to_the_baseline() -> None:
    runs = [run(arm, seed, marks) for seed in (1, 2) for arm, marks in ARMS.items()]
    found = students(runs, "none", {"pope": "accuracy"})
    assert found is not None
    assert (found.arms, found.seeds) == (["none", "kept"], "2 seeds")
    row = found.rows[0]
    assert (row.benchmark, row.kind, row.metric, row.n) == ("pope", "", "accuracy", 4)
    assert (row.arms["none"].value, row.arms["kept"].value) == (50.0, 75.0)
    assert row.arms["none"].difference is None
    assert row.arms["kept"].difference == 25.0
    low, high = row.arms["kept"].difference_ci95 or (0.0, 0.0)
    assert low < 25.0 < high


def test_no_runs_are_no_table() -> None:
    assert students([], "none") is None


def test_baseline_nobody_ran_is_named() -> None:
    with pytest.raises(ConfigError, match="no arm is called 'nothing'"):
        students([run("none", 1, [1.0])], "nothing")


ARMS = {"kept": [1.0, 1.0, 1.0, 0.0], "none": [1.0, 0.0, 1.0, 0.0]}
