import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genixer.data import Sampling
from genixer.inference.sampling import Luck, pick


def tokens_of(logits: list[float], draws: int, **settings: float) -> list[int]:
    """One row, drawn with `draws` seeds."""
    samplings = [Sampling(max_new_tokens=1, seed=seed, **settings) for seed in range(draws)]
    table = torch.tensor([logits]).expand(draws, -1)
    return pick(table, samplings, Luck(samplings), range(draws), 0).tolist()


def test_greedy_rows_take_the_likeliest_token() -> None:
    assert tokens_of([0.1, 3.0, 2.9], 4, temperature=0.0) == [1] * 4


def test_draws_follow_the_probabilities() -> None:
    found = tokens_of(torch.tensor([0.5, 0.3, 0.2]).log().tolist(), 20_000, temperature=1.0)
    for token, share in enumerate([0.5, 0.3, 0.2]):
        assert found.count(token) / 20_000 == pytest.approx(share, abs=0.015)


def test_temperature_sharpens() -> None:
    logits = torch.tensor([0.5, 0.3, 0.2]).log().tolist()
    found = tokens_of(logits, 5_000, temperature=0.5)
    assert found.count(0) / 5_000 == pytest.approx(0.25 / 0.38, abs=0.03)


def test_top_k_leaves_the_k_likeliest() -> None:
    assert set(tokens_of([1.0, 1.2, 0.9, 1.1], 300, temperature=2.0, top_k=2)) == {1, 3}


def test_top_p_keeps_the_token_that_crosses_the_mass_and_no_more() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().tolist()
    assert set(tokens_of(logits, 500, temperature=1.0, top_p=0.6)) == {0, 1}
    assert set(tokens_of(logits, 500, temperature=1.0, top_p=1e-9)) == {0}


def test_a_row_keeps_its_luck_among_any_neighbours() -> None:
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(1))
    mixed = [
        Sampling(temperature=0.9, seed=5, max_new_tokens=9),
        Sampling(temperature=0.0),
        Sampling(temperature=1.3, top_k=9, top_p=0.9, seed=6, max_new_tokens=3),
    ]
    together = pick(logits, mixed, Luck(mixed), [0, 1, 2], 2).tolist()
    for row, sampling in enumerate(mixed):
        alone = pick(logits[row : row + 1], [sampling], Luck([sampling]), [0], 2)
        assert alone.tolist() == [together[row]]


def test_every_step_and_every_seed_has_its_own_luck() -> None:
    samplings = [Sampling(temperature=1.0, seed=seed, max_new_tokens=50) for seed in range(20)]
    luck = Luck(samplings)
    numbers = {float(x) for step in range(50) for x in luck.at(range(20), step)}
    assert len(numbers) == 1000
    assert min(numbers) < 0.02
    assert max(numbers) > 0.98


@given(
    st.lists(st.floats(-40, 40, width=32), min_size=2, max_size=12),
    st.floats(0.05, 3.0),
    st.floats(0.01, 1.0),
    st.integers(0, 12),
    st.integers(0, 2**63 - 1),
)
def test_only_tokens_that_may_be_drawn_are(
    logits: list[float], temperature: float, top_p: float, top_k: int, seed: int
) -> None:
    sampling = Sampling(
        max_new_tokens=1, temperature=temperature, top_p=top_p, top_k=top_k, seed=seed
    )
    token = int(pick(torch.tensor([logits]), [sampling], Luck([sampling]), [0], 0)[0])
    rank = sorted(range(len(logits)), key=lambda i: -logits[i]).index(token)
    allowed = len(logits) if top_k == 0 else top_k
    assert rank < allowed or logits.count(logits[token]) > 1
