import subprocess
import sys
import time
from pathlib import Path

import pytest

from genixer.pipeline.worker import Worker, WorkerDied

START = """
import os, signal, sys
from genixer.pipeline.worker import Worker
worker = Worker(1)
print(worker._child._process.pid, flush=True)
sys.stdin.read()
"""


def runs(pid: int) -> bool:
    """Whether the process is there and is no zombie that nobody collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_worker_dies_with_a_parent_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert runs(pid)
        parent.kill()
        parent.wait()
    end = time.monotonic() + 30
    while runs(pid):
        assert time.monotonic() < end, "the worker outlived its parent"
        time.sleep(0.02)


def test_a_worker_that_cannot_start_says_how_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    worker = Worker(1)
    with pytest.raises(WorkerDied, match="ended with status 1"):
        worker.receive()
    worker.close()


def test_a_script_without_a_main_guard_is_not_run_again(toys: None, tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text("{name: toy, steps: {numbers: {stage: toy_numbers}}}")
    script = tmp_path / "script.py"
    script.write_text(
        "print('once')\nimport genixer\nprint(genixer.run('toy.yaml', workers=1).table)\n"
    )
    process = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert process.stdout.count("once") == 1
    assert "numbers  toy_numbers  10    10" in process.stdout
