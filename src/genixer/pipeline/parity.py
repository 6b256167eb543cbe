"""The verb `parity`: two finished generate steps, of one run or of two, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from genixer.data import Generation
from genixer.errors import DataError, StoreError
from genixer.inference.parity import (
    Compared,
    ParityBar,
    ParityReport,
    compare,
    lost,
    report_on,
    unlike,
)
from genixer.pipeline.settings import read_run
from genixer.store.disk import write_atomic
from genixer.store.layout import StepFolder
from genixer.store.manifest import read_manifest
from genixer.store.reader import StoredStep, open_step

__all__ = ["parity"]


def parity(
    first: str | Path,
    second: str | Path,
    *,
    bar: ParityBar | None = None,
    out: str | Path | None = None,
) -> ParityReport:
    """Compare two generate steps that asked the same with temperature 0.

    `first` and `second` are step folders, or run folders with one generate step; what `second` has
    no answer to counts as answered otherwise. The report goes to the file `out`, passed or not.
    Raises `ParityError` when nothing could be compared.
    """
    chosen = bar or ParityBar()
    sides = _generations(Path(first)), _generations(Path(second))
    missing = lost(sides[0].quarantined(), sides[1].rows(Generation))
    report = report_on(_compared(*sides, chosen.requests), chosen, missing)
    if out is not None:
        text = msgspec.json.format(msgspec.json.encode(report), indent=1)
        write_atomic(Path(out), text + b"\n")
    return report


def _compared(first: StoredStep, second: StoredStep, most: int) -> Iterator[Compared]:
    others = {row.id: row for row in second.rows(Generation)}
    for row in first.rows(Generation, 0, most):
        other = others.get(row.id)
        if not unlike(row, other):
            yield compare(row, other)


def _generations(folder: Path) -> StoredStep:
    """The generate step that `folder` is or holds."""
    known = read_run(folder)
    names = [""] if known is None else [name for name in known.order if _generates(folder / name)]
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise StoreError(f"{folder}: finished generate steps: {found}; name one: {folder}/STEP")
    step = open_step(folder / names[0])
    if step.stage != "generate":
        raise DataError(f"{folder}: a step of the stage {step.stage}; parity compares generate")
    return step


def _generates(folder: Path) -> bool:
    manifest = read_manifest(StepFolder(folder))
    return manifest is not None and manifest.stage == "generate"
