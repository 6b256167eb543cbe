"""Who may work in a run folder: one process alone, or several that share it by leases."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import time
from pathlib import Path
from types import TracebackType

from genixer.errors import LockedError
from genixer.store.disk import full_disk
from genixer.store.holders import Holder, Living, Watch, try_lock

__all__ = ["STALE_S", "RunLock"]

log = logging.getLogger(__name__)

STALE_S = 30.0
"""Seconds that the counter of a process stands still before others take it for dead."""


class RunLock:
    """Holds a run folder while in use, alone or `shared` with others that share it.

    On one machine `<run>/.lock` decides, which the system frees when its process dies, however it
    dies. Between machines the counters of `<run>/.holders` do: who finds one that moves is refused.
    """

    def __init__(self, run: Path, *, shared: bool = False, stale_s: float = STALE_S) -> None:
        """Lock for the run folder `run`, which must exist by the time it is entered."""
        self._run, self._path = run, run / ".lock"
        self._shared = shared
        self._handle: int | None = None
        self.watch = Watch(run, stale_s)
        self.holder = Holder(run, shared, stale_s)

    def __enter__(self) -> RunLock:
        """Take the lock; raises `LockedError` naming process and host of its holder."""
        with full_disk(self._path, 100):
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        if try_lock(handle, shared=self._shared) is False:
            holder = _describe(os.read(handle, 1000), self.watch.all())
            os.close(handle)
            raise LockedError(f"{self._run}: {holder} is running here; wait for it")
        self._handle = handle
        with contextlib.ExitStack() as undo:
            undo.callback(self._free)
            self.holder.__enter__()
            undo.callback(self.holder.__exit__)
            if not self._shared:
                self._sign()
            self._refuse_strangers()
            undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the lock back. The file stays: without it two processes could hold two locks."""
        self.holder.__exit__()
        self._free()

    def _sign(self) -> None:
        me = json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode()
        with full_disk(self._path, len(me)):
            os.ftruncate(self._handle or 0, 0)
            os.pwrite(self._handle or 0, me, 0)

    def _free(self) -> None:
        if self._handle is not None:
            if not self._shared:
                os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None

    def _refuse_strangers(self) -> None:
        """Wait until the counter of everyone who may not be here moves, or has stood still."""
        told = False
        while True:
            others = [one for one in self.watch.all() if one.token != self.holder.token]
            unfit = [one for one in others if not (self._shared and one.shared)]
            left = [one for one in unfit if not self._gone(one)]
            if not left:
                return
            if not told:
                log.info(
                    "%s: looking for up to %.0f s whether %s still runs",
                    *(self._run, self.watch.stale_s, left[0]),
                )
                told = True
            time.sleep(min(0.5, self.watch.stale_s / 20))

    def _gone(self, one: Living) -> bool:
        lives = self.watch.lives(one.token)
        if lives:
            raise LockedError(f"{self._run}: {one} is running here; wait for it")
        if lives is False:
            self.watch.forget(one.token)
        return lives is False


def _describe(holder: bytes, living: list[Living]) -> str:
    try:
        known = json.loads(holder)
        return f"process {known['pid']} on {known['host']}"
    except (ValueError, KeyError, TypeError):
        return ", ".join(map(str, living)) or "another process"
