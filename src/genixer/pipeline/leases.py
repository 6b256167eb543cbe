"""Tasks shared with other processes that work on the same run folder, here or on other machines.

Every task that can be done now is this pool's business. It does those it gets the lease of, in the
pool inside it, and watches for the receipts of the others.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from genixer.pipeline.budget import Budget
from genixer.pipeline.executor import Claim, Outcome, Pool, tidy
from genixer.pipeline.plan import PlannedStep
from genixer.pipeline.state import Task, current_manifest
from genixer.store.fence import create_once, finish_commit
from genixer.store.leases import LeaseBook
from genixer.store.manifest import Manifest, Receipt, committed, encode_stored, write_stored

__all__ = ["LeasePool", "write_manifest_once"]

log = logging.getLogger(__name__)

Key = tuple[str, str]


class LeasePool:
    """The pool of everyone who shares the run folder, seen from one of them."""

    def __init__(
        self, inner: Callable[[Claim], Pool], book: LeaseBook, look_s: float, budget: Budget
    ) -> None:
        """Own work is done in `inner`; the folder is looked at every `look_s` seconds.

        It holds all open tasks, whoever does them: so it asks `budget` before it begins one.
        """
        self._inner, self._book, self._look_s = inner(self._claim), book, look_s
        self._budget = budget
        self._open: dict[Key, Task] = {}
        self._running: dict[Key, Task] = {}
        self._looked_s = 0.0

    def submit(self, pending: Mapping[str, list[Task]]) -> list[Task]:
        """Take all of it, and begin what is free."""
        taken = [task for tasks in pending.values() for task in tasks]
        self._open.update({_key(task): task for task in taken})
        if self._open and not self._running and self._budget.room(0) == 0:
            raise self._budget.error()
        free: dict[str, list[Task]] = {}
        for key, task in self._open.items():
            if key not in self._running:
                free.setdefault(task.step.name, []).append(task)
        # Each begins elsewhere, so that not all of them ask for the same lease.
        for name, tasks in free.items():
            start = self._book.luck % len(tasks)
            free[name] = tasks[start:] + tasks[:start]
        self._inner.submit(free)
        return taken

    def collect(self, timeout_s: float | None = None) -> Iterator[tuple[Task, Outcome]]:
        """Wait until something ends here or elsewhere, but not longer than to the next look."""
        wait_s = self._look_s if timeout_s is None else min(timeout_s, self._look_s)
        idle = not self._running and bool(self._open)
        until_s = time.monotonic() + wait_s
        for task, outcome in self._inner.collect(wait_s):
            yield from self._ended(task, outcome)
        if idle:
            time.sleep(max(0.0, until_s - time.monotonic()))
        if time.monotonic() - self._looked_s >= self._look_s:
            yield from self._done_elsewhere()
            self._looked_s = time.monotonic()

    def close(self) -> None:
        """Drop what runs here, and let others have it at once."""
        self._inner.close()
        for task in self._running.values():
            self._release(task)
        self._running.clear()

    def _claim(self, task: Task) -> Task | None:
        if self._budget.room(len(self._running)) == 0:
            return None

        def done() -> bool:
            return committed(task.step.folder, task.unit, task.basis) is not None

        fence = self._book.claim(task.step.folder, task.unit, done)
        if fence is None:
            return None
        leased = replace(task, fence=fence)
        self._running[_key(task)] = leased
        return leased

    def _ended(self, task: Task, outcome: Outcome) -> Iterator[tuple[Task, Outcome]]:
        """What one of our own tasks came to, unless it was somebody else's by then."""
        key = _key(task)
        del self._running[key]
        if not isinstance(outcome, Receipt) and not self._release(task):
            # Its receipt comes with the next look, written here just before, or by another.
            log.info("%s: is done, or was taken over by another process", task)
            return
        yield self._open.pop(key), outcome

    def _release(self, task: Task) -> bool:
        """Give up the lease; False when it has an end, which is then put in place."""
        fence = task.fence
        if fence is None or self._book.release(fence, task.step.name, task.unit):
            return True
        if fence.written:
            finish_commit(task.step.folder, task.unit, fence)
        return False

    def _done_elsewhere(self) -> Iterator[tuple[Task, Outcome]]:
        """Tasks whose receipts have come since the last look."""
        names: dict[str, set[str]] = {}
        for key, task in list(self._open.items()):
            if key in self._running:
                continue
            folder = task.step.folder
            if key[0] not in names:
                names[key[0]] = {path.stem for path in folder.receipts.glob("[!.]*.json")}
            if task.unit not in names[key[0]]:
                continue
            receipt = committed(folder, task.unit, task.basis)
            if receipt is not None:
                del self._open[key]
                yield task, receipt


def _key(task: Task) -> Key:
    return task.step.name, task.unit


def write_manifest_once(book: LeaseBook, step: PlannedStep, manifest: Manifest) -> Manifest:
    """Write a manifest unless another process did; returns the one that counts."""
    folder = step.folder
    if not create_once(folder.manifest, encode_stored(manifest), book.home):
        other = current_manifest(step)
        if other and (other.content, other.inputs) == (manifest.content, manifest.inputs):
            return other
        write_stored(folder.manifest, manifest)
    tidy(step)  # what holders left that were given up
    return manifest
