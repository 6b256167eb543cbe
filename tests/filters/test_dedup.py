"""What counts as the same, and who stays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genixer.data import Box, ImageRef, Origin, Point, Sample, Turn
from genixer.filters import dedup
from genixer.filters.dedup import (
    first_alike,
    first_looks,
    first_positions,
    keys_in,
    marks_key,
    said_key,
    text_of,
)

CAT = ImageRef("cat.png", 9, 9, "ab")


def sample(question: str, answer: str = "yes", x: float = 0.1) -> Sample:
    boxes = (Box(x, 0.1, 0.5, 0.5),) * question.count("<box>")
    points = (Point(x, 0.5),) * question.count("<point>")
    turns = Turn("user", question, boxes, points), Turn("assistant", answer)
    return Sample.of("common_vqa", CAT, turns, Origin("test"))


def test_case_space_and_punctuation_do_not_count() -> None:
    assert said_key(sample("Is it  New ?")) == said_key(sample("is it new"))


@pytest.mark.parametrize("mark", ["<box>", "<point>"])
def test_another_word_or_place_counts(mark: str) -> None:
    keys = {
        said_key(sample("Is it new?")),
        said_key(sample("Is it old?")),
        said_key(sample(f"What is {mark}?")),
        said_key(sample(f"What is {mark}?", x=0.2)),
    }
    assert len(keys) == 4
    assert said_key(sample(f"What is {mark}?", x=0.201)) in keys


def test_answers_count_only_for_content() -> None:
    one, two = sample("Is it new?", "yes"), sample("Is it new?", "no")
    assert said_key(one) == said_key(two)
    assert said_key(one, "content") != said_key(two, "content")
    assert text_of(one) == "Is it new?"
    assert text_of(one, "content") == "Is it new?\nyes"


def test_marks_are_places_whatever_the_words() -> None:
    assert marks_key(sample("At <box>?")) == marks_key(sample("Where is <box>"))
    assert marks_key(sample("At <box>?")) != marks_key(sample("At <box>?", x=0.3))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3))))
def test_first_positions_agree_with_a_dictionary(rows: list[tuple[int, int]]) -> None:
    seen: dict[tuple[int, int], int] = {}
    expected = [seen.setdefault(key, at) for at, key in enumerate(rows)]
    keys = np.array(rows, dtype="<u8").reshape(-1, 2)
    assert first_positions(keys).tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), unique=True))
def test_keys_of_different_places_differ(rows: list[tuple[int, int]]) -> None:
    places = np.array([place for place, _ in rows], dtype=np.int64)
    keys = np.array([key for _, key in rows], dtype=np.uint64)
    assert len(np.unique(keys_in(places, keys))) == len(rows)


def near(values: np.ndarray, asked: list[int]):
    def alike(rows: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        asked.append(len(rows))
        close = np.abs(values[rows][:, None] - values[None]) <= 3
        close &= among[None] & (np.arange(len(values))[None] < rows[:, None])
        later, earlier = np.nonzero(close)
        return rows[later], earlier

    return alike


@given(st.lists(st.integers(0, 60), max_size=40), st.integers(1, 9))
def test_a_row_goes_only_for_the_first_like_it_that_stays(values: list[int], block: int) -> None:
    expected: list[int] = []
    for at, value in enumerate(values):
        stays = [i for i in range(at) if expected[i] == i and abs(values[i] - value) <= 3]
        expected.append(stays[0] if stays else at)
    before, dedup._BLOCK = dedup._BLOCK, block
    try:
        found = first_alike(len(values), near(np.array(values, dtype=np.int64), []))
    finally:
        dedup._BLOCK = before
    assert found.tolist() == expected


def test_rows_that_went_are_asked_about_no_more() -> None:
    asked: list[int] = []
    first_alike(dedup._BLOCK + 5, near(np.zeros(dedup._BLOCK + 5, dtype=np.int64), asked))
    assert asked == [dedup._BLOCK, dedup._BLOCK, 5, 0]


@given(st.lists(st.integers(0, 255), max_size=60), st.integers(0, 3))
def test_a_look_goes_for_the_first_near_one_that_stays(looks: list[int], distance: int) -> None:
    expected = []
    for at, look in enumerate(looks):
        near = (
            before
            for before in range(at)
            if expected[before] == before and (looks[before] ^ look).bit_count() <= distance
        )
        expected.append(next(near, at))
    assert first_looks(np.array(looks, dtype="<u8"), distance).tolist() == expected


def test_a_look_that_all_pictures_share_costs_no_pair_of_them() -> None:
    found = first_looks(np.full(200_000, 0x1234_5678, dtype="<u8"), 4)  # 20 thousand million pairs
    assert not found.any()
