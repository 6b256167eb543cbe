"""The short form of `make soak`: a few kills a stage."""

import random
from pathlib import Path

import pytest

from tests.faults.soak import MACHINERY, MODEL, soak
from tests.faults.tally import Tally

KILLS = 5


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.long)])
def test_runs_killed_in_any_stage_lose_and_double_nothing(tmp_path: Path, workers: int) -> None:
    check(MACHINERY, tmp_path, workers)


@pytest.mark.slow
@pytest.mark.long
def test_runs_killed_while_they_train_ask_and_measure_lose_nothing(tmp_path: Path) -> None:
    check(tuple(MODEL), tmp_path, 0)


@pytest.mark.slow
def test_shells_that_share_a_run_and_are_killed_lose_and_double_nothing(tmp_path: Path) -> None:
    check(("collect", "generate"), tmp_path, 1, "leases")


@pytest.mark.slow
@pytest.mark.long
def test_a_driver_its_actors_and_a_shell_that_are_killed_lose_and_double_nothing(
    tmp_path: Path,
) -> None:
    pytest.importorskip("ray")
    check(("generate",), tmp_path, 1, "together")


def check(stages: tuple[str, ...], home: Path, workers: int, executor: str = "local") -> None:
    tallies = list[Tally]()
    soak(stages, KILLS, random.randrange(2**32), executor, workers, home, tallies)
    for one in tallies:
        assert not one.problems, one
        assert (one.lost, one.doubled) == (0, 0)
        assert one.kills >= KILLS
