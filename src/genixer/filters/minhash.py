"""Texts that share most of their runs of words, found without comparing all with all.

MinHash with banding: a text's signature is the smallest value of its runs under each of 128
permutations; cut into bands of some rows, two texts become candidates when a band agrees. Two
texts that share a part s of their runs (Jaccard) agree in a row with probability s, so candidates
they become with 1 - (1 - s^rows)^bands. Candidates are then compared run by run: banding alone
decides what is missed, and nothing is found that is not there.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from genixer.store.hamming import spread

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

__all__ = ["MISSED", "PERMUTATIONS", "Banding", "banding", "overlaps", "signatures"]

PERMUTATIONS = 128
MISSED = 0.001
"""Highest probability with which a pair right at the threshold may be missed."""
_TOGETHER = 128
"""Texts worked on at once: their rows fit a processor's second cache."""


class Banding(NamedTuple):
    """How signatures are cut."""

    bands: int
    rows: int

    def missed(self, overlap: float) -> float:
        """Probability that two texts with this overlap, in [0, 1], do not become candidates.

        >>> Banding(25, 5).missed(0.9) < 1e-9
        True
        """
        return float((1.0 - overlap**self.rows) ** self.bands)

    def keys(self, signature: Array) -> Array:
        """A number of 64 bits for each band of each signature, [N, bands]."""
        import numpy as np

        used = signature[:, : self.bands * self.rows].astype(np.uint64)
        cut = used.reshape(-1, self.bands, self.rows)
        keys = np.zeros(cut.shape[:2], dtype=np.uint64)
        for row in range(self.rows):
            keys = (keys ^ cut[:, :, row]) * np.uint64(0x9E3779B97F4A7C15)
            keys ^= keys >> np.uint64(32)
        return keys


def banding(overlap: float) -> Banding:
    """The cut with the fewest candidates that misses a pair at `overlap` with at most `MISSED`.

    >>> banding(0.8), f"{banding(0.8).missed(0.8):.5f}"
    (Banding(bands=25, rows=5), '0.00005')
    """
    rows = 1
    while Banding(PERMUTATIONS // (rows + 1), rows + 1).missed(overlap) <= MISSED:
        rows += 1
        if rows == PERMUTATIONS:
            break
    return Banding(PERMUTATIONS // rows, rows)


def signatures(runs: Array, counts: Array) -> Array:
    """Signatures of texts with these runs (`NGrams.of`), [N, 128] of 32 bits.

    A text without runs has the greatest value everywhere.
    """
    import numpy as np

    small = (runs >> np.uint64(32)).astype(np.uint32)
    starts = np.cumsum(counts) - counts
    order = np.argsort(-counts, kind="stable")  # the longest first, so that those left are a prefix
    result = np.empty((len(counts), PERMUTATIONS), dtype=np.uint32)
    for first in range(0, len(order), _TOGETHER):
        some = order[first : first + _TOGETHER]
        result[some] = _signatures(small, starts[some], counts[some])
    return result


def _signatures(runs: Array, starts: Array, counts: Array) -> Array:
    """The same for a few texts, the longest first: the i-th runs of all of them at a time."""
    import numpy as np

    factors, shifts = _permutations()
    lowest = np.full((len(counts), PERMUTATIONS), 0xFFFFFFFF, dtype=np.uint32)
    values = np.empty_like(lowest)
    left = len(counts)
    for place in range(int(counts[0]) if left else 0):
        while counts[left - 1] <= place:
            left -= 1
        now, best = values[:left], lowest[:left]
        np.multiply(runs[starts[:left] + place, None], factors, out=now)
        np.add(now, shifts, out=now)
        np.minimum(best, now, out=best)
    return lowest


@cache
def _permutations() -> tuple[Array, Array]:
    """Odd factors and shifts: x -> x * factor + shift is a bijection of 32 bits."""
    import numpy as np

    rng = random.Random("MinHash")
    factors = [rng.getrandbits(32) | 1 for _ in range(PERMUTATIONS)]
    shifts = [rng.getrandbits(32) for _ in range(PERMUTATIONS)]
    return np.array(factors, dtype=np.uint32), np.array(shifts, dtype=np.uint32)


def overlaps(runs: Array, starts: Array, counts: Array, pairs: Sequence[Array]) -> Array:
    """Part of their different runs that the texts of each pair share (Jaccard), in [0, 1].

    `runs` are numbers of 32 bits, `pairs` two arrays of places of texts; a text without runs shares
    nothing.

    >>> import numpy as np
    >>> runs, starts, counts = np.array([1, 2, 2, 2, 3]), np.array([0, 3]), np.array([3, 2])
    >>> overlaps(runs, starts, counts, (np.array([0]), np.array([1])))
    array([0.33333333])
    """
    import numpy as np

    sides = []
    for texts in pairs:
        owners, places = spread(starts[texts], counts[texts])
        sides.append(np.unique(owners.astype(np.uint64) << 32 | runs[places].astype(np.uint64)))
    different, times = np.unique(np.concatenate(sides), return_counts=True)
    owners = (different >> 32).astype(np.int64)
    total = len(pairs[0])
    shared = np.bincount(owners[times == 2], minlength=total)
    result: Array = shared / np.maximum(np.bincount(owners, minlength=total), 1)
    return result
