"""The order in which a plan's units of work are handed out, wherever they are done."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from genixer.errors import IncompleteError
from genixer.pipeline.budget import Budget
from genixer.pipeline.plan import Plan, PlannedStep
from genixer.pipeline.progress import Progress
from genixer.pipeline.state import StepState, Task, current_manifest, inputs_of, look
from genixer.pipeline.work import Failure
from genixer.pipeline.worker import WorkerDied, WorkerLost
from genixer.store.manifest import Manifest, Receipt, write_stored

__all__ = ["Claim", "Executor", "Outcome", "Pool", "Seal", "everything", "tidy", "write_manifest"]

log = logging.getLogger(__name__)


Outcome = Receipt | Failure | WorkerDied
Claim = Callable[[Task], Task | None]
"""Asked before a task is begun: the task to do, or None where somebody else does it."""
Seal = Callable[[PlannedStep, Manifest], Manifest]
"""Writes the manifest of a step whose units are all done; returns the one that counts."""


def everything(task: Task) -> Task:
    """The claim of a process that is alone in the run folder."""
    return task


def tidy(step: PlannedStep) -> None:
    """Remove what unfinished units of a step left, once it needs none of it any more."""
    shutil.rmtree(step.folder.scratch, ignore_errors=True)
    shutil.rmtree(step.folder.work, ignore_errors=True)


def write_manifest(step: PlannedStep, manifest: Manifest) -> Manifest:
    """The seal of a process that is alone in the run folder."""
    # A kill right after the commit of a unit leaves its workspace.
    shutil.rmtree(step.folder.work, ignore_errors=True)
    write_stored(step.folder.manifest, manifest)
    return manifest


class Pool(Protocol):
    """Where tasks are done."""

    def submit(self, pending: Mapping[str, list[Task]]) -> list[Task]:
        """Take as many of `pending` (by step, in order) as there is room for, and say which."""
        ...

    def collect(self, timeout_s: float | None = None) -> Iterator[tuple[Task, Outcome]]:
        """Wait until something ends, and give it; nothing after `timeout_s` seconds."""
        ...

    def close(self) -> None:
        """Drop whatever runs."""
        ...


@dataclass
class _Open:
    """A step that is being worked on."""

    state: StepState
    pending: list[Task]
    running: int = 0


class Executor:
    """Runs every step of a plan that is not complete. One use."""

    def __init__(
        self,
        plan: Plan,
        pool: Pool,
        progress: Progress,
        seal: Seal = write_manifest,
        budget: Budget | None = None,
    ) -> None:
        """Run `plan` in `pool`, which is closed at the end, while `budget` has room."""
        self._plan, self._pool, self._progress, self._seal = plan, pool, progress, seal
        self._budget = budget or Budget()
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
                for task in self._pool.submit(self._affordable()):
                    step = self._open[task.step.name]
                    step.pending.remove(task)
                    step.running += 1
                for task, outcome in self._pool.collect():
                    self._take(task, outcome)
        finally:
            self._pool.close()

    def _affordable(self) -> dict[str, list[Task]]:
        """Units that can be worked on now, as many as the budget has room for."""
        running = sum(step.running for step in self._open.values())
        room = self._budget.room(running)
        if room == 0 and not running:
            raise self._budget.error()
        pending = {}
        for name, step in self._open.items():
            pending[name] = step.pending[:room]
            room = None if room is None else room - len(pending[name])
        return pending

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
                tidy(step)  # what a process left that ended between the manifest and this
                self._pass(step, manifest)
                self._progress.cached(step.name, manifest)
                return
        self.worked.append(step.name)
        self._open[step.name] = _Open(state, state.tasks())
        self._progress.started(step.name, len(state.shards), state.shard_count)
        self._settle(self._open[step.name])

    def _take(self, task: Task, outcome: Outcome) -> None:
        step = self._open[task.step.name]
        step.running -= 1
        if isinstance(outcome, Failure):
            raise self._record(task, outcome).error()
        if isinstance(outcome, WorkerDied):
            self._mourn(step, task, outcome)
            return
        step.state.accept(outcome)
        done, total = len(step.state.shards), step.state.shard_count
        self._progress.advanced(task.step.name, done, total, outcome)
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
        manifest = self._seal(planned, manifest)
        del self._open[planned.name]
        self._pass(planned, manifest)
        self._progress.finished(planned.name, manifest)

    def _pass(self, step: PlannedStep, manifest: Manifest) -> None:
        self._contents[step.name] = manifest.content
        self.manifests[step.name] = manifest

    def _mourn(self, step: _Open, task: Task, death: WorkerDied) -> None:
        if isinstance(death, WorkerLost):
            log.warning("%s: given back because %s", task, death)
            step.pending.insert(0, task)
            return
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
