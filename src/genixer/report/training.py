"""What a train step left behind for people: the rows it saw and the loss on the way."""

from __future__ import annotations

from pathlib import Path

import msgspec

from genixer.report.model import Curve, Seen
from genixer.report.statistics import thin

__all__ = ["read_curve", "read_seen"]

_CURVE_POINTS = 120


class _SeenFile(msgspec.Struct):
    """`seen.json` of a train step: rows by `source/task`, and what the model grew from."""

    rows: dict[str, int] = {}
    start: str = ""


class _LogLine(msgspec.Struct):
    """One line of `log.jsonl`; the tower's own lessons before the training carry a phase."""

    step: float = 0
    loss: float | None = None
    phase: str = ""


def read_seen(step: str, files: Path) -> Seen | None:
    """Rows that the model of a train step has seen, by source; None when the step does not say."""
    path = files / "seen.json"
    if not path.is_file():
        return None
    found = msgspec.json.decode(path.read_bytes(), type=_SeenFile)
    rows: dict[str, int] = {}
    for name, count in found.rows.items():
        source = name.partition("/")[0]
        rows[source] = rows.get(source, 0) + count
    return Seen(step, found.start, rows)


def read_curve(step: str, files: Path) -> Curve | None:
    """Training loss of a step from its `log.jsonl`, thinned; None when there is none."""
    path = files / "log.jsonl"
    if not path.is_file():
        return None
    lines = [
        msgspec.json.decode(line, type=_LogLine) for line in path.read_bytes().splitlines() if line
    ]
    points = [(one.step, one.loss) for one in lines if one.loss is not None and not one.phase]
    return Curve(step, thin(points, _CURVE_POINTS)) if points else None
