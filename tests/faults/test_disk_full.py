"""A full disk stops a run with path and bytes; with room made, the same command completes it."""

import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genixer.pipeline.run import run
from genixer.pipeline.verify import verify

GENIXER = f"{sys.executable} -c 'from genixer.cli import main; main()'"


def own_mounts() -> list[str] | None:
    """Words that start a program with mounts of its own, if this machine allows it."""
    unshare = shutil.which("unshare")
    for flags in (["--mount"], ["--user", "--map-root-user", "--mount"]):
        words = [unshare or "unshare", *flags]
        probe = [*words, "sh", "-c", "mount -t tmpfs -o size=1m none /mnt"]
        if unshare and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return words
    return None


def test_a_full_disk_stops_the_run_and_room_completes_it(
    toy_config: Callable[..., Path], tmp_path: Path
) -> None:
    words = own_mounts()
    if words is None:
        pytest.skip("this machine lets nobody mount a small disk (unshare --mount)")
    # 300 pictures take a page of memory each: more than there is.
    numbers = {"stage": "toy_numbers", "rows_per_shard": 20}
    numbers["with"] = {"count": 300, "pictures": True}
    config = toy_config(numbers=numbers, scale=None, total=None)
    (tmp_path / "disk").mkdir()
    script = f"""
        mount -t tmpfs -o size=1m none disk
        {GENIXER} run {config} --out disk/run --workers 1
        echo "code $?"
        {GENIXER} verify disk/run --json > verified.json
        mount -o remount,size=64m disk
        {GENIXER} run {config} --out disk/run --workers 1 && cp -r disk/run run
    """
    done = subprocess.run(
        [*words, "sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "code 4" in done.stdout, done.stderr
    assert "No space left on device: at least" in done.stderr
    assert "bytes are needed" in done.stderr
    assert "Traceback" not in done.stderr
    assert '"problems": []' in (tmp_path / "verified.json").read_text()
    assert verify(tmp_path / "run").ok
    one_go = run(config, out=tmp_path / "one_go", workers=0).folder
    for part in sorted(one_go.glob("*/part-*.jsonl")):
        assert (tmp_path / "run" / part.relative_to(one_go)).read_bytes() == part.read_bytes()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_may_not_grow_is_a_full_disk(
    bench: Any, toy_config: Callable[..., Path], tmp_path: Path, workers: int
) -> None:
    numbers = {"stage": "toy_numbers", "with": {"count": 400}, "rows_per_shard": 200}
    config = toy_config(numbers=numbers, scale=None, total=None)

    def allow_little() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    words = ("run", config, "--out", tmp_path / "run", "--workers", workers)
    with bench.start(*words, preexec_fn=allow_little) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 4, errors
    assert "part-00000.jsonl: File too large: at least" in errors
    assert not list((tmp_path / "run").glob("*/part-*"))
    assert run(config, out=tmp_path / "run").worked
    assert verify(tmp_path / "run").ok
    assert (tmp_path / "run" / "numbers" / "part-00000.jsonl").stat().st_size > 4000


@pytest.mark.parametrize("backend", ["toy_model", "toy_stream"])
def test_a_disk_that_the_journal_fills_stops_the_run_and_keeps_what_was_answered(
    generate: Callable[..., Path], tmp_path: Path, backend: str
) -> None:
    words = own_mounts()
    if words is None:
        pytest.skip("this machine lets nobody mount a small disk (unshare --mount)")
    # 48 answers of 40 kB are more than there is room for.
    more = {"modes": {"agnostic": 2, "specific": 2}, "block": 2}
    settings = {"says": ["40000*x"], "asked": str(tmp_path)}
    config = generate(backend, more=more, **settings)
    (tmp_path / "disk").mkdir()
    script = f"""
        mount -t tmpfs -o size=1m none disk
        {GENIXER} run {config} --out disk/run --workers 1
        echo "code $?"
        cp asked asked_before
        {GENIXER} verify disk/run --json > verified.json
        mount -o remount,size=64m disk
        {GENIXER} run {config} --out disk/run --workers 1 && cp -r disk/run run
    """
    done = subprocess.run(
        [*words, "sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "code 4" in done.stdout, done.stderr
    assert "No space left on device: at least" in done.stderr
    assert "Traceback" not in done.stderr
    assert '"problems": []' in (tmp_path / "verified.json").read_text()
    assert verify(tmp_path / "run").ok
    before = len((tmp_path / "asked_before").read_text().split())
    again = len((tmp_path / "asked").read_text().split())
    assert 10 <= before < 48
    assert again <= 48 + 2, "only the block that did not fit is asked again"
    one_go = run(config, out=tmp_path / "one_go", workers=0).folder
    for part in sorted(one_go.glob("*/part-*.jsonl")):
        assert (tmp_path / "run" / part.relative_to(one_go)).read_bytes() == part.read_bytes()


@pytest.mark.slow
def test_a_training_whose_checkpoints_fill_the_disk_goes_on_with_room(
    training_rows: Path, tmp_path: Path
) -> None:
    words = own_mounts()
    if words is None:
        pytest.skip("this machine lets nobody mount a small disk (unshare --mount)")
    model = Path(__file__).parent.parent / "fixtures" / "models" / "small.yaml"
    settings = f"model=new:{model} steps=12 images_per_step=2 save_every=1 keep=99"
    (tmp_path / "disk").mkdir()
    script = f"""
        mount -t tmpfs -o size=5m none disk
        {GENIXER} train {settings} --from {training_rows} --out disk/run
        echo "code $?"
        ls disk/run/train/.work/*/steps
        mount -o remount,size=64m disk
        {GENIXER} train {settings} --from {training_rows} --out disk/run && cp -r disk/run run
    """
    done = subprocess.run(
        [*words, "sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "code 4" in done.stdout, done.stderr
    assert "step-00000001" in done.stdout
    assert "step-00000011" not in done.stdout
    assert "No space left on device: at least" in done.stderr
    assert verify(tmp_path / "run").ok, done.stderr
    one_go = [GENIXER, "train", settings, "--from", str(training_rows), "--out", "one_go"]
    subprocess.run(["sh", "-c", " ".join(one_go)], cwd=tmp_path, capture_output=True, check=True)
    for path in sorted((tmp_path / "one_go/train/files").rglob("*.*")):
        again = tmp_path / "run" / path.relative_to(tmp_path / "one_go")
        assert again.read_bytes() == path.read_bytes(), path
