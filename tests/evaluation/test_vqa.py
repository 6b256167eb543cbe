"""The VQA soft score and its normaliser, quirks included."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genixer.evaluation.vqa import normalise, soft_score

PROTOCOLS = pytest.mark.parametrize("protocol", ["official", "always", "m4c"])


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Two dogs", "2 dogs"),
        ("none", "0"),
        ("a dog", "dog"),
        ("An apple, the red", "apple red"),
        ("red/blue", "red blue"),
        ("red / blue", "red blue"),
        ("1,000", "1000"),
        ("yes, 1,000 dogs", "yes 1000 dogs"),
        ("U.S.A.", "usa"),
        ("2.5", "2.5"),
        ("dont know", "don't know"),
        ("couldnt've", "couldn't've"),
        ("lets", "lets"),
        ("mountain's", "mountain's"),
        ("red\tand\nblue", "red and blue"),
        ("", ""),
        ("the", ""),
    ],
)
def test_answers_are_made_alike(text: str, plain: str) -> None:
    assert normalise(text) == plain


def test_a_mark_beside_a_space_anywhere_is_deleted_everywhere() -> None:
    assert normalise("t-shirt") == "t shirt"
    assert normalise("t-shirt - red") == "tshirt red"


def test_a_comma_between_digits_deletes_every_mark() -> None:
    assert normalise("1,000/2,000") == "10002000"


def test_only_the_first_32_periods_go() -> None:
    assert normalise("a." * 40) == "a" * 32 + "a." * 8


def test_m4c_splits_the_possessive_and_drops_commas_first() -> None:
    assert normalise("Dog's, cat's?", "m4c") == "dog 's cat 's"


def test_contractions_with_a_capital_never_match() -> None:
    assert normalise("Im") == "im"


@given(st.text(max_size=60))
def test_any_text_can_be_made_alike(text: str) -> None:
    assert "\n" not in normalise(text)
    normalise(text, "m4c")


@pytest.mark.parametrize(
    ("same", "score"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)]
)
def test_soft_score_by_how_many_humans_agree(same: int, score: float) -> None:
    # Worked out by hand: leaving each human out in turn.
    humans = ["red"] * same + [f"other{i}" for i in range(10 - same)]
    assert soft_score("red", humans) == pytest.approx(score)


def leave_one_out(answer: str, humans: list[str]) -> float:
    """The definition, spelled out."""
    rounds = [sum(h == answer for j, h in enumerate(humans) if j != i) for i in range(len(humans))]
    return sum(min(1.0, matches / 3) for matches in rounds) / len(humans)


@given(st.lists(st.sampled_from(["a1", "b1", "c1"]), min_size=1, max_size=12))
def test_soft_score_is_the_mean_over_leaving_one_out(humans: list[str]) -> None:
    assert soft_score("a1", humans, "always") == pytest.approx(leave_one_out("a1", humans))


def test_the_official_scorer_normalises_only_where_humans_differ() -> None:
    assert soft_score("Yes", ["yes"] * 10) == 0.0
    assert soft_score("Yes", ["yes"] * 9 + ["no"]) == 1.0
    assert soft_score("Yes", ["yes"] * 10, "always") == 1.0


@PROTOCOLS
def test_nothing_said_scores_nothing(protocol: str) -> None:
    assert soft_score("  ", [""] * 10, protocol) == 0.0
    assert soft_score("red", [], protocol) == 0.0
