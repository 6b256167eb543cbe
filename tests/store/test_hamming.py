"""Searching hashes by few different bits finds exactly what a scan finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genixer.store import hamming
from genixer.store.hamming import MAX_DISTANCE, HammingIndex, spread, spread_in_pieces


def by_scan(hashes, queries, distance):
    bits = np.bitwise_count(queries[:, None] ^ hashes[None])
    asked, known = np.nonzero(bits <= distance)
    return asked.tolist(), known.tolist(), bits[asked, known].tolist()


def flipped(value: int, places: list[int]) -> int:
    for place in places:
        value ^= 1 << place
    return value


hashes = st.lists(
    st.builds(
        flipped,
        st.sampled_from([0, 2**64 - 1, 0x123456789ABCDEF0, 0xFF00FF00FF00FF00]),
        st.lists(st.integers(0, 63), max_size=13, unique=True),
    ),
    max_size=30,
)


@settings(max_examples=60)
@given(hashes, hashes, st.integers(0, MAX_DISTANCE), st.integers(1, 50))
def test_it_finds_what_a_scan_finds(known, asked, distance, most) -> None:
    known, asked = np.array(known, dtype="<u8"), np.array(asked, dtype="<u8")
    before, hamming._AT_ONCE = hamming._AT_ONCE, most
    try:
        found = HammingIndex(known).near(asked, distance)
    finally:
        hamming._AT_ONCE = before
    assert tuple(part.tolist() for part in found) == by_scan(known, asked, distance)


def test_those_left_out_are_not_found() -> None:
    known = np.array([5, 5, 7], dtype="<u8")
    among = np.array([False, True, True])
    asked, places, bits = HammingIndex(known).near(known[:1], 1, among)
    assert (asked.tolist(), places.tolist(), bits.tolist()) == ([0, 0], [1, 2], [0, 1])


@pytest.mark.parametrize("distance", [-1, MAX_DISTANCE + 1])
def test_a_distance_that_would_miss_pairs_is_refused(distance: int) -> None:
    with pytest.raises(ValueError, match="not in 0 to"):
        HammingIndex(np.array([1], dtype="<u8")).near(np.array([1], dtype="<u8"), distance)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 6)), max_size=12), st.integers(1, 10))
def test_pieces_joined_are_the_whole(ranges: list[tuple[int, int]], most: int) -> None:
    starts = np.array([start for start, _ in ranges], dtype=np.int64)
    counts = np.array([count for _, count in ranges], dtype=np.int64)
    expected = [(i, s + at) for i, (s, c) in enumerate(ranges) for at in range(c)]
    owners, places = spread(starts, counts)
    assert list(zip(owners.tolist(), places.tolist(), strict=True)) == expected
    joined = []
    for some, where in spread_in_pieces(starts, counts, most):
        assert 0 < len(some) <= max(most, counts.max())
        joined += zip(some.tolist(), where.tolist(), strict=True)
    assert joined == expected
