"""Signs of life in a shared folder: a counter a process, moved by the process, watched by others.

A watcher measures with its own monotonic clock how long a counter stands still. Processes of one
kernel know sooner: each holds a file lock on its counter, which the kernel frees when it dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from genixer.store.disk import full_disk

__all__ = ["Holder", "Living", "Watch", "holders_folder"]

_DIGITS = 20
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def holders_folder(run: Path) -> Path:
    """Where a run folder keeps its signs of life."""
    return run / ".holders"


def kernel() -> str:
    """Name of the running kernel, other after every start; empty where there is none."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


class Holder:
    """This process in a run folder; its counter moves between `__enter__` and `__exit__`."""

    def __init__(self, run: Path, shared: bool, stale_s: float) -> None:
        """`shared` if others may work here too; the counter moves ten times in `stale_s`."""
        self.token = uuid4().hex
        self._path = holders_folder(run) / self.token
        self._shared, self._beat_s = shared, stale_s / 10
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live, name="heartbeat", daemon=True)
        self._handle = -1

    def __enter__(self) -> Holder:
        """Make the file and begin to move its counter."""
        me = {"host": socket.gethostname(), "pid": os.getpid()}
        data = json.dumps({**me, "kernel": kernel(), "shared": self._shared}).encode()
        temporary = self._path.with_name(f".{self.token}")
        with full_disk(self._path, len(data)):
            temporary.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(temporary, os.O_RDWR | os.O_CREAT, 0o644)
            os.pwrite(self._handle, b"%0*d\n%s\n" % (_DIGITS, 0, data), 0)
            os.fsync(self._handle)  # or another machine may see the name before what it says
        # The lock comes before the name: nobody sees the file without it.
        try_lock(self._handle, shared=False)
        temporary.replace(self._path)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the sign of life away."""
        self._over.set()
        self._thread.join()
        os.close(self._handle)
        self._path.unlink(missing_ok=True)

    def _live(self) -> None:
        count = 0
        while not self._over.wait(self._beat_s):
            count += 1
            # A counter that cannot be moved costs leases, and nothing worse.
            with contextlib.suppress(OSError):
                os.pwrite(self._handle, b"%0*d" % (_DIGITS, count), 0)
                os.fsync(self._handle)


@dataclass(frozen=True)
class Living:
    """A process that works in a run folder, or did."""

    token: str
    host: str
    pid: int
    shared: bool
    here: bool
    """Whether it runs on this kernel."""
    count: bytes

    def __str__(self) -> str:
        """What error messages call it."""
        return f"process {self.pid} on {self.host}"


class Watch:
    """Tells which holders of a run folder have ended."""

    def __init__(self, run: Path, stale_s: float) -> None:
        """A counter that stands still for `stale_s` seconds is that of a dead process."""
        self.stale_s = stale_s
        self._home = holders_folder(run)
        self._since: dict[str, tuple[bytes | None, float]] = {}

    def all(self) -> list[Living]:
        """Every holder with a file."""
        try:
            names = sorted(path.name for path in self._home.iterdir())
        except FileNotFoundError:
            return []
        return [one for name in names if name[0] != "." and (one := self._read(name))]

    def gone(self, token: str) -> bool:
        """Whether the holder has ended; must be asked again and again to find out."""
        return self.lives(token) is False

    def lives(self, token: str) -> bool | None:
        """Whether the holder lives; None while there is no telling yet."""
        one = self._read(token)
        if one is None:
            return False
        if one.here and (free := self._unlocked(token)) is not None:
            return not free
        count, since = self._since.get(token, (None, 0.0))
        if count != one.count:
            self._since[token] = (one.count, time.monotonic())
            return None if count is None else True
        return False if time.monotonic() - since > self.stale_s else None

    def forget(self, token: str) -> None:
        """Remove the file of a holder that has ended."""
        (self._home / token).unlink(missing_ok=True)

    def _read(self, token: str) -> Living | None:
        try:
            count, _, rest = (self._home / token).read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        try:
            known = json.loads(rest)
            here = known["kernel"] == kernel() != ""
            return Living(token, known["host"], known["pid"], known["shared"], here, count)
        except (ValueError, KeyError, TypeError):  # a power cut took what it says
            return Living(token, "an unknown host", 0, True, False, count)

    def _unlocked(self, token: str) -> bool | None:
        try:
            handle = os.open(self._home / token, os.O_RDWR)
        except OSError:
            return None
        try:
            # Shared, so that two watchers do not take each other for the holder.
            return try_lock(handle, shared=True)
        finally:
            os.close(handle)


def try_lock(handle: int, *, shared: bool) -> bool | None:
    """Lock an open file until it is closed; None where there are no file locks."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
