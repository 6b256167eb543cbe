import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from genixer.errors import LockedError
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
