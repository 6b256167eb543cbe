"""How fast a run goes, what it has spent, and its events: one ear between executor and progress."""

from __future__ import annotations

import logging
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from genixer.config import Costs
from genixer.pipeline.budget import Budget
from genixer.pipeline.plan import Plan
from genixer.pipeline.progress import Pace, Progress
from genixer.store.layout import StepFolder
from genixer.store.manifest import Manifest, Receipt

__all__ = ["EVENTS", "Meter", "read_events", "written_tokens"]

log = logging.getLogger(__name__)

EVENTS = "events.jsonl"
"""File of a run folder: one event a line. No part of its data, nor of any fingerprint."""


class Meter(Progress):
    """Hears what an executor does; notes it, counts it, and tells a `Progress` with its pace."""

    def __init__(self, plan: Plan, costs: Costs, budget: Budget, to: Progress) -> None:
        """Write the events of `plan` in its folder, charge `budget` at `costs`, tell `to`."""
        self._plan, self._costs, self._budget, self._to = plan, costs, budget, to
        self._path: Path | None = plan.run / EVENTS
        self._began = time.monotonic()
        self._paces: dict[str, Pace] = {}
        self._held: list[bytes] = []

    def __enter__(self) -> Meter:
        """The run begins."""
        steps = [step.name for step in self._plan.steps]
        self._note("begin", run=self._plan.name, steps=steps, pid=os.getpid())
        return self

    def __exit__(self, *raised: object) -> None:
        """The run is over, one way or the other."""
        error, spent = raised[1], self._budget.spent
        if error is None:
            self._note("end", spent=spent)
        else:
            self._note("stop", why=type(error).__name__, message=str(error), spent=spent)

    def cached(self, step: str, manifest: Manifest) -> None:
        """`step` was complete already."""
        self._note("cached", step=step)
        self._to.cached(step, manifest)

    def started(self, step: str, done: int, total: int | None) -> None:
        """Work on `step` begins."""
        self._paces[step] = Pace(time.monotonic(), done)
        self._note("start", step=step, done=done, total=total)
        self._to.started(step, done, total)

    def advanced(
        self, step: str, done: int, total: int | None, unit: Receipt | None = None
    ) -> None:
        """A unit of `step` was committed."""
        pace = self._paces[step].at(time.monotonic(), done, total)
        if unit is not None:
            planned = self._plan.by_name[step]
            generates = planned.stage_name == "generate"
            tokens = sum(written_tokens(planned.folder, unit)) if generates else 0
            pace = pace.plus(unit.counts, tokens)
            asked = unit.counts.items if generates else 0
            self._budget.charge(self._costs.of(asked, tokens, unit.seconds))
            counts = {"in": unit.counts.items, "kept": unit.counts.kept, "tokens": tokens}
            self._note(
                "advance",
                step=step,
                unit=unit.unit,
                done=done,
                total=total,
                **counts,
                seconds=unit.seconds,
                **pace.rates(),
                spent=self._budget.spent,
            )
        self._paces[step] = pace
        self._to.advanced(step, done, total, unit)
        self._to.paced(step, pace)

    def finished(self, step: str, manifest: Manifest) -> None:
        """`step` is complete."""
        self._note(
            "finish", step=step, counts=manifest.counts.as_mapping(), seconds=manifest.seconds
        )
        self._to.finished(step, manifest)

    def _note(self, event: str, **what: Any) -> None:
        """Note one event; a run that has nothing to do leaves no trace."""
        now = time.monotonic()
        head = {"event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        line = msgspec.json.encode({**head, "after_s": round(now - self._began, 3), **what})
        self._held.append(line + b"\n")
        if event not in ("begin", "cached") and (event != "end" or self._paces):
            self._append(b"".join(self._held))
            self._held.clear()

    def _append(self, lines: bytes) -> None:
        """Put `lines` at the end of the file; a disk that takes none does not end the run."""
        if self._path is None:
            return
        try:
            with self._path.open("ab+") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    # A kill may have torn the last line: it stays by itself.
                    lines = lines if file.read(1) == b"\n" else b"\n" + lines
                file.write(lines)
        except OSError as error:
            log.warning("%s: no more events are noted: %s", self._path, error.strerror)
            self._path = None


class _Answer(msgspec.Struct):
    text: str = ""
    token_ids: list[int] = []
    logprobs: list[float] = []

    @property
    def tokens(self) -> int:
        """How many there are, about a quarter of the bytes where a server does not say."""
        return len(self.token_ids) or len(self.logprobs) or -(-len(self.text.encode()) // 4)


class _Row(msgspec.Struct):
    completion: _Answer


_ROW = msgspec.json.Decoder(_Row)


def written_tokens(folder: StepFolder, unit: Receipt) -> list[int]:
    """Tokens of each completion that a unit of a generate step has kept."""
    return [
        _ROW.decode(line).completion.tokens
        for name in unit.outputs
        if name.startswith("part-")
        for line in (folder.root / name).read_bytes().splitlines()
    ]


def read_events(run: str | Path) -> list[dict[str, Any]]:
    """Events of a run folder, in order; what was torn by a kill is passed over."""
    try:
        lines = (Path(run) / EVENTS).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    events = []
    for line in lines:
        try:
            events.append(msgspec.json.decode(line, type=dict[str, Any]))
        except msgspec.DecodeError:
            continue
    return events
