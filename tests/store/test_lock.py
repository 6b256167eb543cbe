import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from genixer.errors import LockedError
from genixer.store import holders, lock
from genixer.store.lock import RunLock

HOLD = "import sys, pathlib; from genixer.store.lock import RunLock\n"
HOLD += "with RunLock(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"


def test_a_second_process_is_refused_by_name_of_the_first(tmp_path: Path) -> None:
    with RunLock(tmp_path):
        process = subprocess.run(
            [sys.executable, "-c", HOLD, str(tmp_path)], capture_output=True, text=True, check=False
        )
    assert process.returncode != 0
    assert f"process {os.getpid()} on {socket.gethostname()}" in process.stderr


def test_a_killed_holder_frees_the_lock(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(LockedError, match=f"process {process.pid}"), RunLock(tmp_path):
            pass
        process.kill()
        process.wait()
    with RunLock(tmp_path):
        pass


def test_the_lock_can_be_taken_again(tmp_path: Path) -> None:
    for _ in range(2):
        with RunLock(tmp_path):
            pass


def test_several_share_a_folder_and_one_alone_is_refused(tmp_path: Path) -> None:
    refused = pytest.raises(LockedError, match=f"process {os.getpid()} on")
    with RunLock(tmp_path, shared=True), RunLock(tmp_path, shared=True), refused, RunLock(tmp_path):
        pass
    with (
        RunLock(tmp_path),
        pytest.raises(LockedError, match=f"process {os.getpid()} on {socket.gethostname()}"),
        RunLock(tmp_path, shared=True),
    ):
        pass
    assert list((tmp_path / ".holders").iterdir()) == []


@pytest.mark.parametrize(("first", "second"), [(False, False), (False, True), (True, False)])
def test_machines_see_each_other_by_counters_that_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool, second: bool
) -> None:
    """No file lock of another machine is seen here, no process of it either."""
    monkeypatch.setattr(lock, "try_lock", lambda *_, **__: None)
    monkeypatch.setattr(holders, "kernel", lambda: "")
    with RunLock(tmp_path, shared=first, stale_s=0.5) as held:
        with (
            pytest.raises(LockedError, match=f"process {os.getpid()} on"),
            RunLock(tmp_path, shared=second, stale_s=0.5),
        ):
            pass
        # Its heart stops, but nobody takes its file away.
        held.holder._over.set()
        held.holder._thread.join()
        with RunLock(tmp_path, shared=second, stale_s=0.5):
            pass


def test_a_counter_that_a_power_cut_emptied_counts_as_dead_after_a_while(tmp_path: Path) -> None:
    (tmp_path / ".holders").mkdir()
    (tmp_path / ".holders" / "someone").write_bytes(b"")
    watch = holders.Watch(tmp_path, stale_s=60)
    assert [watch.lives("someone") for _ in range(2)] == [None, None]
    with RunLock(tmp_path, shared=True, stale_s=0.2):
        pass
    with RunLock(tmp_path, stale_s=0.2):
        pass
    assert list((tmp_path / ".holders").iterdir()) == []
