"""Prompts for models that were not trained here, and kinds of question."""

import random

import pytest

from genixer.data import Box, Point, Turn
from genixer.inference.scripted import _turns
from genixer.tasks import TASKS, load_task
from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.grammar import ANSWER, QUESTION
from genixer.tasks.kinds import KINDS, is_of_kind, kind_line
from genixer.tasks.readers import load_reader
from genixer.tasks.readers.base import strict_text
from genixer.tasks.zero_shot import ZERO_SHOT, write_json, zero_shot

CANVASES = [
    Canvas("unit", 3, 640, 480),
    Canvas("per_1000", 0, 640, 480),
    Canvas("pixel", 0, 640, 480),
    Canvas("padded_square", 2, 640, 480),
]


def test_every_task_has_a_prompt() -> None:
    assert set(ZERO_SHOT) == {name for name in TASKS if not name.startswith("toy")}


@pytest.mark.parametrize("canvas", CANVASES, ids=lambda canvas: canvas.frame)
@pytest.mark.parametrize("task", ["", *ZERO_SHOT])
def test_prompts_are_filled_in_and_ask_for_json(task: str, canvas: Canvas) -> None:
    prompt, schema = zero_shot(task, "", canvas)
    assert "$" not in prompt
    assert QUESTION not in prompt
    assert ANSWER not in prompt
    assert "Reply with one JSON object and nothing else: {" in prompt.splitlines()[-1]
    for key in schema["required"]:
        assert f'"{key}"' in prompt.splitlines()[-1]
    assert ("A box is" in prompt) == bool(task and load_task(task).grounding)


def test_the_prompt_says_what_the_frame_of_the_image_is() -> None:
    prompt, _ = zero_shot("rec", "", Canvas("padded_square", 2, 640, 480))
    assert "from 0 to 1 across and from 0.12 to 0.88 down" in prompt
    prompt, schema = zero_shot("rec", "", Canvas("pixel", 0, 640, 480))
    assert "in whole numbers: the image reaches from 0 to 640 across and from 0 to 480" in prompt
    assert schema["properties"]["box"]["items"] == {"type": "integer"}


@pytest.mark.parametrize("task", ZERO_SHOT)
def test_what_is_written_as_json_comes_back_through_reader_and_codec(task: str) -> None:
    canvas = Canvas("unit", 3, 640, 480)
    for seed in range(50):
        turns = _turns(task, random.Random(seed))
        text = write_json(turns, canvas)
        pairs = load_reader("json").pairs(text, canvas)
        assert not isinstance(pairs, ParseError), text
        strict = strict_text(pairs)
        assert isinstance(strict, str)
        assert load_task(task).decode(strict, canvas) == turns


def said(question: str, answer: str, **places: tuple[Box, ...] | tuple[Point, ...]) -> list[Turn]:
    return [Turn("user", question, **places), Turn("assistant", answer)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("task", "kind", "turns"),
    [
        ("common_vqa", "yes_no", said("Is the cat asleep?", "yes")),
        ("common_vqa", "number", said("How many cats are there?", "two")),
        ("common_vqa", "number", said("How many cats are there?", "12")),
        ("common_vqa", "color", said("What color is the cat?", "black")),
        ("common_vqa", "open", said("What is on the mat?", "a cat")),
        ("adv_vqa", "present", said("Is there a cat?", "yes")),
        ("adv_vqa", "absent", said("Is there a cat?", "no")),
        ("point_qa", "point", said("What is at <point>?", "cat", points=(Point(0.5, 0.5),))),
        ("point_qa", "box", said("What is at <box>?", "cat", boxes=(Box(0, 0, 0.5, 0.5),))),
    ],
)
def test_kinds_are_told_from_each_other(task: str, kind: str, turns: list[Turn]) -> None:
    assert is_of_kind(task, kind, turns)
    others = {one for one in KINDS[task] if one != kind and is_of_kind(task, one, turns)}
    assert others <= ({"open"} if kind == "color" else set())


def test_a_dialogue_is_of_no_kind() -> None:
    assert not is_of_kind("common_vqa", "open", said("What is it?", "a cat") * 2)


@pytest.mark.parametrize("task", KINDS)
def test_every_kind_has_a_line_of_its_own(task: str) -> None:
    lines = {kind_line(task, kind) for kind in KINDS[task]}
    assert len(lines) == len(KINDS[task])
    assert all(line == line.strip() and line.endswith(".") for line in lines)
