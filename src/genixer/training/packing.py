"""Which rows share one row of a batch, so that hardly any place in it is padding."""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np

__all__ = ["pack"]


def pack(lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """Bins of indices whose `lengths` add up to at most `budget`, each index once.

    Longest first, each into the fullest bin that has room. Deterministic. Raises `ValueError` for a
    length above `budget`.

    >>> [one.tolist() for one in pack(np.array([5, 3, 2, 6]), 8)]
    [[3, 2], [0, 1]]
    """
    if len(lengths) and int(lengths.max()) > budget:
        raise ValueError(f"length {int(lengths.max())} does not fit a row of {budget}")
    bins: list[list[int]] = []
    room: list[tuple[int, int]] = []
    for index in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[index])
        place = bisect_left(room, (length, -1))
        if place == len(room):
            bins.append([index])
            left, number = budget - length, len(bins) - 1
        else:
            left, number = room.pop(place)
            bins[number].append(index)
            left -= length
        if left:
            insort(room, (left, number))
    return [np.asarray(one) for one in bins]
