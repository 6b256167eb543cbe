"""What a run tells while it goes: bars on a terminal, one line a finished step elsewhere."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from genixer.store.manifest import Counts, Manifest

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["LineProgress", "Progress", "TerminalProgress", "ledger_line"]

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


class Progress:
    """Hears what happens; says nothing itself. `total` counts shards, None while unknown."""

    def cached(self, step: str, manifest: Manifest) -> None:
        """`step` was complete already."""

    def started(self, step: str, done: int, total: int | None) -> None:
        """Work on `step` begins."""

    def advanced(self, step: str, done: int, total: int | None) -> None:
        """A unit of `step` was committed."""

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
        self._ids[step] = self._bars.add_task(step, completed=done, total=_pieces(total))

    def advanced(self, step: str, done: int, total: int | None) -> None:
        """Move the bar."""
        self._bars.update(self._ids[step], completed=done + 1, total=_pieces(total))

    def finished(self, step: str, manifest: Manifest) -> None:
        """Close the bar."""
        self._bars.remove_task(self._ids.pop(step))
        super().finished(step, manifest)

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        self._bars.stop()


def _pieces(total: int | None) -> int | None:
    return None if total is None else total + 2
