"""Several processes that look at images; few images are looked at in this one.

Not `multiprocessing`: that would import the user's main script again in every process, and a
ten-line script without a `__main__` guard would start itself over.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import IO

import msgspec

from genixer.doctor.images import Health, ImageDoctor
from genixer.errors import StoreError

__all__ = ["look_at_all", "serve"]

MANY = 1 << 15
"""Images from which on it pays to start processes: they take as long to start as ten thousand."""
_CHUNK = 256


def look_at_all(root: Path, paths: Iterable[str], many: int = MANY) -> Iterator[Health]:
    """Health of each image below `root`, in order; with all cores if there are `many`."""
    rest = iter(paths)
    first = list(islice(rest, many))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if len(first) < many or cores == 1:
        yield from ImageDoctor(root).look_at(chain(first, rest))
        return
    with tempfile.NamedTemporaryFile() as plan:
        chunks = _write_plan(plan, chain(first, rest))
        helpers = [_Helper(root, plan.name, turn, cores) for turn in range(cores)]
        try:
            for chunk in range(chunks):
                yield from helpers[chunk % cores].receive()
        finally:
            for helper in helpers:
                helper.close()


def _write_plan(plan: IO[bytes], paths: Iterator[str]) -> int:
    """A line of paths for each chunk; says how many there are."""
    chunks = 0
    while chunk := list(islice(paths, _CHUNK)):
        plan.write(msgspec.json.encode(chunk) + b"\n")
        chunks += 1
    plan.flush()
    return chunks


class _Helper:
    """The parent's end of one process, which waits when its answers are not read."""

    def __init__(self, root: Path, plan: str, turn: int, of: int) -> None:
        arguments = (str(root.resolve()), plan, turn, of)
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from genixer.doctor.crew import serve; serve(*{arguments!r})"
        )
        # Our own interpreter and code, no shell. Ctrl-C is the parent's business.
        self._process = subprocess.Popen(  # nosec B603
            [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
        )

    def receive(self) -> list[Health]:
        """What was found in its next chunk; raises `StoreError` when the process is gone."""
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


def serve(root: str, plan: str, turn: int, of: int) -> None:
    """Life of a helper: every `of`-th line of the plan, from line `turn` on, and its answer.

    Without a parent that reads, the next answer ends it.
    """
    doctor = ImageDoctor(Path(root))
    with Path(plan).open("rb") as lines:
        for line in islice(lines, turn, None, of):
            found = list(doctor.look_at(msgspec.json.decode(line, type=list[str])))
            sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
            sys.stdout.buffer.flush()
