"""Boxes and names: when an answer is right."""

import pytest

from genixer.data import Box, ImageRef, Origin, Sample, Turn
from genixer.evaluation.base import Item
from genixer.evaluation.grounding import RecBenchmark, RecSettings
from genixer.evaluation.naming import plain_name
from genixer.tasks.base import Canvas

GOLD = Box(0.0, 0.0, 0.5, 1.0)
PLAIN = Canvas("unit", 2, 200, 100)


def mark(text: str, canvas: Canvas = PLAIN, protocol: str = "over_half"):
    turns = Turn("user", "Where is it?"), Turn("assistant", "<box>", (GOLD,))
    sample = Sample.of("rec", ImageRef("a.png", 200, 100, ""), turns, Origin("test"))
    return RecBenchmark(RecSettings(protocol=protocol), None).mark(
        Item("x", sample, ()), text, canvas
    )


def test_exactly_half_counts_for_one_protocol_only() -> None:
    half = "[0.00,0.00,1.00,1.00]"
    assert mark(half).correct == 0.0
    assert mark(half, protocol="at_least_half").correct == 1.0


def test_overlap_is_measured_in_the_un_padded_image() -> None:
    # 200 x 100 px on a square of 200: the image begins a quarter down.
    padded = Canvas("padded_square", 2, 200, 100)
    assert mark("[0.00,0.25,0.50,0.75]", padded).found == GOLD
    assert mark("[0.00,0.25,0.50,0.75]", padded).correct == 1.0


@pytest.mark.parametrize(
    "text", ["", "left", "[0.00,0.00]", "[0.00,0.00,0.50,1.00] there", "[0.0,0.0,0.5,1.0]",
             "[0.00,0.00,0.50,1.00][0.00,0.00,0.50,1.00]", "[0.50,0.00,0.00,1.00]"]
)  # fmt: skip
def test_what_is_not_one_box_is_wrong(text: str) -> None:
    assert mark(text) == (0.0, None)


@pytest.mark.parametrize("text", ["Red book", "the red book.", "RED  BOOK", "a red-book"])
def test_names_are_compared_without_article_case_and_punctuation(text: str) -> None:
    assert plain_name(text) == "red book"


def test_another_word_is_another_name() -> None:
    assert plain_name("red books") != plain_name("red book")
