"""What every task in the registry owes, plugins included."""

import random
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from genixer.data import Box, Turn, split_marks
from genixer.errors import CannotEncodeError, UnknownNameError
from genixer.frames import FRAMES, box_to_frame
from genixer.tasks import TASKS, load_task
from genixer.tasks.base import Canvas, ParseError, Task
from genixer.tasks.grammar import join_marks, snap
from genixer.tasks.instructions import lines
from genixer.tasks.recognise import recognise

ONE = (Box(0.125, 0.25, 0.5, 1.0),)
TWO = (*ONE, Box(0.0, 0.0, 0.25, 0.5))


def talk(*texts: str, boxes: dict[int, tuple[Box, ...]] | None = None) -> tuple[Turn, ...]:
    return tuple(
        Turn("assistant" if at % 2 else "user", text, (boxes or {}).get(at, ()))
        for at, text in enumerate(texts)
    )


EXAMPLES = {
    "common_vqa": talk("What is the dog doing?", "sleeping on a chair"),
    "adv_vqa": talk("Is there a dog in the image?", "no"),
    "mc_vqa": talk("What is it?\nA. cat\nB. old dog\nC. 1.5 m", "B"),
    "md": talk("What is it?", "A cat, I think.", "Is it old?", "No.\n\nIt is young."),
    "rec": talk("Where is the red book?", "<box>", boxes={1: ONE}),
    "reg": talk("What is at <box>?", "red book", boxes={0: ONE}),
    "dense_caption": talk("List all.", "red book <box>, cat <box>", boxes={1: TWO}),
}
HOSTILE = [
    *("Question:", "Answer:", " Answer: ", "\nQuestion: ", "question:", "\n", "\n\n", " ", "\t"),
    *("[0.1,0.2,0.3,0.4]", "[0.10,0.20,0.30,0.40;", "]", "[", "[1]", "[1, 2]", "[-1,2e3]", ";"),
    *(
        "<box>",
        "<point>",
        "\\",
        "\\<box>",
        "\\\\",
        "<image>",
        "<im",
        "{",
        "}",
        "{expression}",
        "{box}",
    ),
    *(
        "\nA. x",
        "\nB. y",
        "A. ",
        "yes",
        "no",
        "Is there ",
        "é",
        "日本語",
        "\u200b",
        "\u00a0",
        "\x85",
        "\r\n",
    ),
]

boxes = st.builds(
    lambda xs, ys: Box(min(xs), min(ys), max(xs), max(ys)),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
canvases = st.builds(
    Canvas,
    st.sampled_from(sorted(FRAMES)),
    st.integers(0, 4),
    st.integers(1, 3000),
    st.integers(1, 3000),
)
fragments = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=8))


@st.composite
def conversations(draw: st.DrawFn, name: str) -> tuple[Turn, ...]:
    """A task's example with other boxes, hostile fragments put in or in place of its words."""
    turns = []
    for turn in draw(st.sampled_from([EXAMPLES[name], *EXAMPLES.values()])):
        pieces, kinds = split_marks(turn.text)
        for _ in range(draw(st.integers(0, 3))):
            at = draw(st.integers(0, len(pieces) - 1))
            cut = draw(st.integers(0, len(pieces[at])))
            keep = draw(st.booleans())
            pieces[at] = pieces[at][:cut] + draw(fragments) + (pieces[at][cut:] if keep else "")
        new = tuple(draw(boxes) for _ in turn.boxes)
        turns.append(Turn(turn.role, join_marks(pieces, kinds), new))
    return tuple(turns)


def snapped(turns: tuple[Turn, ...], canvas: Canvas) -> tuple[Turn, ...]:
    return tuple(
        Turn(turn.role, turn.text, tuple(snap(box, canvas) for box in turn.boxes)) for turn in turns
    )


def test_every_task_has_an_example_here():
    assert set(EXAMPLES) == set(TASKS)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_task_follows_the_protocol(name):
    task = load_task(name)
    assert isinstance(task, Task)
    assert task.name == name
    assert task.grounding == any(turn.boxes for turn in EXAMPLES[name])


