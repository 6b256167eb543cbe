import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genixer.errors import DataError
from genixer.training.packing import pack, pack_groups

BUDGET = 200
LENGTHS = st.lists(st.integers(1, BUDGET), max_size=200)
GROUPS = st.lists(
    st.tuples(st.integers(1, 50), st.lists(st.integers(1, BUDGET - 50), max_size=12)), max_size=20
)


@given(LENGTHS)
def test_every_index_is_packed_once_and_no_bin_is_over_budget(lengths: list[int]) -> None:
    array = np.array(lengths, np.int64)
    found = pack(array, BUDGET)
    assert sorted(i for one in found for i in one.tolist()) == list(range(len(lengths)))
    assert all(array[one].sum() <= BUDGET for one in found)
    assert [one.tolist() for one in pack(array, BUDGET)] == [one.tolist() for one in found]


def best_fit_by_hand(lengths: list[int], budget: int) -> list[list[int]]:
    bins: list[list[int]] = []
    for length in sorted(lengths, reverse=True):
        room = [(budget - sum(one), i) for i, one in enumerate(bins)]
        fitting = [pair for pair in room if pair[0] >= length]
        if fitting:
            bins[min(fitting)[1]].append(length)
        else:
            bins.append([length])
    return bins


@given(LENGTHS, st.sampled_from([BUDGET, 256, 1000]))
def test_bins_are_as_full_as_by_looking_through_all_of_them(
    lengths: list[int], budget: int
) -> None:
    array = np.array(lengths, np.int64)
    found = sorted(int(array[one].sum()) for one in pack(array, budget))
    assert found == sorted(map(sum, best_fit_by_hand(lengths, budget)))


@pytest.mark.parametrize("wrong", [0, -1, 11])
def test_lengths_that_no_bin_takes_are_named(wrong: int) -> None:
    with pytest.raises(DataError, match=rf"1 of 3 lengths .* budget of 10 .*: 1 \({wrong}\);"):
        pack(np.array([3, wrong, 10]), 10)


@given(GROUPS)
def test_groups_keep_their_conversations_and_pay_for_every_prefix(
    groups: list[tuple[int, list[int]]],
) -> None:
    prefixes = np.array([prefix for prefix, _ in groups], np.int64)
    own = [np.array(many, np.int64) for _, many in groups]
    found = pack_groups(prefixes, own, BUDGET)
    pairs = [(g, int(c)) for one in found for g, part in one for c in part]
    assert sorted(pairs) == [(g, c) for g, many in enumerate(own) for c in range(len(many))]
    for one in found:
        assert sum(prefixes[g] + own[g][part].sum() for g, part in one) <= BUDGET


def test_a_group_that_does_not_fit_is_named() -> None:
    with pytest.raises(DataError, match=r"group 1, whose prefix has 5 tokens: 1 of 1 lengths"):
        pack_groups(np.array([1, 5]), [np.array([2]), np.array([6])], 10)
