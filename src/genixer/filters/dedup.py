"""What makes two samples the same, and which of those that are the same stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import xxhash

from genixer.data import Sample, Turn, encode_row
from genixer.filters.ngrams import words_of
from genixer.store.hamming import HammingIndex

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

__all__ = [
    "SameBy",
    "first_alike",
    "first_looks",
    "first_positions",
    "keys_in",
    "marks_key",
    "said_key",
    "text_of",
]

SameBy = Literal["question", "content", "image"]
"""`question`: same picture, same questions, whatever the answers. `content`: answers too. `image`:
same picture, whatever is said of it."""

_BLOCK = 128
"""Rows settled together; all pairs among them may have to be weighed one by one.

Twice as many save little where few are alike, and cost four times as much where all are.
"""


def said_key(sample: Sample, by: SameBy = "question") -> bytes:
    """16 bytes that two samples share exactly when the same is said, whatever the picture.

    Words count, not case, punctuation, task or source. A box or point is part of what is said, to a
    hundredth of the image.

    >>> from genixer.data import ImageRef, Origin
    >>> cat = ImageRef("cat.png", 9, 9, "ab")
    >>> def ask(text): return Sample.of("common_vqa", cat, (Turn("user", text),), Origin("x"))
    >>> said_key(ask("Is it new?")) == said_key(ask("is it new"))
    True
    """
    said = [
        (turn.role, b" ".join(words_of(turn.text)).decode(), _marks(turn))
        for turn in _turns(sample, by)
    ]
    return xxhash.xxh3_128_digest(encode_row(said))


def marks_key(sample: Sample, by: SameBy = "question") -> int:
    """Number below 2^64 that samples share which point at the same places, to a hundredth."""
    return xxhash.xxh3_64_intdigest(encode_row([_marks(turn) for turn in _turns(sample, by)]))


def text_of(sample: Sample, by: SameBy = "question") -> str:
    """All that is said, as one text."""
    return "\n".join(turn.text for turn in _turns(sample, by))


def _turns(sample: Sample, by: SameBy) -> list[Turn]:
    return [turn for turn in sample.turns if by == "content" or turn.role == "user"]


def _marks(turn: Turn) -> list[tuple[float, ...]]:
    sides = [(box.x0, box.y0, box.x1, box.y1) for box in turn.boxes]
    return [_rounded(mark) for mark in (*sides, *((point.x, point.y) for point in turn.points))]


def _rounded(mark: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(side, 2) for side in mark)


def keys_in(places: Array, keys: Array) -> Array:
    """`keys` of 64 bits, [N] or [N, M], made different for rows whose `places` differ."""
    import numpy as np

    # Neighbouring places must not come out as neighbouring numbers, which keys may well be.
    spot = (places.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    spot ^= spot >> np.uint64(29)
    mixed: Array = keys ^ (spot if keys.ndim == 1 else spot[:, None])
    return mixed


def first_positions(keys: Array) -> Array:
    """For every row of `keys`, [N, 2] of 64 bits, the first row with the same key.

    >>> import numpy as np
    >>> first_positions(np.array([[1, 1], [2, 1], [1, 1]], dtype="<u8")).tolist()
    [0, 1, 0]
    """
    import numpy as np

    # Stable, so that the first row of a key stays in front of its duplicates.
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    ordered = keys[order]
    new = np.ones(len(keys), dtype=bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first = np.empty(len(keys), dtype=np.int64)
    first[order] = order[new][np.cumsum(new) - 1]
    return first


def first_alike(total: int, alike: Callable[[Array, Array], tuple[Array, Array]]) -> Array:
    """For every row the first row that stays and is like it; for a row that stays, itself.

    Rows are settled in order, so a row goes only for one that stays: no chain of small differences
    ends in a large one. `alike(rows, among)` gives all pairs (later, earlier) of rows that are
    alike, the later one in `rows`, the earlier one marked in `among`.

    >>> import numpy as np
    >>> values = np.array([1, 2, 3, 9])
    >>> def near(rows, among):
    ...     later = rows[among[rows - 1] & (np.abs(values[rows] - values[rows - 1]) < 2)]
    ...     return later, later - 1
    >>> first_alike(4, near).tolist()
    [0, 0, 2, 3]
    """
    import numpy as np

    first = np.arange(total)
    staying = np.zeros(total, dtype=bool)
    for start in range(0, total, _BLOCK):
        rows = np.arange(start, min(total, start + _BLOCK))
        _settle(first, *alike(rows, staying))
        left = rows[first[rows] == rows]
        staying[left] = True
        _settle(first, *alike(left, staying))
        staying[left] = first[left] == left
    return first


def first_looks(looks: Array, distance: int) -> Array:
    """For every hash the first one that stays and is at most `distance` bits off (`first_alike`).

    >>> import numpy as np
    >>> first_looks(np.array([0b111, 0b11, 0b1, 0b111], dtype="<u8"), 1).tolist()
    [0, 0, 2, 0]
    """
    import numpy as np

    # Equal ones have the same fate, and all pairs among thousands of them would be too many.
    values, first, same = np.unique(looks, return_index=True, return_inverse=True)
    order = np.argsort(first)
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    values = values[order]
    index = HammingIndex(values)

    def alike(rows: Array, among: Array) -> tuple[Array, Array]:
        asked, earlier, _ = index.near(values[rows], distance, among)
        later = rows[asked]
        return later[earlier < later], earlier[earlier < later]

    settled: Array = first[order][first_alike(len(values), alike)][places[same]]
    return settled


def _settle(first: Array, later: Array, earlier: Array) -> None:
    """Let rows go, in order, each for the first of its likes that still stays."""
    import numpy as np

    order = np.lexsort((earlier, later))
    for row, other in zip(later[order].tolist(), earlier[order].tolist(), strict=True):
        if first[row] == row and first[other] == other:
            first[row] = other
