"""Doing one unit of work, in whatever process it was given to."""

from __future__ import annotations

import gc
import shutil
import traceback
from dataclasses import dataclass
from pathlib import Path

from genixer import errors
from genixer.errors import CorruptShardError, GenixerError, StoreError
from genixer.pipeline.plan import PlannedStep
from genixer.pipeline.state import Task
from genixer.stages.base import Stage, Step
from genixer.store.disk import FULL_DISK
from genixer.store.layout import FINISH, PREPARE, StepFolder, shard_unit
from genixer.store.manifest import Receipt, read_receipt
from genixer.store.reader import StoredStep, check_files, shard_entry
from genixer.store.shards import UnitWriter

__all__ = ["Failure", "TaskFailed", "Workbench"]


_LONGEST = 300
"""Characters of a foreign exception's text that the message shows."""


@dataclass(frozen=True)
class Failure:
    """Why a unit of work failed, in a form that crosses processes whatever the exception was."""

    kind: str
    """Class in `genixer.errors` that the run ends with."""
    message: str
    trace: str
    corrupt: Path | None = None

    def error(self) -> GenixerError:
        """The exception to end the run with."""
        error: GenixerError = getattr(errors, self.kind)(self.message)
        if isinstance(error, CorruptShardError):
            error.path = self.corrupt
        return error


class TaskFailed(Exception):  # noqa: N818  (carries a failure across, is none itself)
    """Raised by `Workbench.perform`; `failure` is all that crosses to the parent."""

    def __init__(self, failure: Failure) -> None:
        """Carry `failure`."""
        super().__init__(failure.message)
        self.failure = failure


class Workbench:
    """Does tasks one by one; keeps the stage, with the models it loaded, while its step lasts."""

    def __init__(self) -> None:
        """Nothing loaded yet."""
        self._current: tuple[PlannedStep, Stage, Step] | None = None

    def perform(self, task: Task) -> Receipt:
        """Do `task` and return its receipt; raises `TaskFailed` for whatever went wrong."""
        try:
            return self._perform(task)
        except Exception as error:
            raise TaskFailed(_failure(task, error)) from error

    def _perform(self, task: Task) -> Receipt:
        stage, step = self._setup(task.step, task.unit)
        planned = task.step
        if task.unit == PREPARE:
            _clear_stale(planned.folder, task.basis)
        what = (planned.folder, task.unit, task.basis, planned.label)
        with UnitWriter(*what, deaths=task.deaths, fence=task.fence) as out:
            if task.unit == PREPARE:
                total, one_to_one = _count_items(stage, step, task)
                stage.prepare(step, out)
                return out.commit(total=total, one_to_one=one_to_one)
            if task.unit == FINISH:
                stage.finish(step, out, _own_rows(task))
                return out.commit()
            stage.process(step, task.first, task.items, out)
            return out.commit(task.first, task.items)

    def _setup(self, planned: PlannedStep, unit: str) -> tuple[Stage, Step]:
        if self._current is None or self._current[0] != planned:
            if unit != PREPARE:
                check_files(planned.folder, PREPARE)  # its shards read them as they are
            # The models of the step before go before those of the next come.
            self._current = None
            gc.collect()
            self._current = (planned, planned.stage(), planned.step())
        return self._current[1], self._current[2]


def _count_items(stage: Stage, step: Step, task: Task) -> tuple[int, bool]:
    """How many items there are, and whether they are the rows read.

    `--limit` is applied here and nowhere else.
    """
    total = stage.items(step)
    if total < 0:
        raise StoreError(f"{task.step.label}: items() gave {total}")
    one_to_one = "rows" in step.inputs and total == step.count()
    return total if step.limit is None else min(total, step.limit), one_to_one


def _clear_stale(folder: StepFolder, basis: str) -> None:
    """Remove what other inputs left in the step's folder, but for what was moved aside."""
    old = read_receipt(folder, PREPARE)
    if not folder.root.is_dir() or (old is not None and old.basis == basis):
        return
    folder.manifest.unlink(missing_ok=True)
    for path in folder.root.iterdir():
        if path.suffix == ".corrupt":
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _own_rows(task: Task) -> StoredStep:
    folder = task.step.folder
    receipts = [read_receipt(folder, shard_unit(index)) for index in range(task.shards)]
    if None in receipts:
        raise StoreError(f"{task.step.label}: a receipt vanished from {folder.receipts}")
    shards = [shard_entry(receipt) for receipt in receipts if receipt]
    return StoredStep(folder, task.step.stage_name, shards)


def _failure(task: Task, error: Exception) -> Failure:
    """`error` in plain words.

    Ours keep their class, a full disk becomes ours, the rest is a fault of the stage.
    """
    trace = "".join(traceback.format_exception(error))
    if isinstance(error, CorruptShardError):
        return Failure("CorruptShardError", str(error), trace, error.path)
    if isinstance(error, GenixerError):
        return Failure(_class_name(error), f"{task}: {error}", trace)
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        message = f"{task}: {error.filename or task.step.folder.root}: {error.strerror}; make room"
        return Failure("StoreError", f"{message} and run the same command again", trace)
    text = str(error).strip().partition("\n")[0][:_LONGEST]
    return Failure("GenixerError", f"{task}: {type(error).__name__}: {text}", trace)


def _class_name(error: GenixerError) -> str:
    """Nearest class of `error` in `genixer.errors` that is made from a message alone."""
    for kind in type(error).__mro__:
        if vars(errors).get(kind.__name__) is kind and "__init__" not in vars(kind):
            return str(kind.__name__)
    return "GenixerError"
