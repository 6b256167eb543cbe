"""Batches of rows of like length, those with and without an image apart."""

from __future__ import annotations

import random

import numpy as np

from genixer.data import random_for

__all__ = ["grouped"]

_BATCHES = 50
"""Batches of a stretch of random rows that is sorted by length."""


def grouped(lengths: np.ndarray, images: np.ndarray, batch: int, seed: int) -> list[np.ndarray]:
    """Batches of indices in random order, each index once, of like length inside a batch.

    `images` [N] says which rows have an image; no batch mixes the two kinds. The last batch of a
    kind may be short. Which rows meet is random up to stretches of 50 batches, each sorted by
    `lengths` [N]. Depends on the arguments alone.

    >>> grouped(np.array([7, 1, 8, 2]), np.array([True] * 4), 2, seed=0)
    [array([2, 0]), array([3, 1])]
    """
    rng = random_for(seed, "grouped", str(len(lengths)))
    found: list[np.ndarray] = []
    for kind in (True, False):
        indices = _shuffled(np.flatnonzero(np.asarray(images, bool) == kind), rng)
        # A stretch of whole batches, so that only the last batch of a kind is short.
        for first in range(0, len(indices), batch * _BATCHES):
            stretch = indices[first : first + batch * _BATCHES]
            stretch = stretch[np.argsort(-lengths[stretch], kind="stable")]
            found += [stretch[i : i + batch] for i in range(0, len(stretch), batch)]
    rng.shuffle(found)
    return found


def _shuffled(indices: np.ndarray, rng: random.Random) -> np.ndarray:
    """The same in random order; many random numbers are drawn at once."""
    keys = np.frombuffer(rng.randbytes(8 * len(indices)), "<u8")
    return indices[np.argsort(keys, kind="stable")]