@pytest.mark.parametrize("name", sorted(TASKS))
def test_example_comes_back_whole_and_is_recognised(name):
    canvas = Canvas("unit", 3, 640, 480)
    text = load_task(name).encode(EXAMPLES[name], canvas)
    assert load_task(name).decode(text, canvas) == EXAMPLES[name]
    if name != "dense_caption":
        assert recognise(text, canvas) == (name, EXAMPLES[name])


@pytest.mark.parametrize("name", sorted(TASKS))
@given(data=st.data(), canvas=canvases)
def test_codec_law_holds_for_every_text_that_encodes(name, data, canvas):
    turns = snapped(data.draw(conversations(name)), canvas)
    try:
        text = load_task(name).encode(turns, canvas)
    except CannotEncodeError as error:
        reason = error.reason
    else:
        reason = "carried"
        assert load_task(name).decode(text, canvas) == turns
    assert re.fullmatch("[a-z]+(_[a-z]+)*", reason)


@pytest.mark.parametrize("name", sorted(TASKS))
@given(data=st.data(), canvas=canvases)
def test_whatever_decodes_is_written_the_same_way_again(name, data, canvas):
    text = "".join(data.draw(st.lists(fragments, max_size=6)))
    text = f"Question: {text} Answer: {data.draw(fragments)}" if data.draw(st.booleans()) else text
    turns = load_task(name).decode(text, canvas)
    if isinstance(turns, ParseError):
        assert re.fullmatch("[a-z]+(_[a-z]+)*", turns.reason)
    elif not any(turn.boxes for turn in turns):
        assert load_task(name).encode(turns, canvas) == text


@pytest.mark.parametrize("name", sorted(TASKS))
@given(data=st.data(), canvas=canvases)
def test_recognised_text_reads_as_its_own_codec_reads_it(name, data, canvas):
    turns = snapped(data.draw(conversations(name)), canvas)
    try:
        text = load_task(name).encode(turns, canvas)
    except CannotEncodeError:
        return
    found = recognise(text, canvas)
    if name == "dense_caption":
        # A list of one unnamed box does not exist, so a caption is never taken for REC.
        assert isinstance(found, ParseError)
    else:
        kind = "adv_vqa" if name == "common_vqa" and found[0] == "adv_vqa" else name
        assert found == (kind, turns)


@pytest.mark.parametrize("name", sorted(n for n in TASKS if load_task(n).grounding))
@given(box=boxes, canvas=canvases)
@example(box=Box(0.0, 0.0, 1.0, 1.0), canvas=Canvas("padded_square", 2, 333, 1000))
@example(box=Box(0.9999, 0.0, 0.9999, 0.0), canvas=Canvas("padded_square", 1, 1, 3000))
def test_boxes_off_the_grid_come_back_within_half_a_step(name, box, canvas):
    turns = tuple(Turn(t.role, t.text, (box,) * len(t.boxes)) for t in EXAMPLES[name])
    back = load_task(name).decode(load_task(name).encode(turns, canvas), canvas)
    assert not isinstance(back, ParseError)
    size = canvas.width, canvas.height
    for turn in back:
        for found in turn.boxes:
            framed = zip(
                box_to_frame(box, canvas.frame, *size),
                box_to_frame(found, canvas.frame, *size),
                strict=True,
            )
            assert all(abs(a - b) <= canvas.step / 2 + 1e-9 for a, b in framed)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_instruction_names_the_task_only_in_specific_mode(name):
    task = load_task(name)
    agnostic = {task.ask(random.Random(seed), "agnostic") for seed in range(300)}
    specific = {task.ask(random.Random(seed), "specific") for seed in range(300)}
    assert agnostic <= set(lines("general"))
    assert {two.split("\n")[1] for two in specific} == set(lines(name))
    assert {two.split("\n")[0] for two in specific} <= set(lines("general"))


def test_unknown_task_names_the_near_ones():
    with pytest.raises(UnknownNameError, match="did you mean mc_vqa"):
        load_task("mcvqa")
