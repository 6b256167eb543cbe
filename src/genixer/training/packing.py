"""Several samples in one row: which go together so that little of a row's room is left over.

Best fit, longest first: each sample goes where the room left over is smallest. Room is a small
whole number, so rows are kept by the room they have, and the least room that is enough is found in
one word of flags, whatever the number of open rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from genixer.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    Indices: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

__all__ = ["fill", "pack"]


def pack(lengths: np.ndarray[Any, Any], budget: int) -> list[Indices]:
    """Rows of sample indices, each of at most `budget` tokens in all; every sample in one row.

    `lengths` [n] in tokens, whole numbers from 1. Raises `ConfigError` for a sample longer than
    `budget`. Depends on the arguments alone; of equal lengths the earlier comes first.

    >>> import numpy as np
    >>> [row.tolist() for row in pack(np.array([2, 5, 3, 6]), budget=8)]
    [[3, 0], [1, 2]]
    """
    import numpy as np

    lengths = np.asarray(lengths)
    if not len(lengths):
        return []
    _check(lengths, budget)
    order = np.argsort(-lengths.astype(np.int64), kind="stable")
    rooms = _Rooms(budget)
    rows: list[list[int]] = []
    sizes = lengths.tolist()
    for sample in order.tolist():
        size = sizes[sample]
        room = rooms.least(size)
        if room < 0:
            rows.append([sample])
            rooms.put(budget - size, len(rows) - 1)
        else:
            row = rooms.take(room)
            rows[row].append(sample)
            rooms.put(room - size, row)
    return [np.array(row, dtype=np.int64) for row in rows]


def fill(lengths: np.ndarray[Any, Any], rows: Sequence[Indices], budget: int) -> float:
    """Share of the rows' room that samples fill.

    >>> import numpy as np
    >>> fill(np.array([6, 2]), [np.array([0, 1])], budget=10)
    0.8
    """
    return int(lengths.sum()) / (len(rows) * budget) if rows else 1.0


def _check(lengths: np.ndarray[Any, Any], budget: int) -> None:
    longest = int(lengths.argmax())
    if lengths[longest] > budget:
        raise ConfigError(
            f"sample {longest} has {lengths[longest]} tokens, a row has room for {budget}; "
            "raise max_tokens, or leave such samples out first"
        )
    if lengths.min() < 1:
        raise ConfigError(f"sample {int(lengths.argmin())} has {lengths.min()} tokens; at least 1")


class _Rooms:
    """Open rows by the room they have left, and the least room that is enough.

    `_some` has a bit for every room with a row in it: the bits above a room are one shift away.
    """

    def __init__(self, budget: int) -> None:
        self._rows: list[list[int]] = [[] for _ in range(budget + 1)]
        self._some = 0

    def least(self, size: int) -> int:
        """The least room of at least `size`, -1 where there is none."""
        above = self._some >> size
        return size + (above & -above).bit_length() - 1 if above else -1

    def put(self, room: int, row: int) -> None:
        """Row `row` has `room` left; one without any is full."""
        if room:
            self._rows[room].append(row)
            self._some |= 1 << room

    def take(self, room: int) -> int:
        """A row that has `room` left."""
        rows = self._rows[room]
        row = rows.pop()
        if not rows:
            self._some &= ~(1 << room)
        return row
