"""The short form of `make soak`: a few kills a stage."""

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.soak import MACHINERY, MODEL, soak
from tests.faults.tally import Tally

KILLS = 5
ROOT = Path(__file__).parent.parent.parent


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
def test_a_driver_its_actors_and_a_shell_that_are_killed_lose_and_double_nothing() -> None:
    """In a process of its own: one that has used Ray before must not fork."""
    pytest.importorskip("ray")
    words = ["--executor", "together", "--stages", "generate", "--kills", str(KILLS)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.soak", *words, "--workers", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    total = re.search(r"^sum +(\d+) kills .* 0 rows lost +0 doubled", done.stdout, re.MULTILINE)
    assert total, done.stdout
    assert int(total[1]) >= KILLS


def check(stages: tuple[str, ...], home: Path, workers: int, executor: str = "local") -> None:
    tallies = list[Tally]()
    soak(stages, KILLS, random.randrange(2**32), executor, workers, home, tallies)
    for one in tallies:
        assert not one.problems, one
        assert (one.lost, one.doubled) == (0, 0)
        assert one.kills >= KILLS
