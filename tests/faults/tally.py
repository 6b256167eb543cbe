"""What a killed run has left behind: signs of work, and rows and files against those expected."""

import contextlib
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from genixer.pipeline.verify import verify
from genixer.store.layout import StepFolder
from genixer.store.manifest import read_receipt

Sign = tuple[str, int]
"""Name of a file or folder, and when it was changed."""


@dataclass
class Tally:
    """What happened to one stage."""

    stage: str
    kills: int = 0
    """Kills before the stage was complete."""
    actors: int = 0
    """Of these, Ray actors."""
    runs: int = 0
    lost: int = 0
    doubled: int = 0
    redone: int = 0
    """Units of work that a kill took before they were committed."""
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        actors = f" ({self.actors} kills of actors)" if self.actors else ""
        return (
            f"{self.stage:24}{self.kills:>6} kills {self.runs:>5} runs {self.lost:>4} rows lost "
            f"{self.doubled:>4} doubled {self.redone:>5} units redone{actors}"
        )

    def compare(self, folder: Path, whole: Path) -> None:
        """Note where a complete run differs from one that was left alone."""
        expected, found = _rows(whole), _rows(folder)
        self.lost += (expected - found).total()
        self.doubled += (found - expected).total()
        if _files(folder) != _files(whole):
            self.problems.append(f"files differ from those of {whole}")
        error = verify(folder).error()
        if error:
            self.problems.append(f"verify: {error}")


def committed(step: Path) -> set[Sign]:
    """Receipts there are."""
    return _entries(step / "receipts")


def signs(step: Path) -> set[Sign]:
    """What a process leaves that has begun a unit of `step`."""
    return committed(step) | _entries(step / ".tmp")


def _entries(folder: Path) -> set[Sign]:
    found = set()
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            if entry.name[0] != ".":
                found.add((entry.name, entry.stat().st_ctime_ns))
    return found


def in_flight(run_folder: Path) -> int:
    """Units of work that were begun and are not committed."""
    begun = [one for one in run_folder.glob("*/.tmp/*") if one.is_dir()]
    units = [(StepFolder(one.parent.parent), one.name.partition("@")[0]) for one in begun]
    return sum(read_receipt(folder, unit) is None for folder, unit in units)


def _rows(run_folder: Path) -> Counter[tuple[str, bytes]]:
    """Every row of every step, the file it stands in left out."""
    rows = Counter[tuple[str, bytes]]()
    for path in run_folder.glob("*/*.jsonl"):
        kind = path.name.partition("-")[0]
        rows.update((f"{path.parent.name} {kind}", line) for line in path.read_bytes().split(b"\n"))
    return rows


def _files(run_folder: Path) -> dict[str, bytes]:
    paths = [path for path in run_folder.glob("*/files/**/*") if path.is_file()]
    paths += run_folder.glob("*/*.jsonl")
    return {str(path.relative_to(run_folder)): path.read_bytes() for path in paths}
