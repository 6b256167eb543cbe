"""Which words go with which box."""

import pytest

from genixer.data import Box, ImageRef, Origin, Sample, Turn
from genixer.tasks.instructions import lines
from genixer.tasks.regions import expression_in, regions_of

ONE, TWO = Box(0.1, 0.1, 0.2, 0.2), Box(0.5, 0.5, 0.7, 0.7)


def words(*turns: Turn, task: str = "any") -> list[tuple[Box, str]]:
    sample = Sample.of(task, ImageRef("a", 1, 1, ""), turns, Origin("test"))
    return [(region.box, region.text) for region in regions_of(sample)]


@pytest.mark.parametrize("form", lines("rec_questions"))
def test_every_question_form_gives_its_expression_back(form: str) -> None:
    assert expression_in(form.replace("{expression}", "the red book")) == "the red book"


def test_an_unknown_form_is_taken_whole() -> None:
    assert expression_in("Red book, where?") == "Red book, where?"


def test_rec_takes_the_expression_of_the_question() -> None:
    turns = Turn("user", "Find the cat."), Turn("assistant", "<box>", (ONE,))
    assert words(*turns) == [(ONE, "the cat")]


def test_reg_takes_the_answer() -> None:
    turns = Turn("user", "What is at <box>?", (ONE,)), Turn("assistant", "a cat")
    assert words(*turns) == [(ONE, "a cat")]


def test_a_caption_names_each_box_by_the_words_before_it() -> None:
    turns = (
        Turn("user", "List all."),
        Turn("assistant", "red book <box>, cat <box><box>.", (ONE, TWO, ONE), (), (1, 2)),
    )
    assert words(*turns) == [(ONE, "red book"), (TWO, "cat"), (ONE, "cat")]


def test_talk_without_boxes_has_no_regions() -> None:
    assert words(Turn("user", "What is it?"), Turn("assistant", "a cat")) == []


def test_in_a_dialogue_words_before_a_box_name_it_in_the_question_too() -> None:
    turns = (
        Turn("user", "<box> or the man <box>?", (TWO, ONE)),
        Turn("assistant", "By the dogs <box><box> he sits.", (ONE, TWO), (), (2,)),
    )
    named = [(ONE, "or the man"), (ONE, "By the dogs"), (TWO, "By the dogs")]
    assert words(*turns, task="rd") == named
    assert words(*turns, task="qcboxa") == named


def test_words_about_a_place_name_nothing() -> None:
    turns = Turn("user", "What color is <box>?", (ONE,)), Turn("assistant", "red")
    assert words(*turns, task="point_qa") == []
    turns = Turn("user", "Which? <box> <box>", (ONE, TWO)), Turn("assistant", "<box>", (TWO,))
    assert words(*turns, task="point_qa") == []
