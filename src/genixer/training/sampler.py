"""The order of an epoch: batches of rows of like length, those with images apart from the rest.

A batch costs what its longest row costs, in every row. Rows are shuffled, cut into pools of many
batches, and each pool is sorted by length: batches are even, and which rows meet still changes from
epoch to epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from genixer.data import random_for

if TYPE_CHECKING:
    import numpy as np

    Indices: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

__all__ = ["POOL", "efficiency", "grouped"]

POOL = 50
"""Batches sorted together: with more they are hardly evener, and the order less of a shuffle."""


def grouped(
    lengths: np.ndarray[Any, Any], images: np.ndarray[Any, Any], batch: int, seed: int
) -> list[Indices]:
    """Batches of row indices for one epoch, every row in one batch.

    `lengths` [n] in tokens, `images` [n] whether a row has an image; `batch` rows in each, fewer in
    the last of either kind. Depends on the arguments alone.

    >>> import numpy as np
    >>> found = grouped(np.array([5, 90, 6, 91]), np.array([True, True, True, True]), 2, seed=1)
    >>> sorted(sorted(rows.tolist()) for rows in found)
    [[0, 2], [1, 3]]
    """
    import numpy as np

    rng = np.random.Generator(np.random.PCG64(random_for(seed, "sampler", "rows").getrandbits(64)))
    batches: list[Indices] = []
    for kind in (True, False):
        rows = np.flatnonzero(np.asarray(images, dtype=bool) == kind)
        rng.shuffle(rows)
        for start in range(0, len(rows), POOL * batch):
            pool = rows[start : start + POOL * batch]
            # Stable, so that equal lengths keep the order they were shuffled into.
            pool = pool[np.argsort(-np.asarray(lengths)[pool], kind="stable")]
            batches += [pool[at : at + batch] for at in range(0, len(pool), batch)]
    order = rng.permutation(len(batches))
    return [batches[at] for at in order]


def efficiency(lengths: np.ndarray[Any, Any], batches: Sequence[Indices]) -> float:
    """Share of the tokens computed that are not padding, where a batch is as wide as its longest.

    >>> import numpy as np
    >>> efficiency(np.array([10, 5]), [np.array([0, 1])])
    0.75
    """
    import numpy as np

    asked = sum(int(lengths[rows].sum()) for rows in batches)
    computed = sum(int(np.max(lengths[rows])) * len(rows) for rows in batches if len(rows))
    return asked / computed if computed else 1.0
