"""Batches of rows of like length, those with and without an image apart."""

from __future__ import annotations

import numpy as np

from genixer.data import random_for

__all__ = ["grouped"]

_BATCHES = 50
"""Batches of a stretch of random rows that is sorted by length."""


def grouped(lengths: np.ndarray, images: np.ndarray, batch: int, seed: int) -> list[np.ndarray]:
    """Batches of indices in random order, each index once, of like length inside a batch.

    `images` says which rows have an image; no batch mixes the two kinds. The last batch of a kind
    may be short. Depends on the arguments alone.
    """
    rng = random_for(seed, "grouped", str(len(lengths)))
    found: list[np.ndarray] = []
    for kind in (True, False):
        indices = np.flatnonzero(images == kind).tolist()
        rng.shuffle(indices)
        for first in range(0, len(indices), batch * _BATCHES):
            stretch = np.asarray(indices[first : first + batch * _BATCHES])
            stretch = stretch[np.argsort(-lengths[stretch], kind="stable")]
            found += [stretch[i : i + batch] for i in range(0, len(stretch), batch)]
    rng.shuffle(found)
    return found
