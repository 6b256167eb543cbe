"""What a run tells while it goes: bars on a terminal, one line a finished step elsewhere."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from genixer.store.manifest import Counts, Manifest, Receipt

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["LineProgress", "Pace", "Progress", "TerminalProgress", "ledger_line"]

log = logging.getLogger(__name__)


def ledger_line(counts: Counts) -> str:
    """Ledger in words.

    >>> ledger_line(Counts(5, 3, {"too_short": 2}))
    '5 in = 3 kept + 2 rejected + 0 quarantined'
    """
    rejected, quarantined = sum(counts.rejected.values()), sum(counts.quarantined.values())
    return (
        f"{counts.items} in = {counts.kept} kept + {rejected} rejected + {quarantined} quarantined"
    )


class Pace(NamedTuple):
    """How fast a step has gone since it was begun in this run; `began` and `now` are seconds.

    >>> pace = Pace(0.0, 2).at(10.0, 4, 6).plus(Counts(20, 15, {"short": 5}), 300)
    >>> pace.words
    '2.0 rows/s, 30 tokens/s, 75 % kept, 0:00:10 left'
    """

    began: float
    first: int
    """Shards that were done before."""
    done: int = 0
    total: int | None = None
    now: float = 0.0
    items: int = 0
    kept: int = 0
    tokens: int = 0

    def at(self, now: float, done: int, total: int | None) -> Pace:
        """The same at a later time."""
        return self._replace(now=now, done=done, total=total)

    def plus(self, counts: Counts, tokens: int) -> Pace:
        """With another unit of work counted."""
        return self._replace(
            items=self.items + counts.items,
            kept=self.kept + counts.kept,
            tokens=self.tokens + tokens,
        )

    @property
    def left_s(self) -> float | None:
        """Seconds that its shards should take yet, at the pace so far; None while unknown."""
        new = self.done - self.first
        if self.total is None or new <= 0:
            return None
        return (self.total - self.done) * (self.now - self.began) / new

    def rates(self) -> dict[str, float | None]:
        """Rows and tokens a second, share kept, seconds left."""
        seconds = max(self.now - self.began, 1e-6)
        left = self.left_s
        return {
            "rows_per_s": round(self.items / seconds, 3),
            "tokens_per_s": round(self.tokens / seconds, 3),
            "kept_share": round(self.kept / self.items, 4) if self.items else None,
            "left_s": None if left is None else round(left, 1),
        }

    @property
    def words(self) -> str:
        """The rates for people; empty while nothing is known."""
        rates, said = self.rates(), []
        if self.items:
            said.append(f"{rates['rows_per_s']:.1f} rows/s")
        if self.tokens:
            said.append(f"{rates['tokens_per_s']:.0f} tokens/s")
        if self.items:
            said.append(f"{self.kept / self.items:.0%} kept".replace("%", " %"))
        if self.left_s is not None:
            said.append(f"{timedelta(seconds=round(self.left_s))} left")
        return ", ".join(said)


class Progress:
    """Hears what happens; says nothing itself. `total` counts shards, None while unknown."""

    def cached(self, step: str, manifest: Manifest) -> None:
        """`step` was complete already."""

    def started(self, step: str, done: int, total: int | None) -> None:
        """Work on `step` begins."""

    def advanced(
        self, step: str, done: int, total: int | None, unit: Receipt | None = None
    ) -> None:
        """A unit of `step` was committed: `unit`, if it is known."""

    def paced(self, step: str, pace: Pace) -> None:
        """How fast `step` goes, after each unit."""

    def finished(self, step: str, manifest: Manifest) -> None:
        """`step` is complete."""

    def __enter__(self) -> Progress:
        """The run begins."""
        return self

    def __exit__(self, *_: object) -> None:
        """The run is over, one way or the other."""


class LineProgress(Progress):
    """One log line when a step begins and one when it is complete."""

    def __init__(self) -> None:
        """No step is running."""
        self._began: dict[str, float] = {}

    def started(self, step: str, done: int, total: int | None) -> None:
        """Say what is left."""
        self._began[step] = time.monotonic()
        if done:
            log.info("%s: goes on, %d of %s shards are done", step, done, total)
        else:
            log.info("%s: begins", step)

    def finished(self, step: str, manifest: Manifest) -> None:
        """Say counts, rate and seconds."""
        seconds = time.monotonic() - self._began.get(step, time.monotonic())
        items = manifest.counts.items
        rate = f", {items / seconds:.0f} items/s" if items and seconds > 0 else ""
        log.info("%s: %s, %.1f s%s", step, ledger_line(manifest.counts), seconds, rate)


class TerminalProgress(LineProgress):
    """The same lines, and below them a bar for every step that runs."""

    def __init__(self, console: Console) -> None:
        """Draw on `console`."""
        from rich import progress as bars

        super().__init__()
        self._bars = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TimeElapsedColumn(),
            bars.TextColumn("{task.fields[pace]}"),
            console=console,
            transient=True,
        )
        self._ids: dict[str, bars.TaskID] = {}

    def __enter__(self) -> Progress:
        """Take the lower part of the terminal."""
        self._bars.start()
        return self

    def started(self, step: str, done: int, total: int | None) -> None:
        """Open a bar. Prepare and finish count as one piece of work each."""
        super().started(step, done, total)
        self._ids[step] = self._bars.add_task(step, completed=done, total=_pieces(total), pace="")

    def advanced(
        self, step: str, done: int, total: int | None, unit: Receipt | None = None
    ) -> None:
        """Move the bar."""
        self._bars.update(self._ids[step], completed=done + 1, total=_pieces(total))

    def paced(self, step: str, pace: Pace) -> None:
        """Say the rates beside the bar."""
        self._bars.update(self._ids[step], pace=pace.words)

    def finished(self, step: str, manifest: Manifest) -> None:
        """Close the bar."""
        self._bars.remove_task(self._ids.pop(step))
        super().finished(step, manifest)

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        self._bars.stop()


def _pieces(total: int | None) -> int | None:
    return None if total is None else total + 2
