"""Who does which unit of work, agreed on through a shared folder alone.

No clock of another machine is read, no process id looked up, no file lock asked for across hosts.
A lease is a file that is made once; its number, the *fence*, is one more than that of the lease
before. Each lease has one end, again a file that is made once: what its holder wrote, or nothing
when it gave up or was given up. So a holder that was given up cannot publish, however late it
wakes: its end is written already.

    .holders/<token>               a counter that moves while the process lives
    .leases/<epoch>/<step>/<unit>.<fence>        the token of the holder
    .leases/<epoch>/<step>/<unit>.<fence>.end    what became of it
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from genixer.errors import LeaseLostError
from genixer.store.fence import Fence, create_once, finish_commit, stage_of
from genixer.store.holders import Holder, Watch
from genixer.store.layout import StepFolder
from genixer.store.workspaces import release_workspaces

__all__ = ["LeaseBook", "clear_ended", "close_leases", "leases_folder"]


def leases_folder(run: Path) -> Path:
    """Where a run folder keeps its leases."""
    return run / ".leases"


@dataclass
class _Last:
    """The lease of a unit with the highest number."""

    number: int = 0
    ended: bool = True


class LeaseBook:
    """Leases of one run folder, as one process sees them."""

    def __init__(self, run: Path, holder: Holder, watch: Watch, look_s: float) -> None:
        """Leases are taken in the name of `holder`; the folder is looked at every `look_s`."""
        self._holder, self._watch, self._look_s = holder, watch, look_s
        home = leases_folder(run)
        home.mkdir(exist_ok=True)
        create_once(home / "epoch", holder.token.encode())
        self.epoch = (home / "epoch").read_text(encoding="ascii")
        self.home = home / self.epoch
        self.home.mkdir(exist_ok=True)
        self.luck = int(holder.token, 16)
        """A number of this process's own."""
        self._tokens: dict[Path, str] = {}
        self._seen: dict[str, tuple[float, dict[str, _Last]]] = {}

    def claim(self, folder: StepFolder, unit: str, committed: Callable[[], bool]) -> Fence | None:
        """Lease on `unit`, or None where another holder lives or has done it.

        What a holder left behind that is no more is finished or thrown away first.
        """
        last = self._leases(folder.name).get(unit, _Last())
        before = self._fence(folder, unit, last.number)
        if last.number and not last.ended:
            if not self._gone(before) or not before.end_with(b""):
                return None
            shutil.rmtree(stage_of(folder, unit, before), ignore_errors=True)
        elif last.number and before.written:
            if stage_of(folder, unit, before).is_dir():
                # It was decided, but not all of it is in place.
                if self._gone(before):
                    finish_commit(folder, unit, before)
                return None
            if committed():  # a lease more would be made for nothing
                return None
        fence = self._fence(folder, unit, last.number + 1)
        if not create_once(fence.lease, self._holder.token.encode()):
            self._seen.pop(folder.name, None)
            return None
        last.number, last.ended = fence.number, False
        self._seen[folder.name][1][unit] = last
        # Looked at only now: whoever held it before may have finished in between.
        if committed():
            self.release(fence, folder.name, unit)
            return None
        return fence

    def release(self, fence: Fence, step: str, unit: str) -> bool:
        """Give a lease up; False when it has an end already."""
        given_up = fence.end_with(b"")
        last = self._leases(step).get(unit)
        if last is not None and last.number == fence.number:
            last.ended = True
        return given_up

    def _leases(self, step: str) -> dict[str, _Last]:
        """Newest lease of every unit of `step`, at most `look_s` old."""
        when, known = self._seen.get(step, (0.0, {}))
        if step in self._seen and time.monotonic() - when < self._look_s:
            return known
        place = self.home / step
        try:
            place.mkdir(exist_ok=True)
        except FileNotFoundError as error:
            raise LeaseLostError(
                f"{self.home}: another process took this one for dead and dropped its leases; "
                "run the same command again, with a larger stale_s if that was wrong"
            ) from error
        found: dict[str, _Last] = {}
        # Ends come after their leases in this order.
        for name in sorted(path.name for path in place.iterdir() if path.name[0] != "."):
            unit, number, *end = name.split(".")
            last = found.setdefault(unit, _Last())
            if int(number) > last.number or (int(number) == last.number and end):
                last.number, last.ended = int(number), bool(end)
        self._seen[step] = (time.monotonic(), found)
        return found

    def _fence(self, folder: StepFolder, unit: str, number: int) -> Fence:
        return Fence(self.home / folder.name / f"{unit}.{number}", number, self.epoch)

    def _gone(self, fence: Fence) -> bool:
        """Whether the holder of a lease has ended."""
        token = self._tokens.get(fence.lease)
        if token is None:
            try:
                token = fence.lease.read_text(encoding="ascii")
            except FileNotFoundError:
                # A power cut can take a lease and leave its end; else all leases were dropped.
                return fence.written
            self._tokens[fence.lease] = token
        return token != self._holder.token and self._watch.gone(token)


def close_leases(run: Path, folders: list[StepFolder]) -> None:
    """Finish what was decided and not put in place, then drop all leases.

    For a process that is alone in the run folder. A later one begins a new epoch: whoever still
    holds a lease of this one finds its file gone, and cannot publish.
    """
    home, aside = leases_folder(run), run / ".leases.tmp"
    if home.is_dir():
        shutil.rmtree(aside, ignore_errors=True)
        home.replace(aside)
    for folder in folders:
        release_workspaces(folder)
        for stage, unit, fence in _stages(folder, aside):
            if fence.written:
                finish_commit(folder, unit, fence)
            shutil.rmtree(stage, ignore_errors=True)
    shutil.rmtree(aside, ignore_errors=True)


def clear_ended(run: Path, folder: StepFolder) -> None:
    """Remove unfinished work that was given up; what has a lease stays."""
    for stage, _, fence in _stages(folder, leases_folder(run)):
        if fence.ended and not fence.written:
            shutil.rmtree(stage, ignore_errors=True)


def _stages(folder: StepFolder, home: Path) -> Iterator[tuple[Path, str, Fence]]:
    """Units that lie aside, with the leases they were done under, if any was."""
    for stage in folder.scratch.glob("*"):
        unit, _, name = stage.name.partition("@")
        epoch, _, number = name.rpartition(".")
        number = number if number.isdecimal() else "0"
        lease = home / epoch / folder.name / f"{unit}.{number}"
        yield stage, unit, Fence(lease, int(number), epoch)
