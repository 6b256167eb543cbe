"""SIGKILL at random moments; the same command again gives the same bytes as one go."""

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genixer.pipeline.run import run
from genixer.pipeline.verify import verify

SMALL = [
    "steps.world.with.pools.labelled.images=5",
    "steps.world.with.pools.unlabelled.images=6",
    "steps.world.rows_per_shard=2",
    "steps.collect.rows_per_shard=16",
    "steps.instruct.rows_per_shard=32",
    "steps.generate.rows_per_shard=16",
    "steps.decode.rows_per_shard=8",
    "steps.rules.rows_per_shard=8",
    "steps.rules.with.block=8",
    "steps.mix.rows_per_shard=32",
]
POINTS = 20
"""SIGKILLs to survive."""


def kill_somewhere(bench: Any, folder: Path, rng: random.Random) -> bool:
    """Run until a random unit is committed and a moment longer, then kill; False if done."""
    process = bench.start("run", "smoke", *SMALL, "--out", folder)
    with process:
        reached = bench.wait_for(process, folder, bench.receipts(folder) + rng.randrange(12))
        time.sleep(rng.random() * 0.05)
        if process.poll() is None:
            bench.signal_group(process, signal.SIGKILL)
        process.wait()
    return reached and process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_run_killed_anywhere_ends_as_if_it_had_not_been(bench: Any, tmp_path: Path) -> None:
    one_go = run("smoke", SMALL, out=tmp_path / "one_go", workers=0)
    expected = bench.data_of(one_go.folder)
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  (what a failure is repeated with)
    rng, kills, rounds = random.Random(seed), 0, 0
    while kills < POINTS:
        folder = tmp_path / f"killed-{rounds}"
        rounds += 1
        while kills < POINTS and kill_somewhere(bench, folder, rng):
            kills += 1
        with bench.start("run", "smoke", *SMALL, "--out", folder) as process:
            _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert bench.data_of(folder) == expected, f"seed {seed}"
        assert verify(folder).ok


def test_a_killed_worker_costs_nothing_but_its_shard(
    bench: Any, toy_config: Callable[..., Path], tmp_path: Path
) -> None:
    config = toy_config(numbers={"stage": "toy_numbers", "with": {"count": 40, "sleep_ms": 15}})
    expected = bench.data_of(run(config, out=tmp_path / "one_go", workers=0).folder)
    with bench.start("run", config, "--out", tmp_path / "run", "--workers", 1) as process:
        assert bench.wait_for(process, tmp_path / "run", 3)
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(process.pid)],
            capture_output=True,
            text=True,
            check=True,
        )
        subprocess.run(["kill", "-9", *children.stdout.split()], check=True)
        _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert "trying once more" in errors
    assert bench.data_of(tmp_path / "run") == expected
