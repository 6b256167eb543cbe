"""Shells that share a run folder, killed in the middle of their units."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genixer.config import ExecutorName
from genixer.pipeline.run import run
from genixer.pipeline.verify import verify

SLOW = {"stage": "toy_numbers", "with": {"count": 60, "sleep_ms": 15, "pictures": True}}
OTHER_MACHINE = "from genixer.store import holders; holders.kernel = lambda: ''; "


def words(config: Path, folder: Path) -> tuple[object, ...]:
    return ("run", config, "stale_s=1", "--out", folder, "--executor", "leases", "--workers", 1)


def test_two_shells_give_the_bytes_of_one_process(
    bench: Any, toy_config: Callable[..., Path], tmp_path: Path
) -> None:
    config, folder = toy_config(numbers=SLOW), tmp_path / "run"
    expected = bench.data_of(run(config, out=tmp_path / "one_go").folder)
    with bench.start(*words(config, folder)) as one, bench.start(*words(config, folder)) as two:
        errors = [one.communicate(timeout=100)[1], two.communicate(timeout=100)[1]]
    assert (one.returncode, two.returncode) == (0, 0), errors
    assert bench.data_of(folder) == expected
    assert verify(folder).ok


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "on another machine"])
def test_a_killed_shell_costs_nothing_but_its_unit(
    bench: Any, toy_config: Callable[..., Path], tmp_path: Path, elsewhere: bool
) -> None:
    """Another machine is told by its counter alone, which then stands still."""
    config, folder = toy_config(numbers=SLOW), tmp_path / "run"
    expected = bench.data_of(run(config, out=tmp_path / "one_go").folder)
    first = OTHER_MACHINE if elsewhere else ""
    with bench.start(*words(config, folder), first=first) as doomed:
        assert bench.wait_for(doomed, folder, 3)
        with bench.start(*words(config, folder), first=first) as other:
            assert bench.wait_for(other, folder, 6)
            bench.signal_group(doomed, signal.SIGKILL)
            _, errors = other.communicate(timeout=100)
    assert other.returncode == 0, errors
    assert bench.data_of(folder) == expected
    assert verify(folder).ok


@pytest.mark.slow
def test_shells_killed_anywhere_end_as_one_process(
    bench: Any, toy_config: Callable[..., Path], tmp_path: Path
) -> None:
    config, folder = toy_config(numbers=SLOW), tmp_path / "run"
    expected = bench.data_of(run(config, out=tmp_path / "one_go").folder)
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  (what a failure is repeated with)
    rng = random.Random(seed)
    for _ in range(6):
        shells = [bench.start(*words(config, folder)) for _ in range(2)]
        for shell in rng.sample(shells, 2):
            bench.wait_for(shell, folder, bench.receipts(folder) + rng.randrange(4))
            time.sleep(rng.random() * 0.1)
            if shell.poll() is None:
                bench.signal_group(shell, signal.SIGKILL)
            _, errors = shell.communicate(timeout=100)
            assert shell.returncode in {-signal.SIGKILL, 0}, errors
    with bench.start(*words(config, folder)) as last:
        _, errors = last.communicate(timeout=100)
    assert last.returncode == 0, errors
    assert bench.data_of(folder) == expected, f"seed {seed}"
    assert verify(folder).ok


@pytest.mark.parametrize("executor", ["local", "leases"])
def test_what_a_process_left_that_ended_right_after_the_manifest_is_removed(
    toy_config: Callable[..., Path], tmp_path: Path, executor: ExecutorName
) -> None:
    folder = run(toy_config(), out=tmp_path / "run", workers=0, executor=executor).folder
    left = [
        folder / "numbers" / ".work" / "revision",
        folder / "total" / ".tmp" / "00000@e.1" / "x",
    ]
    for path in left:
        path.parent.mkdir(parents=True)
        path.touch()
    run(toy_config(), out=folder, workers=0, executor=executor)
    assert not any(path.exists() for path in left)
    assert verify(folder).ok


def test_a_run_alone_is_refused_by_name_and_the_other_way_round(
    bench: Any, toy_config: Callable[..., Path], tmp_path: Path
) -> None:
    slower = {"stage": "toy_numbers", "with": {"count": 100, "sleep_ms": 200}}
    config, folder = toy_config(numbers=slower, scale=None, total=None), tmp_path / "run"
    local = ("run", config, "stale_s=1", "--out", folder, "--executor", "local")
    for first, second in ((words(config, folder), local), (local, words(config, folder))):
        with bench.start(*first) as holder:
            assert bench.wait_for(holder, folder, bench.receipts(folder) + 1)
            with bench.start(*second) as refused:
                _, errors = refused.communicate(timeout=60)
            assert refused.returncode == 4
            assert f"process {holder.pid} on" in errors
            bench.signal_group(holder, signal.SIGKILL)
            holder.communicate()
