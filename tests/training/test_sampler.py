import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from genixer.training.sampler import efficiency, grouped

rows = st.lists(st.tuples(st.integers(1, 2048), st.booleans()), max_size=200)


@given(rows, st.integers(1, 9), st.integers(0, 5))
def test_every_row_is_in_one_batch_with_rows_of_its_kind(rows, batch, seed):
    lengths = np.array([length for length, _ in rows], dtype=np.int64)
    images = np.array([image for _, image in rows], dtype=bool)
    batches = grouped(lengths, images, batch, seed)
    assert sorted(np.concatenate(batches).tolist() if batches else []) == list(range(len(rows)))
    assert all(len(one) <= batch and len(set(images[one].tolist())) == 1 for one in batches)
    # Only the last batch of a kind's last pool may be short.
    assert sum(len(one) < batch for one in batches) <= 2


def test_batches_are_even_and_their_order_is_not():
    rng = np.random.default_rng(1)
    lengths = rng.integers(1, 2000, 20_000)
    images = rng.random(20_000) < 0.9
    batches = grouped(lengths, images, 16, seed=3)
    random = np.split(rng.permutation(20_000), 1250)
    assert efficiency(lengths, random) < 0.6
    assert efficiency(lengths, batches) > 0.95
    longest = np.array([lengths[one].max() for one in batches])
    assert abs(np.corrcoef(np.arange(len(longest)), longest)[0, 1]) < 0.1


def test_seeds_give_other_epochs_and_the_same_seed_the_same():
    lengths, images = np.arange(1, 500), np.ones(499, dtype=bool)
    one, two, other = (grouped(lengths, images, 8, seed) for seed in (1, 1, 2))
    assert [a.tolist() for a in one] == [b.tolist() for b in two]
    assert [a.tolist() for a in one] != [b.tolist() for b in other]
