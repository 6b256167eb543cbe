"""Ctrl-C, SIGTERM and a second run in the same folder."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genixer.pipeline.run import run
from genixer.pipeline.verify import verify

SLOW = {"stage": "toy_numbers", "with": {"count": 40, "sleep_ms": 20, "pictures": True}}


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "terminate"]
)
@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupted_run_leaves_nothing_half_done(
    bench: Any,
    toy_config: Callable[..., Path],
    tmp_path: Path,
    number: int,
    code: int,
    workers: int,
) -> None:
    config, folder = toy_config(numbers=SLOW, scale=None, total=None), tmp_path / "run"
    with bench.start("run", config, "--out", folder, "--workers", workers) as process:
        assert bench.wait_for(process, folder, 3)
        bench.signal_group(process, number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert bench.receipts(folder) < 40
    assert verify(folder).problems == []
    resumed = run(config, out=folder)
    assert "numbers" in resumed.worked
    assert verify(folder).ok
    assert bench.data_of(folder) == bench.data_of(run(config, out=tmp_path / "one_go").folder)


def test_two_runs_in_one_folder_do_not_mix(
    bench: Any, toy_config: Callable[..., Path], tmp_path: Path
) -> None:
    waiting = {"stage": "toy_scale", "from": ["numbers"], "with": {"meet": str(tmp_path)}}
    config, folder = toy_config(scale=waiting, total=None), tmp_path / "run"
    with bench.start("run", config, "--out", folder) as first:
        assert bench.wait_for(first, folder, 1)
        with bench.start("run", config, "--out", folder) as second:
            _, errors = second.communicate(timeout=60)
        assert second.returncode == 4
        assert f"process {first.pid} on {os.uname().nodename} is running here" in errors
        (tmp_path / "at_last.here").touch()
        _, errors = first.communicate(timeout=100)
    assert first.returncode == 0, errors
    assert verify(folder).ok
