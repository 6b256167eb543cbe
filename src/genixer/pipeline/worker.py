"""A worker process: started by the parent, given tasks over a pipe, gone when the parent is gone.

Not `multiprocessing`: that would import the user's main script again in every worker, and a
ten-line script without a `__main__` guard would start itself over.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, Pipe
from typing import Any, cast

from genixer.pipeline.state import Task
from genixer.pipeline.work import Failure, TaskFailed, Workbench
from genixer.store.manifest import Receipt

__all__ = ["Worker", "WorkerDied", "serve"]

_THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


class WorkerDied(Exception):  # noqa: N818  (an event that the executor answers, not an error yet)
    """The process ended in the middle of a task."""


class Worker:
    """The parent's end of one worker process."""

    def __init__(self, threads: int) -> None:
        """Start the process; it may use `threads` compute threads."""
        self.connection, child = Pipe()
        alive, self._alive = os.pipe()
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; from genixer.pipeline.worker import serve; "
        )
        code += f"serve({child.fileno()}, {alive}, {os.getpid()})"
        environment = {**os.environ, **dict.fromkeys(_THREAD_SETTINGS, str(threads))}
        with _interrupts_held():
            # Our own interpreter and code, no shell.
            self._process = subprocess.Popen(  # nosec B603
                [sys.executable, "-c", code], pass_fds=(child.fileno(), alive), env=environment
            )
        child.close()
        os.close(alive)
        self.task: Task | None = None
        self.step = ""
        """Step whose stage it has loaded."""

    def send(self, task: Task) -> None:
        """Hand over `task`; a dead process shows when the answer is awaited."""
        self.task, self.step = task, task.step.name
        try:
            self.connection.send(task)
        except OSError:
            return

    def receive(self) -> Receipt | Failure | None:
        """Next answer, or None for a log line, which is passed on.

        Raises `WorkerDied` when the process is gone.
        """
        try:
            kind, what = self.connection.recv()
        except (EOFError, OSError) as error:
            raise WorkerDied(self._cause_of_death()) from error
        if kind == "log":
            name, level, message = what
            logging.getLogger(name).log(level, "%s", message)
            return None
        self.task = None
        return cast("Receipt | Failure", what)

    def close(self) -> None:
        """End the process now. Nothing half done can be seen, since commits are renames."""
        self._process.kill()
        self._process.wait()
        self.connection.close()
        os.close(self._alive)

    def _cause_of_death(self) -> str:
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


def serve(connection: int, alive: int, parent: int) -> None:
    """Life of a worker process: take a task, do it, answer, until the parent closes the pipe."""
    _die_with(parent, alive)
    pipe: Connection[Any, Any] = Connection(connection)
    one_at_a_time = threading.Lock()

    def send(kind: str, what: object) -> None:
        with one_at_a_time:
            pipe.send((kind, what))

    _send_logs(send)
    bench = Workbench()
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        try:
            answer: Receipt | Failure = bench.perform(task)
        except TaskFailed as failed:
            answer = failed.failure
        send("answer", answer)


def _die_with(parent: int, alive: int) -> None:
    """End this process as soon as `parent` ends, even by SIGKILL."""

    def watch() -> None:
        os.read(alive, 1)  # returns when the parent's end of the pipe closes
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    if sys.platform == "linux":
        # The thread above cannot run while a C call holds the interpreter; the kernel can.
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _send_logs(send: Callable[[str, object], None]) -> None:
    class ToParent(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            send("log", (record.name, record.levelno, self.format(record)))

    root = logging.getLogger()
    root.handlers[:] = [ToParent()]
    logging.getLogger("genixer").setLevel(logging.INFO)
