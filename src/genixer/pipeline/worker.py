"""A worker process: started by the parent, given tasks over a pipe, gone when that one is gone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import cast

from genixer.pipeline.state import Task
from genixer.pipeline.work import Failure, TaskFailed, Workbench
from genixer.processes import Child, die_with
from genixer.store.manifest import Receipt

__all__ = ["Worker", "WorkerDied", "WorkerLost", "serve"]


class WorkerDied(Exception):  # noqa: N818  (an event that the executor answers, not an error yet)
    """The process ended in the middle of a task."""


class WorkerLost(WorkerDied):
    """The machine it ran on is gone; the task is not to blame."""


class Worker:
    """The parent's end of one worker process."""

    def __init__(self, threads: int) -> None:
        """Start the process; it may use `threads` compute threads."""
        self._child = Child("genixer.pipeline.worker:serve", threads)
        self.connection = self._child.connection
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
            raise WorkerDied(self._child.cause_of_death()) from error
        if kind == "log":
            name, level, message = what
            logging.getLogger(name).log(level, "%s", message)
            return None
        self.task = None
        return cast("Receipt | Failure", what)

    def close(self) -> None:
        """End the process now. Nothing half done can be seen, since commits are renames."""
        self._child.close()


def serve(connection: int, alive: int, parent: int) -> None:
    """Life of a worker process: take a task, do it, answer, until the parent closes the pipe."""
    pipe = die_with(connection, alive, parent)
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


def _send_logs(send: Callable[[str, object], None]) -> None:
    class ToParent(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            send("log", (record.name, record.levelno, self.format(record)))

    root = logging.getLogger()
    root.handlers[:] = [ToParent()]
    logging.getLogger("genixer").setLevel(logging.INFO)
