"""Several processes that look at images; few images are looked at in this one.

Not `multiprocessing`: that would import the user's main script again in every process, and a
ten-line script without a `__main__` guard would start itself over.
"""

from __future__ import annotations

import os
import subprocess  # nosec B404
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import msgspec

from genixer.errors import StoreError
from genixer.sources.doctor.images import Health, ImageDoctor

__all__ = ["look_at_all", "serve"]

MANY = 8192
"""Images from which on it pays to start processes."""
_CHUNK = 256


def look_at_all(root: Path, paths: Iterable[str], many: int = MANY) -> Iterator[Health]:
    """Health of each image below `root`, in order; with all cores if there are `many`."""
    rest = iter(paths)
    first = list(islice(rest, many))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if len(first) < many or cores == 1:
        yield from ImageDoctor(root).look_at(first)
        yield from ImageDoctor(root).look_at(rest)
        return
    helpers = [_Helper(root) for _ in range(cores)]
    try:
        yield from _in_turn(helpers, _chunks(first, rest))
    finally:
        for helper in helpers:
            helper.close()


def _chunks(first: list[str], rest: Iterator[str]) -> Iterator[list[str]]:
    for start in range(0, len(first), _CHUNK):
        yield first[start : start + _CHUNK]
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _in_turn(helpers: list[_Helper], chunks: Iterator[list[str]]) -> Iterator[Health]:
    """Chunks go round; a helper gets its next when its last has come back, in order."""
    waiting: deque[_Helper] = deque()
    for helper, chunk in zip(helpers, chunks):  # noqa: B905  (there may be fewer chunks)
        helper.send(chunk)
        waiting.append(helper)
    while waiting:
        helper = waiting.popleft()
        found = helper.receive()
        chunk = next(chunks, [])
        if chunk:
            helper.send(chunk)
            waiting.append(helper)
        yield from found


class _Helper:
    """The parent's end of one process; lines of JSON go both ways."""

    def __init__(self, root: Path) -> None:
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from genixer.sources.doctor.crew import serve; serve({str(root.resolve())!r})"
        )
        # Our own interpreter and code, no shell.
        self._process = subprocess.Popen(  # nosec B603
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the parent's business
        )

    def send(self, paths: list[str]) -> None:
        """Hand over paths to look at; a dead process shows when the answer is awaited."""
        if self._process.stdin is None:
            return
        with suppress(OSError):
            self._process.stdin.write(msgspec.json.encode(paths) + b"\n")
            self._process.stdin.flush()

    def receive(self) -> list[Health]:
        """What was found; raises `StoreError` when the process is gone."""
        line = self._process.stdout.readline() if self._process.stdout else b""
        if not line.endswith(b"\n"):
            raise StoreError(
                f"a process that looks at images ended with status {self._process.wait()}; "
                "is the memory full?"
            )
        return msgspec.json.decode(line, type=list[Health])

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def serve(root: str) -> None:
    """Life of a helper: look at a line of paths, answer, until the parent closes the pipe."""
    doctor = ImageDoctor(Path(root))
    for line in sys.stdin.buffer:
        found = list(doctor.look_at(msgspec.json.decode(line, type=list[str])))
        sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
        sys.stdout.buffer.flush()
