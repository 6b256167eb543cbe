import random
from pathlib import Path

import pytest

from genixer.data import Box, ImageRef, Message, Origin, Point, Sample, Turn
from genixer.errors import CannotEncodeError
from genixer.tasks import TASKS, load_task
from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.judging import judge_prompts
from genixer.tasks.voices import answer_text, messages, question_text, read_answer

CANVAS = Canvas("unit", 2, 64, 64)
BOX = Box(0.1, 0.2, 0.5, 0.75)
CAT = ImageRef("cat.png", 64, 64, "ab12")
TURNS = {
    "common_vqa": (Turn("user", "What color is the cat?"), Turn("assistant", "black")),
    "adv_vqa": (Turn("user", "Is there a dog in the image?"), Turn("assistant", "no")),
    "mc_vqa": (Turn("user", "What is it?\nA. a dog\nB. a cat"), Turn("assistant", "B")),
    "md": (
        *(Turn("user", "What is it?"), Turn("assistant", "a cat")),
        *(Turn("user", "Is it old?"), Turn("assistant", "no")),
    ),
    "rec": (Turn("user", "Where is the cat?"), Turn("assistant", "<box>", (BOX,))),
    "reg": (Turn("user", "What is at <box>?", (BOX,)), Turn("assistant", "black cat")),
    "point_qa": (
        Turn("user", "What color is it? <point>", points=(Point(0.3, 0.5),)),
        Turn("assistant", "black"),
    ),
    "qcboxa": (
        Turn("user", "Is the cat asleep?"),
        Turn("assistant", "The cat <box> has its eyes open. The answer is no.", (BOX,)),
    ),
    "rd": (
        *(Turn("user", "Who is that? <box>", (BOX,)), Turn("assistant", "A cat.")),
        *(Turn("user", "Is it alone?"), Turn("assistant", "The cat <box> is alone.", (BOX,))),
    ),
    "dense_caption": (Turn("user", "List all."), Turn("assistant", "black cat <box>", (BOX,))),
}
GOLDEN = Path(__file__).parent / "golden" / "prompts.txt"


def sample(task: str) -> Sample:
    return Sample.of(task, CAT, TURNS[task], Origin("test"))


def test_every_voice_of_every_task_says_what_the_golden_file_says():
    blocks = []
    for name in sorted(TASKS):
        task = load_task(name)
        for mode in ("agnostic", "specific"):
            blocks.append(f"--- {name}: generator, {mode}\n{task.ask(random.Random(7), mode)}")
        blocks.append(f"--- {name}: generator's text\n{task.encode(TURNS[name], CANVAS)}")
        spoken = "\n".join(f"{m.role}: {m.text}" for m in messages(TURNS[name], CANVAS))
        blocks.append(f"--- {name}: student\n{spoken}")
        judged = "\n".join(judge_prompts(sample(name), CANVAS))
        blocks.append(f"--- {name}: judge\n{judged}")
    assert "\n".join(blocks) + "\n" == GOLDEN.read_text(encoding="utf-8")


def test_judge_sees_the_option_and_not_its_letter():
    assert "Question: What is it? Answer: a cat\n" in judge_prompts(sample("mc_vqa"), CANVAS)[0]


def test_a_line_about_the_answer_follows_each_question_and_no_answer():
    said = messages(TURNS["md"], CANVAS, "Be short.")
    assert said[0] == Message("user", "What is it?\nBe short.")
    assert said[1] == Message("assistant", "a cat")


def test_student_text_refuses_the_image_mark():
    with pytest.raises(CannotEncodeError, match="image_mark"):
        messages((Turn("user", "what is <image>"), Turn("assistant", "cat")), CANVAS)


@pytest.mark.parametrize("task", sorted(TURNS))
def test_the_right_answer_is_read_as_the_right_answer(task):
    text = answer_text(TURNS[task], CANVAS)
    expected = BOX if task == "rec" else text
    assert read_answer(task, f" {text}\n", CANVAS) == expected
    assert question_text(TURNS[task], CANVAS)


@pytest.mark.parametrize(
    ("task", "text", "reason"),
    [
        ("common_vqa", " ", "empty_answer"),
        ("mc_vqa", "b", "answer_not_a_letter"),
        ("rec", "left", "no_box"),
        ("rec", "[0.10,", "bad_box"),
        ("rec", "[0.10,0.20,0.30,0.40] .", "extra_text"),
        ("rec", "[0.10,0.20,0.30,0.40;0.10,0.20,0.30,0.40]", "several_boxes"),
        ("rec", "[0.10,0.20,0.30,1.40]", "box_outside"),
    ],
)
def test_an_answer_that_is_none_says_why(task, text, reason):
    found = read_answer(task, text, CANVAS)
    assert isinstance(found, ParseError)
    assert found.reason == reason
