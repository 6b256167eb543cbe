"""Child processes that are given work over a pipe, and are gone when their parent is gone.

Not `multiprocessing`: that would import the user's main script again in every child, and a ten-line
script without a `__main__` guard would start itself over.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection, Pipe
from typing import Any

__all__ = ["THREAD_SETTINGS", "Child", "die_with"]

THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


class Child:
    """The parent's end of one child process."""

    def __init__(
        self, entry: str, threads: int, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start a process that calls `entry`, `module:function`, with the numbers of its pipe.

        These are the connection's, the living parent's, and the parent's process id; the function
        calls `die_with` first. It may use `threads` compute threads.
        """
        self.connection, child = Pipe()
        alive, self._alive = os.pipe()
        module, _, function = entry.partition(":")
        code = f"import sys; sys.path[:] = {sys.path!r}; from {module} import {function}; "
        code += f"{function}({child.fileno()}, {alive}, {os.getpid()})"
        threading_settings = dict.fromkeys(THREAD_SETTINGS, str(threads))
        with _interrupts_held():
            # Our own interpreter and code, no shell.
            self._process = subprocess.Popen(  # nosec B603
                [sys.executable, "-c", code],
                pass_fds=(child.fileno(), alive),
                env={**os.environ, **threading_settings, **(environment or {})},
            )
        child.close()
        os.close(alive)

    def close(self) -> None:
        """End the process now. Nothing half done can be seen, since commits are renames."""
        self._process.kill()
        self._process.wait()
        self.connection.close()
        os.close(self._alive)

    def cause_of_death(self) -> str:
        """How the process ended, in words; waits for the end."""
        code = self._process.wait()
        if code >= 0:
            return f"it ended with status {code}"
        name = signal.Signals(-code).name
        hint = "; is the memory full?" if name == "SIGKILL" else ""
        return f"it was killed by {name}{hint}"


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back while a child is born: it inherits that, and never hears it.

    The terminal tells the whole group; what is done about it is the parent's business, which gets
    a signal that came meanwhile right after.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def die_with(connection: int, alive: int, parent: int) -> Connection[Any, Any]:
    """The child's end of the pipe; this process ends as soon as `parent` does, even by SIGKILL."""

    def watch() -> None:
        os.read(alive, 1)  # returns when the parent's end of the pipe closes
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    if sys.platform == "linux":
        # The thread above cannot run while a C call holds the interpreter; the kernel can.
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    return Connection(connection)
