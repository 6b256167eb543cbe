"""What a person sees after a run: the funnel, a few rows of every step, what the report says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from genixer.store.manifest import Manifest

__all__ = ["compact_row", "funnel", "text_table"]


def text_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()
) -> str:
    """Columns of plain text, as wide as they need; the columns `right` are flush right.

    >>> print(text_table(["step", "in"], [["mix", "12"]], right=[1]))
    step  in
    mix   12
    """
    table = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    flush = set(right)
    lines = []
    for row in table:
        cells = [
            cell.rjust(width) if column in flush else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def funnel(manifests: Mapping[str, Manifest]) -> str:
    """Table in = kept + rejected + quarantined, a step a line, with the reasons."""
    header = ["step", "stage", "in", "kept", "rejected", "quarantined", "reasons"]
    rows = []
    for name, manifest in manifests.items():
        counts = manifest.counts
        rejected, quarantined = counts.rejected, counts.quarantined
        numbers = (counts.items, counts.kept, sum(rejected.values()), sum(quarantined.values()))
        reasons = ", ".join(f"{reason} {n}" for reason, n in {**rejected, **quarantined}.items())
        rows.append([name, manifest.stage, *map(str, numbers), reasons])
    return text_table(header, rows, right=range(2, 6))


def compact_row(row: Mapping[str, Any], width: int = 150) -> str:
    """One kept row in one line: its id, and the texts in it, shortened.

    >>> compact_row({"id": "ab12cd34ef", "task": "rec", "turns": [{"text": "Where is the cat?"}]})
    'ab12cd34  rec | Where is the cat?'
    """
    texts = [text.replace("\n", " / ") for text in _texts(row) if text]
    line = f"{str(row.get('id', ''))[:8]:8}  {' | '.join(texts)}" if texts else json.dumps(row)
    return line if len(line) <= width else line[: width - 3] + "..."


_SPOKEN = ("task", "purpose", "question", "prompt", "text", "answer", "reason", "raw")
_FIRST = ("task", "purpose", "request", "question", "prompt")
_UNSPOKEN = ("image", "origin")


def _texts(value: Any, key: str = "") -> Iterable[str]:
    """Words for people anywhere in a row, in reading order; ids, paths and digests left out."""
    if isinstance(value, str):
        if key in _SPOKEN:
            yield value
    elif isinstance(value, Mapping):
        for inner in sorted(value, key=lambda one: (one not in _FIRST, one != "task", one)):
            if inner not in _UNSPOKEN:
                yield from _texts(value[inner], inner)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one, key)
