import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genixer.errors import ConfigError
from genixer.training.packing import fill, pack

lengths_and_budget = st.integers(1, 40).flatmap(
    lambda budget: st.tuples(st.lists(st.integers(1, budget), max_size=60), st.just(budget))
)


@given(lengths_and_budget)
def test_every_sample_is_in_one_row_and_no_row_is_over_budget(given):
    lengths, budget = np.array(given[0], dtype=np.int64), given[1]
    rows = pack(lengths, budget)
    assert sorted(np.concatenate(rows).tolist() if rows else []) == list(range(len(lengths)))
    assert all(0 < lengths[row].sum() <= budget for row in rows)


@given(lengths_and_budget)
def test_each_sample_goes_where_the_room_left_over_is_smallest(given):
    """The same row sizes as the textbook's best fit, which looks at every open row."""
    lengths, budget = given
    rooms: list[int] = []
    for size in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= size]
        if fitting:
            rooms[rooms.index(min(fitting))] -= size
        else:
            rooms.append(budget - size)
    rows = pack(np.array(lengths, dtype=np.int64), budget)
    found = sorted(budget - sum(lengths[at] for at in row) for row in rows)
    assert found == sorted(rooms)


def test_a_sample_that_fits_no_row_is_named():
    with pytest.raises(ConfigError, match="sample 1 has 9 tokens, a row has room for 8"):
        pack(np.array([3, 9]), 8)


def test_a_sample_without_tokens_is_refused():
    with pytest.raises(ConfigError, match="sample 0 has 0 tokens"):
        pack(np.array([0, 3]), 8)


def test_fill_is_the_share_of_the_room_that_samples_take():
    lengths = np.array([6, 6, 4])
    assert fill(lengths, pack(lengths, 10), 10) == 0.8
    assert fill(lengths[:0], [], 10) == 1.0
