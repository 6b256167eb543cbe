"""Intervals: how far a number may be off, from the items and the seeds it was measured on.

All intervals are at 95 %. Nothing here draws at random without a seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from genixer.data import Score, random_for

if TYPE_CHECKING:
    import numpy as np

    Values = np.ndarray[Any, Any]

__all__ = [
    "bootstrap",
    "mean_over_seeds",
    "mean_score",
    "paired_difference",
    "t_quantile",
    "wilson",
]

Z = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""
_RESAMPLES = 1000
_RESAMPLES_AT_ONCE = 4_000_000
"""Numbers drawn at a time: memory stays the same however many items there are."""


def wilson(metric: str, hits: float, n: int) -> Score:
    """Share of `hits` in `n` with Wilson's interval; of no items nothing is known: 0 in (0, 1).

    Unlike the textbook interval it stays inside [0, 1] and is not empty at 0 and 1.

    >>> score = wilson("accuracy", 9, 10)
    >>> score.value, [round(end, 3) for end in score.ci95]
    (0.9, [0.596, 0.982])
    """
    if n == 0:
        return Score(metric, 0.0, 0, (0.0, 1.0))
    share = hits / n
    scale = 1.0 + Z * Z / n
    middle = (share + Z * Z / (2 * n)) / scale
    half = Z / scale * math.sqrt(share * (1.0 - share) / n + Z * Z / (4.0 * n * n))
    # Rounding must not push an end past the value it surrounds.
    low, high = min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))
    return Score(metric, share, n, (low, high))


def mean_score(metric: str, values: Sequence[float], seed: int = 0) -> Score:
    """Mean of `values` over items: Wilson's interval where all are 0 or 1, else the bootstrap.

    >>> mean_score("accuracy", [1.0, 0.0]) == wilson("accuracy", 1, 2)
    True
    """
    if all(value in (0.0, 1.0) for value in values):
        return wilson(metric, sum(values), len(values))
    return bootstrap(metric, [values], lambda columns: columns[0].mean(axis=-1), seed)


def bootstrap(
    metric: str,
    columns: Sequence[Sequence[float]],
    statistic: Callable[[Values], Values],
    seed: int = 0,
) -> Score:
    """`statistic` of the items with its percentile interval over 1000 resamples.

    `columns` are numbers by item, one row a quantity; `statistic` maps an array [C, ..., N] to
    [...], reducing the last axis. Same arguments, same interval.

    >>> score = bootstrap("mean", [[0.0, 0.5, 1.0] * 30], lambda c: c[0].mean(axis=-1))
    >>> score.value, score.ci95[0] < 0.5 < score.ci95[1]
    (0.5, True)
    """
    import numpy as np

    table = np.asarray(columns, dtype=np.float64)
    n = table.shape[-1]
    if n == 0:
        return Score(metric, 0.0, 0, (0.0, 1.0))
    rng = np.random.Generator(
        np.random.PCG64(random_for(seed, "bootstrap", metric).getrandbits(64))
    )
    size = max(1, min(_RESAMPLES, _RESAMPLES_AT_ONCE // (n * len(table))))
    found = [
        statistic(table[:, rng.integers(0, n, (min(size, _RESAMPLES - done), n))])
        for done in range(0, _RESAMPLES, size)
    ]
    low, high = np.quantile(np.concatenate(found), [0.025, 0.975])
    return Score(metric, float(statistic(table)), n, (float(low), float(high)))


def mean_over_seeds(metric: str, runs: Sequence[Sequence[float]]) -> Score:
    """Mean of one arm over seeds and items: `runs[s][i]` in [0, 1] is item i under seed s.

    The interval covers another draw of both, seeds and items. Few seeds that disagree make it
    wide; one seed tells nothing of other seeds, so then it covers items only.

    >>> mean_over_seeds("accuracy", [[1.0, 0.0], [1.0, 1.0]]).value
    0.75
    """
    return _crossed(metric, runs, 0.0)


def paired_difference(
    metric: str, arm: Sequence[Sequence[float]], control: Sequence[Sequence[float]]
) -> Score:
    """Mean of `arm` minus `control` over seeds and items, items and seeds paired.

    Pairing takes out what both share: hard items, and the luck of a seed. `n` is the number of
    items, the interval as in `mean_over_seeds`. Arms with different numbers of seeds are compared
    over the first seeds that both have.

    >>> paired_difference("accuracy", [[1.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]).value
    0.25
    """
    gaps = [
        [mine - theirs for mine, theirs in zip(one, other, strict=True)]
        for one, other in zip(arm, control, strict=False)
    ]
    return _crossed(metric, gaps, -1.0)


def _crossed(metric: str, runs: Sequence[Sequence[float]], lowest: float) -> Score:
    """Mean of seeds x items with an interval in [`lowest`, 1] for drawing both anew.

    Squared error = variance of the seeds' means / seeds + variance of the items' means / items:
    a little more than the truth, since what seed and item do together is in both. Welch and
    Satterthwaite give the degrees of freedom.
    """
    import numpy as np

    table = np.asarray(runs, dtype=np.float64)
    if table.size == 0:
        return Score(metric, 0.0, 0, (lowest, 1.0))
    seeds, items = table.shape
    value = float(table.mean())
    by_seed = float(table.mean(axis=1).var(ddof=1)) / seeds if seeds > 1 else 0.0
    by_item = float(table.mean(axis=0).var(ddof=1)) / items if items > 1 else 0.0
    # Items that all agree do not prove that every item would: allow for one that does not.
    by_item = max(by_item, 1.0 / (items + 2) ** 2)
    terms = [(by_seed, max(1, seeds - 1)), (by_item, max(1, items - 1))]
    freedom = (by_seed + by_item) ** 2 / sum(part**2 / df for part, df in terms)
    half = t_quantile(freedom) * math.sqrt(by_seed + by_item)
    return Score(metric, value, items, (max(lowest, value - half), min(1.0, value + half)))


@lru_cache(maxsize=256)
def t_quantile(freedom: float) -> float:
    """97.5 % quantile of Student's t with `freedom` >= 1 degrees of freedom, fractions allowed.

    >>> [round(t_quantile(df), 3) for df in (1, 2, 4, 10, 1e6)]
    [12.706, 4.303, 2.776, 2.228, 1.96]
    """
    import numpy as np

    # With t = sqrt(df) tan(angle) the density becomes cos(angle)^(df - 1) on a finite stretch.
    angles = np.linspace(0.0, math.pi / 2, 200_001)
    density = np.cos(angles) ** (freedom - 1.0)
    area = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2.0)])
    angle = float(np.interp(0.95 * area[-1], area, angles))
    return math.sqrt(freedom) * math.tan(angle)
