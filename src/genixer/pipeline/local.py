"""The local executor: a plan, some worker processes, and the order in which work is handed out."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from typing import Protocol

from genixer.errors import IncompleteError
from genixer.pipeline.plan import Plan, PlannedStep
from genixer.pipeline.progress import Progress
from genixer.pipeline.state import StepState, Task, current_manifest, inputs_of, look
from genixer.pipeline.work import Failure, TaskFailed, Workbench
from genixer.pipeline.worker import Worker, WorkerDied
from genixer.store.layout import PREPARE
from genixer.store.manifest import Manifest, Receipt, read_receipt, write_stored

__all__ = ["LocalExecutor"]

log = logging.getLogger(__name__)


class Pool(Protocol):
    """Where tasks are done."""

    def submit(self, pending: Mapping[str, list[Task]]) -> list[Task]:
        """Start as many of `pending` (by step, in order) as there is room for, and say which."""
        ...

    def collect(self) -> Iterator[tuple[Task, Receipt | Failure | WorkerDied]]:
        """Wait until something ends, and give it."""
        ...

    def close(self) -> None:
        """Drop whatever runs."""
        ...


class InlinePool:
    """No processes: the task is done here, when it is collected."""

    def __init__(self) -> None:
        """An empty bench."""
        self._bench = Workbench()
        self._task: Task | None = None

    def submit(self, pending: Mapping[str, list[Task]]) -> list[Task]:
        """Take the first task there is."""
        if self._task is None:
            self._task = next((tasks[0] for tasks in pending.values() if tasks), None)
            return [self._task] if self._task else []
        return []

    def collect(self) -> Iterator[tuple[Task, Receipt | Failure | WorkerDied]]:
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

    def __init__(self, size: int, threads: int) -> None:
        """At most `size` processes of `threads` compute threads each."""
        self._size, self._threads = size, threads
        self._workers: list[Worker] = []

    def submit(self, pending: Mapping[str, list[Task]]) -> list[Task]:
        """Give every idle worker a task, of the step it has loaded if there is one."""
        left = {name: list(tasks) for name, tasks in pending.items() if tasks}
        sent: list[Task] = []
        idle = [worker for worker in self._workers if worker.task is None]
        # Those that can go on with their step choose first: loading a model again is the dear part.
        idle.sort(key=lambda worker: worker.step not in left)
        while left:
            if not idle and len(self._workers) < self._size:
                self._workers.append(Worker(self._threads))
                idle.append(self._workers[-1])
            if not idle:
                break
            worker = idle.pop(0)
            name = worker.step if worker.step in left else next(iter(left))
            task = left[name].pop(0)
            if not left[name]:
                del left[name]
            worker.send(task)
            sent.append(task)
        return sent

    def collect(self) -> Iterator[tuple[Task, Receipt | Failure | WorkerDied]]:
        """Wait for the workers that have a task."""
        busy = {worker.connection: worker for worker in self._workers if worker.task}
        for connection in wait(list(busy)):
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


@dataclass
class _Open:
    """A step that is being worked on."""

    state: StepState
    pending: list[Task]
    running: int = 0


class LocalExecutor:
    """Runs every step of a plan that is not complete. One use."""

    def __init__(self, plan: Plan, workers: int, progress: Progress) -> None:
        """Run `plan` on `workers` processes, or in this one if 0."""
        self._plan, self._progress = plan, progress
        threads = max((step.threads for step in plan.steps), default=1)
        self._pool: Pool = ProcessPool(workers, threads) if workers else InlinePool()
        self._waiting: list[PlannedStep] = list(plan.steps)
        self._open: dict[str, _Open] = {}
        self._contents: dict[str, str] = {}
        self.manifests: dict[str, Manifest] = {}
        self.worked: list[str] = []
        """Steps that were not complete already."""

    def run(self) -> None:
        """Do everything that is left; raises what a task failed with.

        Whatever happens, nothing half done can be seen afterwards.
        """
        try:
            self._admit()
            while self._open:
                pending = {name: step.pending for name, step in self._open.items()}
                for task in self._pool.submit(pending):
                    step = self._open[task.step.name]
                    step.pending.remove(task)
                    step.running += 1
                for task, outcome in self._pool.collect():
                    self._take(task, outcome)
        finally:
            self._pool.close()

    def _admit(self) -> None:
        """Open every step whose inputs are finished; complete ones are passed at once."""
        moved = True
        while moved:
            moved = False
            for step in list(self._waiting):
                if all(name in self._contents for name in step.depends):
                    self._waiting.remove(step)
                    self._start(step)
                    moved = True

    def _start(self, step: PlannedStep) -> None:
        state = look(step, self._contents)
        manifest = current_manifest(step)
        if state.done and manifest:
            expected = state.manifest(inputs_of(step, self._plan, self._contents))
            if manifest.content == expected.content and manifest.inputs == expected.inputs:
                self._pass(step, manifest)
                self._progress.cached(step.name, manifest)
                return
        if state.prepare is None:
            _clear_stale(state)
        self.worked.append(step.name)
        self._open[step.name] = _Open(state, state.tasks())
        self._progress.started(step.name, len(state.shards), state.shard_count)
        self._settle(self._open[step.name])

    def _take(self, task: Task, outcome: Receipt | Failure | WorkerDied) -> None:
        step = self._open[task.step.name]
        step.running -= 1
        if isinstance(outcome, Failure):
            raise self._record(task, outcome).error()
        if isinstance(outcome, WorkerDied):
            self._mourn(step, task, outcome)
            return
        step.state.accept(outcome)
        self._progress.advanced(task.step.name, len(step.state.shards), step.state.shard_count)
        self._settle(step)
        self._admit()

    def _settle(self, step: _Open) -> None:
        """What follows once nothing of `step` is pending: its next phase, or its manifest."""
        if step.pending or step.running:
            return
        step.pending = step.state.tasks()
        if not step.state.done:
            return
        planned = step.state.step
        manifest = step.state.manifest(inputs_of(planned, self._plan, self._contents))
        # A kill right after the commit of a unit leaves its workspace.
        shutil.rmtree(planned.folder.work, ignore_errors=True)
        write_stored(planned.folder.manifest, manifest)
        del self._open[planned.name]
        self._pass(planned, manifest)
        self._progress.finished(planned.name, manifest)

    def _pass(self, step: PlannedStep, manifest: Manifest) -> None:
        self._contents[step.name] = manifest.content
        self.manifests[step.name] = manifest

    def _mourn(self, step: _Open, task: Task, death: WorkerDied) -> None:
        deaths = task.deaths + 1
        if deaths >= task.step.max_deaths:
            raise IncompleteError(
                f"{task}: its worker died {deaths} times, the last time because {death}; "
                "what is committed stays: run the same command again to go on"
            )
        log.warning("%s: its worker died because %s; trying once more", task, death)
        step.pending.insert(0, replace(task, deaths=deaths))

    def _record(self, task: Task, failure: Failure) -> Failure:
        """Keep the traceback for whoever has to mend the stage; people get the message."""
        path = self._plan.run / "errors.log"
        foreign = failure.kind == "GenixerError"
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{task}\n{failure.trace}\n")
        except OSError as error:
            trace = failure.trace if foreign else ""
            log.warning("%s: cannot be written: %s\n%s", path, error.strerror, trace)
            return failure
        if foreign:
            return replace(failure, message=f"{failure.message} (traceback in {path})")
        return failure


def _clear_stale(state: StepState) -> None:
    """Remove what other inputs left in the step's folder, but for what was moved aside."""
    folder = state.step.folder
    old = read_receipt(folder, PREPARE)
    if not folder.root.is_dir() or (old is not None and old.basis == state.basis):
        return
    folder.manifest.unlink(missing_ok=True)
    for path in folder.root.iterdir():
        if path.suffix == ".corrupt":
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
