"""SIGKILL in the middle of training; the same command again ends with the same bits as one go."""

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

SMALL = str(Path(__file__).parent.parent / "fixtures" / "models" / "small.yaml")
COMMON = ["steps=14", "save_every=2", "lr=0.003", f"model=new:{SMALL}", "images_per_step=4"]
WAYS: dict[str, list[str]] = {
    "one process": [],
    "accumulation": ["accumulate=2"],
    "lanes and muon": ["lanes=2", "optimiser=muon", "tower_lr=0.001"],
    "packed epochs": ["order=packed", "epochs=3", "conversations_per_image=2", "save_every=1"],
    "adapters with dropout": ["trainable=lora", "lora_rank=4", "lora_dropout=0.2"],
    "two processes": ["processes=2"],
    "two processes, accumulation": ["processes=2", "accumulate=2"],
    "two processes, weights cut": ["processes=2", "parallel=fsdp"],
}


def start(bench: Any, rows: Path, out: Path, how: list[str]) -> Any:
    return bench.start("train", *COMMON, *how, "--from", rows, "--out", out)


def results(run_folder: Path) -> dict[str, bytes]:
    files = run_folder / "train" / "files"
    return {str(p.relative_to(files)): p.read_bytes() for p in files.rglob("*") if p.is_file()}


def kill_after_a_checkpoint(process: Any, bench: Any, out: Path, rng: random.Random) -> bool:
    """Kill a moment after a new checkpoint; False where the training was done before."""
    before = newest(out)
    end = time.monotonic() + 200
    while newest(out) <= before and process.poll() is None:
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.002)
    time.sleep(rng.random() * 0.1)
    if process.poll() is None:
        bench.signal_group(process, signal.SIGKILL)
    process.wait()
    return process.returncode == -signal.SIGKILL


def newest(out: Path) -> str:
    return max((p.name for p in out.glob("train/.work/*/steps/step-*")), default="")


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_killed_training_ends_with_the_bits_of_one_go(
    bench: Any, training_rows: Path, tmp_path: Path, way: str
) -> None:
    with start(bench, training_rows, tmp_path / "one_go", WAYS[way]) as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    expected = results(tmp_path / "one_go")
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  (what a failure is repeated with)
    rng, kills = random.Random(seed), 0
    for _ in range(1 if "two" in way else 2):
        with start(bench, training_rows, tmp_path / "killed", WAYS[way]) as process:
            kills += kill_after_a_checkpoint(process, bench, tmp_path / "killed", rng)
    assert kills
    with start(bench, training_rows, tmp_path / "killed", WAYS[way]) as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    found = results(tmp_path / "killed")
    assert found.keys() == expected.keys()
    assert [name for name, data in found.items() if data != expected[name]] == [], f"seed {seed}"
    log = [json.loads(line) for line in found["log.jsonl"].splitlines()]
    assert [line["step"] for line in log] == list(range(1, log[-1]["step"] + 1))
    assert not list((tmp_path / "killed" / "train" / ".work").glob("*"))
