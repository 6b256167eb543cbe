"""The short form of `make soak`: a few kills a stage."""

import random
from pathlib import Path

import pytest

from tests.faults.soak import MACHINERY, MODEL, soak

KILLS = 5


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_runs_killed_in_any_stage_lose_and_double_nothing(tmp_path: Path, workers: int) -> None:
    check(MACHINERY, tmp_path, workers)


@pytest.mark.slow
def test_runs_killed_while_they_train_ask_and_measure_lose_nothing(tmp_path: Path) -> None:
    check(tuple(MODEL), tmp_path, 1)


def check(stages: tuple[str, ...], home: Path, workers: int) -> None:
    tallies = soak(stages, KILLS, random.randrange(2**32), "local", workers, home)
    for one in tallies:
        assert not one.problems, one
        assert (one.kills, one.lost, one.doubled) == (KILLS, 0, 0)
