"""SIGKILL in the middle of training; the same command again ends with the same bits as one go."""

import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_vlms import training_config

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


def words(rows: Path, out: Path, how: list[str]) -> list[object]:
    """The command that trains."""
    return ["train", *COMMON, *how, "--from", rows, "--out", out]


def results(run_folder: Path) -> dict[str, bytes]:
    (files,) = run_folder.glob("train*/files")
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
    return max((p.name for p in out.glob("train*/.work/*/steps/step-*")), default="")


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_killed_training_ends_with_the_bits_of_one_go(
    bench: Any, training_rows: Path, tmp_path: Path, way: str
) -> None:
    def command(out: Path) -> list[object]:
        return words(training_rows, out, WAYS[way])

    kill_and_compare(bench, command, tmp_path, kills=1 if "two" in way else 2)


VLM_WAYS: dict[str, tuple[str, dict[str, object]]] = {
    "qwen2_vl, drawn": ("qwen2_vl", {"tower_lr": 0.001, "accumulate": 2}),
    "qwen2_vl, adapters": ("qwen2_vl", {"trainable": "lora", "lora_rank": 2, "lora_dropout": 0.2}),
    "smolvlm, grouped epochs": ("smolvlm", {"order": "grouped", "epochs": 4, "save_every": 1}),
    "smolvlm, two processes, weights cut": ("smolvlm", {"processes": 2, "parallel": "zero3"}),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(way, marks=[pytest.mark.long] if number else [])
        for number, way in enumerate(VLM_WAYS)
    ],
)
def test_a_killed_training_of_an_image_text_model_does_so_too(
    bench: Any, tmp_path: Path, way: str
) -> None:
    family, how = VLM_WAYS[way]
    common = {"steps": 14, "save_every": 2, "lr": 0.003, "images_per_step": 4}
    config = training_config(tmp_path, family, **{**common, **how})

    def command(out: Path) -> list[object]:
        return ["run", config, "--out", out, "--workers", "0"]

    kill_and_compare(bench, command, tmp_path, kills=1)


def kill_and_compare(
    bench: Any, command: Callable[[Path], list[object]], tmp_path: Path, kills: int
) -> None:
    """Kill what `command` starts up to `kills` times and let it end: the bytes of one go."""
    with bench.start(*command(tmp_path / "one_go")) as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    expected = results(tmp_path / "one_go")
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  (what a failure is repeated with)
    rng, killed, out = random.Random(seed), 0, tmp_path / "killed"
    for _ in range(kills):
        with bench.start(*command(out)) as process:
            killed += kill_after_a_checkpoint(process, bench, out, rng)
    assert killed
    with bench.start(*command(out)) as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    found = results(out)
    assert found.keys() == expected.keys()
    assert [name for name, data in found.items() if data != expected[name]] == [], f"seed {seed}"
    log = [json.loads(line) for line in found["log.jsonl"].splitlines()]
    assert [line["step"] for line in log] == list(range(1, log[-1]["step"] + 1))
    assert not list(out.glob("train*/.work/*"))
