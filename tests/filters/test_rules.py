"""Rules of form."""

from pathlib import Path

import pytest

from genixer.data import Box, ImageRef, Origin, Point, Sample, Turn
from genixer.filters.rules import RulesFilter, RulesSettings

IMAGE = ImageRef("a.png", 200, 100, "ab")


def verdict(*texts: str, task: str = "common_vqa", **limits: object) -> str:
    """Reason for a conversation of `texts`, user first; empty when kept."""
    turns = [
        Turn(
            "assistant" if i % 2 else "user", text, (Box(0.1, 0.1, 0.5, 0.5),) * text.count("<box>")
        )
        for i, text in enumerate(texts)
    ]
    sample = Sample.of(task, IMAGE, tuple(turns), Origin("test"))
    return RulesFilter(RulesSettings(**limits)).judge([sample], Path())[0].reason


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (("What is it?", "a cat"), ""),
        (("Is there a cat?", "yes"), ""),
        (("Is it red or blue?", "red"), ""),
        (("Is the man asleep?", "the man seems to rest"), ""),
        (("Describe the image.", "A cat."), ""),
        (("What is it?\nA. cat\nB. dog", "B"), ""),
        (("What is it?\nA. cat\nB. dog", "b."), ""),
        (("Where is the cat", "<box>"), ""),
        (("List all objects.", "dog <box>, dog <box>, dog <box>"), ""),
        (("What is it?", "a cat", "How many?", "2"), ""),
        (("What is it?", "  "), "empty_text"),
        ((" ", "cat"), "empty_text"),
        (("What is it? Question: what", "cat"), "template_words"),
        (("What is it?", "cat ASSISTANT: dog"), "template_words"),
        (("What is <image>?", "cat"), "template_words"),
        (("What is it?", "red red red"), "stuck_repeating"),
        (("What is it?", "a cat, a cat, a cat"), "stuck_repeating"),
        (("What is it?", "what is it"), "answer_is_question"),
        (("The cat sat", "on the mat"), "not_a_question"),
        (("What is it?\nA. cat\nB. Cat", "A"), "duplicate_options"),
        (("What is it?\nA. cat\nB. dog", "C"), "answer_not_an_option"),
        (("What is it?\nA. cat\nB. dog", "cat"), "answer_not_an_option"),
        (("Is there a cat?", "red"), "not_yes_no"),
        (("What color is the cat?", "yes"), "yes_no_unasked"),
        (("What is it?", "a cat", "what is it", "a dog"), "repeated_question"),
        (("What is it?", "a cat", "Is it new?", "blue"), "not_yes_no"),
    ],
)
def test_every_rule_of_text_names_its_reason(texts: tuple[str, ...], reason: str) -> None:
    assert verdict(*texts) == reason


def placed(*turns: Turn) -> str:
    sample = Sample.of("rd", IMAGE, turns, Origin("test"))
    return RulesFilter(RulesSettings()).judge([sample], Path())[0].reason


def test_the_same_words_about_another_place_are_another_question() -> None:
    one, two = Point(0.1, 0.2), Point(0.5, 0.5)
    asked = [Turn("user", "What is at <point>?", points=(point,)) for point in (one, two)]
    said = Turn("assistant", "a cat"), Turn("assistant", "a dog")
    assert placed(asked[0], said[0], asked[1], said[1]) == ""
    assert placed(asked[0], said[0], asked[0], said[1]) == "repeated_question"


def test_a_request_with_a_point_need_not_be_a_question() -> None:
    turns = Turn("user", "Name <point>", points=(Point(0.1, 0.2),)), Turn("assistant", "cat")
    assert placed(*turns) == ""
    turns = Turn("user", "The cat"), Turn("assistant", "it is at <point>", points=(Point(0, 0),))
    assert placed(*turns) == ""


def test_a_place_to_choose_stands_once() -> None:
    one, two = Box(0.1, 0.1, 0.5, 0.5), Box(0.5, 0.5, 0.9, 0.9)
    answer = Turn("assistant", "<box>", (one,))
    assert placed(Turn("user", "Which? <box> <box>", (one, two)), answer) == ""
    assert placed(Turn("user", "Which? <box> <box>", (one, one)), answer) == "duplicate_options"
    sentence = Turn("assistant", "It is <box>.", (one,))
    assert placed(Turn("user", "Is <box> <box>?", (one, one)), sentence) == ""


def test_long_text_is_refused_by_side() -> None:
    assert (
        verdict("What is it " + "x" * 20 + "?", "cat", max_question_chars=20) == "question_too_long"
    )
    assert verdict("What is it?", "c" * 21, max_answer_chars=20) == "answer_too_long"
    assert verdict("What is it?", "c" * 20, max_answer_chars=20) == ""


def in_box(box: Box, **limits: float) -> str:
    turns = Turn("user", "Where is the cat?"), Turn("assistant", "<box>", (box,))
    sample = Sample.of("rec", IMAGE, turns, Origin("test"))
    return RulesFilter(RulesSettings(**limits)).judge([sample], Path())[0].reason


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        (Box(0.1, 0.1, 0.5, 0.5), ""),
        (Box(0.1, 0.1, 0.2, 0.3), ""),
        (Box(0.1, 0.1, 0.5, 0.29), "box_too_small"),
        (Box(0.1, 0.1, 0.1, 0.5), "box_too_small"),
        (Box(0.0, 0.0, 1.0, 1.0), "box_too_large"),
        (Box(0.0, 0.1, 1.0, 0.3), "box_too_thin"),
    ],
)
def test_boxes_are_measured_in_pixels_of_the_image(box: Box, reason: str) -> None:
    # 200 x 100 px: a width of 0.1 and a height of 0.2 are both 20 px.
    assert in_box(box, min_side_px=20.0, max_box_aspect=9.0) == reason


def test_an_empty_box_is_too_small_even_without_a_limit() -> None:
    assert in_box(Box(0.1, 0.1, 0.1, 0.1), min_side_px=0.0) == "box_too_small"


def test_every_reason_it_gives_is_declared() -> None:
    source = Path("src/genixer/filters/rules.py").read_text(encoding="utf-8")
    for reason in RulesFilter.reasons:
        assert source.count(f'"{reason}"') > 1, reason


def test_long_text_without_spaces_takes_no_time() -> None:
    assert verdict("What is it?", "ab" * 500) == ""
    assert verdict("What is it?", "a," * 450 + "b") == "stuck_repeating"
