"""Ctrl-C, SIGTERM and a second run in the same folder."""

import os
import random
import signal
import time
from collections import Counter
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


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "terminate"]
)
@pytest.mark.parametrize("workers", [0, 1])
def test_an_interrupted_server_run_keeps_its_answers(
    bench: Any,
    generate: Callable[..., Path],
    tmp_path: Path,
    number: int,
    code: int,
    workers: int,
) -> None:
    config, folder, log = generate("toy_stream", asked=str(tmp_path), delay_s=0.05), "run", "asked"
    with bench.start("run", config, "--out", folder, "--workers", workers) as process:
        while process.poll() is None:
            if (tmp_path / log).exists() and len((tmp_path / log).read_text().split()) > 5:
                bench.signal_group(process, number)
                break
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert run(config, out=tmp_path / folder, workers=0).worked == ("generate",)
    asked = Counter((tmp_path / log).read_text().split())
    assert len(asked) == 24
    assert asked.total() <= 25, "one answer may have been on its way"


def test_clocks_that_jump_change_neither_ids_nor_order_nor_resume(
    bench: Any, generate: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = {"decode": {"stage": "decode", "from": ["generate"], "rows_per_shard": 8}}
    for backend in ("toy_model", "toy_stream"):
        config = generate(backend, decode)
        expected = bench.data_of(run(config, out=tmp_path / f"{backend}-still", workers=0).folder)
        rng = random.Random(backend)
        with monkeypatch.context() as patched:
            for clock in ("time", "monotonic", "perf_counter"):
                patched.setattr(time, clock, lambda: rng.uniform(-1e10, 1e10))  # noqa: B023
            patched.setattr(time, "time_ns", lambda: rng.randrange(-(10**18), 10**18))  # noqa: B023
            jumping = tmp_path / f"{backend}-jumping"
            run(config, out=jumping, workers=0)
            for path in (jumping / "generate").glob("*0001*"):
                path.unlink()
            run(config, out=jumping, workers=0)
        assert bench.data_of(jumping) == expected
        assert verify(jumping).ok


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
