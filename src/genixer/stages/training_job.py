"""A training as a unit of work: done here or by several processes, its log and files kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from genixer.data import SftRow, encode_row
from genixer.stages.base import FileWriter, Step, StepOutput
from genixer.training.schedule import Schedule

__all__ = ["Job", "Note", "Tracker", "carry_out", "count_row", "schedule_of"]

log = logging.getLogger(__name__)

Note = Callable[[dict[str, Any]], None]
Tracker = Literal["jsonl", "tensorboard", "wandb", "trackio"]


class _Scheduled(Protocol):
    @property
    def steps_when_limited(self) -> int: ...


@dataclass(frozen=True)
class Job:
    """A training that any process can take up: rows, a place for checkpoints, one for weights."""

    settings: Any
    step: Step
    rows: StepOutput
    workspace: Path
    folder: Path


def schedule_of(settings: _Scheduled, limited: bool) -> Schedule:
    """The schedule among a stage's `settings`; `limited` ones take `steps_when_limited` at most."""
    chosen = {name: getattr(settings, name) for name in Schedule.model_fields}
    if limited:
        few = settings.steps_when_limited
        chosen["steps"] = few if chosen["epochs"] else min(chosen["steps"], few)
        chosen["epochs"] = 0
    return Schedule(**chosen)


def count_row(seen: dict[str, int], row: SftRow) -> None:
    """Add one to `seen`, by source and task.

    >>> seen = {}
    >>> count_row(seen, SftRow("1", "2", "rec", "student", None, (), source="vqav2"))
    >>> seen
    {'vqav2/rec': 1}
    """
    name = f"{row.source or 'unknown'}/{row.task}"
    seen[name] = seen.get(name, 0) + 1


def carry_out(
    job: Job, here: Callable[[Any, Note], dict[str, Any]], elsewhere: str, out: FileWriter
) -> None:
    """Do `job` and keep what it made: the job's folder, `log.jsonl` and `seen.json`.

    One process calls `here`; several call `elsewhere`, `module:function`, each in its own.
    """
    from genixer.training.launch import launch
    from genixer.training.log import timeless
    from genixer.training.outside import Outside
    from genixer.training.trackers import Trackers

    step, settings = job.step, job.settings
    lines: list[dict[str, Any]] = []
    with Trackers(settings.track, step.run / step.name / "logs", step.name) as trackers:

        def note(line: dict[str, Any]) -> None:
            lines.append(line)
            trackers.tell(line)

        if settings.processes == 1:
            if Outside.here() is not None:
                log.warning("%s: processes: 1, so the other processes do nothing", step.name)
            summary = here(job, note)
        else:
            processes, threads = settings.processes, step.threads
            summary = launch(elsewhere, job, processes, threads, note, step.run)
    out.adopt(job.folder)
    out.file("log.jsonl", b"".join(encode_row(timeless(line)) + b"\n" for line in lines))
    out.file("seen.json", encode_row(summary))
