"""Tasks done on this machine: in this process, or in worker processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from multiprocessing.connection import wait

from genixer.pipeline.executor import Claim, Outcome, everything
from genixer.pipeline.state import Task
from genixer.pipeline.work import TaskFailed, Workbench
from genixer.pipeline.worker import Worker, WorkerDied

__all__ = ["InlinePool", "ProcessPool", "first_claimed"]


class InlinePool:
    """No processes: the task is done here, when it is collected."""

    def __init__(self, claim: Claim = everything) -> None:
        """An empty bench."""
        self._bench = Workbench()
        self._claim = claim
        self._task: Task | None = None

    def submit(self, pending: Mapping[str, list[Task]]) -> list[Task]:
        """Take the first task there is."""
        if self._task is not None:
            return []
        left = {name: list(tasks) for name, tasks in pending.items() if tasks}
        while left and self._task is None:
            self._task = first_claimed(left, next(iter(left)), self._claim)
        return [self._task] if self._task else []

    def collect(self, timeout_s: float | None = None) -> Iterator[tuple[Task, Outcome]]:
        """Do the task."""
        task, self._task = self._task, None
        if task is not None:
            try:
                yield task, self._bench.perform(task)
            except TaskFailed as failed:
                yield task, failed.failure

    def close(self) -> None:
        """Nothing runs between two calls."""


class ProcessPool:
    """Worker processes, started when there is work for them and kept until the run ends."""

    def __init__(self, size: int, threads: int, claim: Claim = everything) -> None:
        """At most `size` processes of `threads` compute threads each."""
        self._size, self._threads, self._claim = size, threads, claim
        self._workers: list[Worker] = []

    def submit(self, pending: Mapping[str, list[Task]]) -> list[Task]:
        """Give every idle worker a task, of the step it has loaded if there is one."""
        left = {name: list(tasks) for name, tasks in pending.items() if tasks}
        sent: list[Task] = []
        idle = [worker for worker in self._workers if worker.task is None]
        # Those that can go on with their step choose first: loading a model again is the dear part.
        idle.sort(key=lambda worker: worker.step not in left)
        while left and (idle or len(self._workers) < self._size):
            if not idle:
                # Before there is a task for it: it gets ready while others who share the run folder
                # do the unit that all wait for.
                self._workers.append(Worker(self._threads))
                idle.append(self._workers[-1])
            name = idle[0].step if idle[0].step in left else next(iter(left))
            task = first_claimed(left, name, self._claim)
            if task is None:
                continue
            idle.pop(0).send(task)
            sent.append(task)
        return sent

    def collect(self, timeout_s: float | None = None) -> Iterator[tuple[Task, Outcome]]:
        """Wait for the workers that have a task."""
        busy = {worker.connection: worker for worker in self._workers if worker.task}
        for connection in wait(list(busy), timeout_s):
            worker = busy[connection]  # type: ignore[index]
            task = worker.task
            if task is None:
                continue
            try:
                answer = worker.receive()
            except WorkerDied as death:
                self._workers.remove(worker)
                worker.close()
                yield task, death
                continue
            if answer is not None:
                yield task, answer

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.close()
        self._workers.clear()


def first_claimed(left: dict[str, list[Task]], name: str, claim: Claim) -> Task | None:
    """First task of step `name` that may be done here; takes what it looked at out of `left`."""
    tasks = left[name]
    found = None
    while tasks and found is None:
        found = claim(tasks.pop(0))
    if not tasks:
        del left[name]
    return found
