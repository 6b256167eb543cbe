import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from genixer.training.sampler import grouped

ROWS = st.lists(st.tuples(st.integers(1, 3000), st.booleans()), max_size=300)


@given(ROWS, st.integers(1, 20), st.integers(0, 9))
def test_every_index_comes_once_and_no_batch_mixes_kinds(
    rows: list[tuple[int, bool]], batch: int, seed: int
) -> None:
    lengths = np.array([length for length, _ in rows], np.int64)
    images = np.array([image for _, image in rows], bool)
    found = grouped(lengths, images, batch, seed)
    assert sorted(i for one in found for i in one.tolist()) == list(range(len(rows)))
    assert all(1 <= len(one) <= batch for one in found)
    assert all(len(set(images[one].tolist())) == 1 for one in found)
    # Only the last batch of each kind may be short.
    assert sum(len(one) < batch for one in found) <= 2
    again = grouped(lengths, images, batch, seed)
    assert [one.tolist() for one in again] == [one.tolist() for one in found]


def test_the_seed_decides_the_order() -> None:
    lengths, images = np.arange(1, 400), np.ones(399, bool)
    plans = [[one.tolist() for one in grouped(lengths, images, 4, seed)] for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]
    assert plans[0] != sorted(plans[0])


def test_little_is_padding_and_far_less_than_at_random() -> None:
    rng = np.random.default_rng(1)
    images = rng.random(20_000) > 0.06
    text = np.where(images, 640, 400) + 150 * np.exp(0.9 * rng.standard_normal(20_000))
    lengths = np.minimum(text, 2048).astype(np.int64)

    def efficiency(batches: list[np.ndarray]) -> float:
        return float(lengths.sum() / sum(len(b) * int(lengths[b].max()) for b in batches))

    at_random = list(rng.permutation(20_000).reshape(-1, 16))
    assert efficiency(grouped(lengths, images, 16, 1)) >= 0.92 > efficiency(at_random) + 0.1
