"""One process at a time in a run folder."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from types import TracebackType

from genixer.errors import LockedError
from genixer.store.disk import full_disk

__all__ = ["RunLock"]


class RunLock:
    """Holds `<run>/.lock` while in use. The system frees it when its process dies, however it dies.

    Needs POSIX file locks; where there are none (Windows) it holds nothing.
    """

    def __init__(self, run: Path) -> None:
        """Lock for the run folder `run`, which must exist by the time it is entered."""
        self._path = run / ".lock"
        self._handle: int | None = None

    def __enter__(self) -> RunLock:
        """Take the lock; raises `LockedError` naming process and host of its holder."""
        with full_disk(self._path, 100):
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        if not _try_lock(handle):
            holder = os.read(handle, 1000)
            os.close(handle)
            raise LockedError(
                f"{self._path.parent}: {_describe(holder)} is running here; wait for it"
            )
        me = json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode()
        with full_disk(self._path, len(me)):
            os.ftruncate(handle, 0)
            os.pwrite(handle, me, 0)
        self._handle = handle
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the lock back. The file stays: without it two processes could hold two locks."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None


def _try_lock(handle: int) -> bool:
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _describe(holder: bytes) -> str:
    try:
        known = json.loads(holder)
        return f"process {known['pid']} on {known['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
