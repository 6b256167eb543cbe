"""MinHash: signatures agree as often as the texts' runs do; banding misses what it says."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genixer.filters.minhash import (
    MISSED,
    PERMUTATIONS,
    Banding,
    banding,
    overlaps,
    signatures,
)


def pairs_with(overlap: float, size: int, pairs: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Runs and counts of 2 x `pairs` texts; text 2i and 2i+1 share about the part `overlap`."""
    rng = np.random.default_rng(11)
    shared = round(2 * size * overlap / (1 + overlap))
    rows = []
    for _ in range(pairs):
        runs = rng.integers(0, 2**64, 2 * size - shared, dtype=np.uint64)
        rows += [runs[:size], runs[size - shared :]]
    return np.concatenate(rows), np.full(2 * pairs, size), shared / (2 * size - shared)


@pytest.mark.parametrize("overlap", [0.2, 0.5, 0.8, 0.95])
def test_signatures_agree_as_often_as_runs_are_shared(overlap: float) -> None:
    runs, counts, exact = pairs_with(overlap, 30, 300)
    found = signatures(runs, counts)
    agree = (found[::2] == found[1::2]).mean()
    # 300 x 128 trials; those of one pair hang together no more than its runs do.
    assert abs(agree - exact) < 4 * math.sqrt(exact * (1 - exact) / (300 * 30))


@pytest.mark.parametrize("overlap", [0.3, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_a_pair_at_the_threshold_is_missed_no_more_often_than_promised(overlap: float) -> None:
    cut = banding(overlap)
    assert cut.bands * cut.rows <= PERMUTATIONS
    assert cut.missed(overlap) <= MISSED
    assert cut.missed(min(1.0, overlap + 0.1)) <= cut.missed(overlap)
    runs, counts, exact = pairs_with(overlap, 40, 1000)
    keys = cut.keys(signatures(runs, counts))
    missed = 1000 - (keys[::2] == keys[1::2]).any(axis=1).sum()
    # At the threshold one of a thousand on average at most; more than 8 is no luck.
    assert missed <= 8 or exact < overlap - 0.02


def test_far_pairs_become_candidates_as_rarely_as_the_formula_says() -> None:
    cut = Banding(25, 5)
    runs, counts, exact = pairs_with(0.5, 30, 2000)
    keys = cut.keys(signatures(runs, counts))
    share = (keys[::2] == keys[1::2]).any(axis=1).mean()
    expected = 1 - cut.missed(exact)
    assert abs(share - expected) < 0.05


def test_a_signature_does_not_depend_on_its_neighbours() -> None:
    rng = np.random.default_rng(2)
    counts = rng.integers(0, 40, 300)
    runs = rng.integers(0, 2**64, counts.sum(), dtype=np.uint64)
    together = signatures(runs, counts)
    ends = np.cumsum(counts)
    for at in (0, 7, 150, 299):
        alone = signatures(runs[ends[at] - counts[at] : ends[at]], counts[at : at + 1])
        assert np.array_equal(together[at], alone[0])
    assert (together[counts == 0] == 0xFFFFFFFF).all()


texts = st.lists(st.lists(st.integers(0, 9), max_size=8), min_size=1, max_size=6)


@given(texts, st.data())
def test_overlap_is_that_of_the_sets(texts: list[list[int]], data: st.DataObject) -> None:
    places = st.lists(st.integers(0, len(texts) - 1), min_size=5, max_size=5)
    sides = np.array(data.draw(places)), np.array(data.draw(places))
    counts = np.array([len(text) for text in texts])
    runs = np.array([run for text in texts for run in text], dtype=np.uint32)
    found = overlaps(runs, np.cumsum(counts) - counts, counts, sides)
    for one, two, share in zip(*sides, found, strict=True):
        union = set(texts[one]) | set(texts[two])
        expected = len(set(texts[one]) & set(texts[two])) / len(union) if union else 0.0
        assert share == expected
