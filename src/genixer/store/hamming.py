"""Which of many 64-bit hashes differ from a given one in few bits: all of them, without a scan.

A hash is cut into four pieces of 16 bits. Two hashes that differ in d bits have a piece in which
they differ in at most d // 4, so it is enough to look at those that have such a piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

__all__ = ["MAX_DISTANCE", "HammingIndex", "spread", "spread_in_pieces"]

MAX_DISTANCE = 11
"""Most bits that may be asked for; beyond it a piece has too many neighbours."""
_PIECES, _PIECE_BITS = 4, 16
_AT_ONCE = 1 << 20
"""Most candidates looked at together: 50 MB."""


class HammingIndex:
    """Hashes that can be searched; 16 bytes each besides the hash itself.

    >>> import numpy as np
    >>> index = HammingIndex(np.array([0b1011, 0b1111 << 40], dtype="<u8"))
    >>> [found.tolist() for found in index.near(np.array([0b0011], dtype="<u8"), 2)]
    [[0], [0], [1]]
    """

    def __init__(self, hashes: Array) -> None:
        """Sort `hashes` by each piece."""
        import numpy as np

        self.hashes = hashes
        self._tables: list[tuple[Array, Array]] = []
        for piece in range(_PIECES):
            keys = _piece(hashes, piece)
            order = np.argsort(keys, kind="stable").astype(np.uint32)
            ends = np.cumsum(np.bincount(keys, minlength=1 << _PIECE_BITS))
            self._tables.append((order, np.concatenate(([0], ends))))

    def near(
        self, queries: Array, distance: int, among: Array | None = None
    ) -> tuple[Array, Array, Array]:
        """All pairs at most `distance` bits apart: place in `queries`, place in the index, bits.

        In the order of both places. Where `among` is given, a bool for each hash, the others are
        not looked at.
        """
        import numpy as np

        if not 0 <= distance <= MAX_DISTANCE:
            raise ValueError(f"distance {distance} is not in 0 to {MAX_DISTANCE} bits")
        found = [np.empty(0, dtype=np.int64)]
        for asked, known in self._candidates(queries, distance // _PIECES):
            if among is not None:
                asked, known = asked[among[known]], known[among[known]]
            close = np.bitwise_count(queries[asked] ^ self.hashes[known]) <= distance
            found.append(asked[close] << 32 | known[close])
        pairs = np.unique(np.concatenate(found))  # a pair may agree in several pieces
        asked, known = pairs >> 32, pairs & 0xFFFFFFFF
        return asked, known, np.bitwise_count(queries[asked] ^ self.hashes[known])

    def _candidates(self, queries: Array, radius: int) -> Iterator[tuple[Array, Array]]:
        """Pairs that differ in at most `radius` bits of a piece, some at a time."""
        import numpy as np

        for piece, (order, offsets) in enumerate(self._tables):
            keys = _piece(queries, piece).astype(np.int64)
            for mask in _masks(radius):
                starts = offsets[keys ^ mask]
                counts = offsets[(keys ^ mask) + 1] - starts
                for asked, places in spread_in_pieces(starts, counts, _AT_ONCE):
                    yield asked, order[places].astype(np.int64)


def spread(starts: Array, counts: Array) -> tuple[Array, Array]:
    """Places `starts[i]` to `starts[i] + counts[i]` of all i joined, with the i each belongs to.

    >>> import numpy as np
    >>> [part.tolist() for part in spread(np.array([5, 0, 8]), np.array([2, 0, 1]))]
    [[0, 0, 2], [5, 6, 8]]
    """
    import numpy as np

    owners = np.repeat(np.arange(len(counts)), counts)
    before = np.cumsum(counts) - counts
    places = np.arange(len(owners)) - np.repeat(before - starts, counts)
    return owners, places


def spread_in_pieces(starts: Array, counts: Array, most: int) -> Iterator[tuple[Array, Array]]:
    """The same, cut so that no piece has more than `most` places unless one i alone has."""
    import numpy as np

    some = np.flatnonzero(counts)
    ends = np.cumsum(counts[some])
    first, done = 0, 0
    while first < len(some):
        last = max(first + 1, int(np.searchsorted(ends, done + most, "right")))
        chosen = some[first:last]
        owners, places = spread(starts[chosen], counts[chosen])
        yield chosen[owners], places
        first, done = last, int(ends[last - 1])


def _piece(hashes: Array, piece: int) -> Array:
    import numpy as np

    return (hashes >> np.uint64(piece * _PIECE_BITS)).astype(np.uint16)


@cache
def _masks(radius: int) -> tuple[int, ...]:
    """Every piece with at most `radius` bits set."""
    return tuple(
        sum(1 << bit for bit in bits)
        for size in range(radius + 1)
        for bits in combinations(range(_PIECE_BITS), size)
    )
