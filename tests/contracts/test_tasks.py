"""What every task in the registry owes, plugins included."""

import random
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from genixer.data import Box, Point, Turn, split_marks
from genixer.errors import CannotEncodeError, UnknownNameError
from genixer.frames import FRAMES, box_to_frame, point_to_frame
from genixer.tasks import TASKS, load_task
from genixer.tasks.base import Canvas, ParseError, Task
from genixer.tasks.grammar import join_marks, snap, snap_point
from genixer.tasks.instructions import lines
from genixer.tasks.recognise import recognise

ONE = (Box(0.125, 0.25, 0.5, 1.0),)
TWO = (*ONE, Box(0.0, 0.0, 0.25, 0.5))
HERE = (Point(0.25, 0.5),)


def talk(
    *texts: str,
    boxes: dict[int, tuple[Box, ...]] | None = None,
    points: dict[int, tuple[Point, ...]] | None = None,
    groups: dict[int, tuple[int, ...]] | None = None,
) -> tuple[Turn, ...]:
    return tuple(
        Turn(
            "assistant" if at % 2 else "user",
            text,
            (boxes or {}).get(at, ()),
            (points or {}).get(at, ()),
            (groups or {}).get(at, ()),
        )
        for at, text in enumerate(texts)
    )


EXAMPLES = {
    "common_vqa": [talk("What is the dog doing?", "sleeping on a chair")],
    "adv_vqa": [talk("Is there a dog in the image?", "no")],
    "mc_vqa": [talk("What is it?\nA. cat\nB. old dog\nC. 1.5 m", "B")],
    "md": [talk("What is it?", "A cat, I think.", "Is it old?", "No.\n\nIt is young.")],
    "rec": [talk("Where is the red book?", "<box>", boxes={1: ONE})],
    "reg": [talk("What is at <box>?", "red book", boxes={0: ONE})],
    "point_qa": [
        talk("What is this? <point>", "red book", points={0: HERE}),
        talk("Is this new? <box>", "yes", boxes={0: ONE}),
        talk("Which one holds the cup? Candidates: <box> <box>", "<box>", boxes={0: TWO, 1: ONE}),
        talk("Which is it? <box> <box>", "<point>", boxes={0: TWO}, points={1: HERE}),
        talk("Which is it? <point> <point>", "<point>", points={0: HERE * 2, 1: HERE}),
    ],
    "qcboxa": [
        talk("Is it day?", "The lamp <box> is on. So the answer is no.", boxes={1: ONE}),
        talk(
            "Who sits by the men <box><box>?",
            "By the men <box><box> sits a dog <box>. The answer is: a dog",
            boxes={0: TWO, 1: (*TWO, *ONE)},
            groups={0: (2,), 1: (2, 1)},
        ),
    ],
    "rd": [
        talk("Who is that? <box>", "A man.", "And by him?", "A dog <box>.", boxes={0: ONE, 3: ONE}),
        talk(
            "What do the men <box><box> do at <point>?",
            "They <box><box> sit on a bench <box>.",
            boxes={0: TWO, 1: (*TWO, *ONE)},
            points={0: HERE},
            groups={0: (2,), 1: (2, 1)},
        ),
    ],
    "dense_caption": [talk("List all.", "red book <box>, cat <box>", boxes={1: TWO})],
}
"""By task, one conversation of each of its flavours."""
ALSO = {
    "common_vqa": {"adv_vqa"},
    "reg": {"point_qa"},
    "point_qa": {"reg"},
    "qcboxa": {"rd"},
    "rd": {"qcboxa", "point_qa", "reg"},
}
"""Other tasks that a text of a task may be taken for when nobody says which it is."""
examples = pytest.mark.parametrize(
    ("name", "turns"),
    [
        pytest.param(name, turns, id=f"{name}-{at}")
        for name in sorted(EXAMPLES)
        for at, turns in enumerate(EXAMPLES[name])
    ],
)
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
    *(
        "[0.1,0.2]",
        "[0.10,0.20;0.30,0.40]",
        "[0.1,",
        "(0.1,0.2)",
        "<box><box>",
        "\ud800",
        "\udfff!",
    ),
    *(
        "the answer is ",
        "The answer is no.",
        "How many ",
        " Candidates: ",
        "```json\n",
        '{"a": [1,',
    ),
    *("Q: ", "\nA: ", "**Answer:** ", "1. "),
]

boxes = st.builds(
    lambda xs, ys: Box(min(xs), min(ys), max(xs), max(ys)),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
points = st.builds(Point, st.floats(0, 1), st.floats(0, 1))
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
    """A task's example with other places, hostile fragments put in or in place of its words."""
    several = st.sampled_from([turns for of_task in EXAMPLES.values() for turns in of_task])
    turns = []
    for turn in draw(st.sampled_from(EXAMPLES[name]) | several):
        pieces, kinds = split_marks(turn.text)
        for _ in range(draw(st.integers(0, 3))):
            at = draw(st.integers(0, len(pieces) - 1))
            cut = draw(st.integers(0, len(pieces[at])))
            keep = draw(st.booleans())
            pieces[at] = pieces[at][:cut] + draw(fragments) + (pieces[at][cut:] if keep else "")
        new = tuple(draw(boxes) for _ in turn.boxes), tuple(draw(points) for _ in turn.points)
        if turn.role == "assistant" and draw(st.booleans()):
            # Its places are among those of the question, or corners of them.
            asked = turns[-1].boxes, tuple(Point(box.x0, box.y1) for box in turns[-1].boxes)
            new = tuple((*a, *b)[: len(b)] for a, b in zip(asked, new, strict=True))
        turns.append(Turn(turn.role, join_marks(pieces, kinds), *new, turn.groups))
    return tuple(turns)


def snapped(turns: tuple[Turn, ...], canvas: Canvas) -> tuple[Turn, ...]:
    return tuple(
        Turn(
            turn.role,
            turn.text,
            tuple(snap(box, canvas) for box in turn.boxes),
            tuple(snap_point(point, canvas) for point in turn.points),
            turn.groups,
        )
        for turn in turns
    )


def test_every_task_has_an_example_here():
    assert set(EXAMPLES) == set(TASKS)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_task_follows_the_protocol(name):
    task = load_task(name)
    assert isinstance(task, Task)
    assert task.name == name
    for turns in EXAMPLES[name]:
        assert task.grounding == any(turn.boxes or turn.points for turn in turns)


@examples
def test_example_comes_back_whole_and_is_recognised(name, turns):
    canvas = Canvas("unit", 3, 640, 480)
    text = load_task(name).encode(turns, canvas)
    assert load_task(name).decode(text, canvas) == turns
    if name != "dense_caption":
        assert recognise(text, canvas) == (name, turns)


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
    elif not any(turn.boxes or turn.points for turn in turns):
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
        assert not isinstance(found, ParseError)
        assert found[0] in {name, *ALSO.get(name, ())}
        assert found[1] == turns


@pytest.mark.parametrize("name", sorted(n for n in TASKS if load_task(n).grounding))
@given(box=boxes, canvas=canvases)
@example(box=Box(0.0, 0.0, 1.0, 1.0), canvas=Canvas("padded_square", 2, 333, 1000))
@example(box=Box(0.9999, 0.0, 0.9999, 0.0), canvas=Canvas("padded_square", 1, 1, 3000))
def test_places_off_the_grid_come_back_within_half_a_step(name, box, canvas):
    # A corner is the point of a box that rounding is most likely to push out of it.
    corner, size = Point(box.x1, box.y0), (canvas.width, canvas.height)
    for example_turns in EXAMPLES[name]:
        turns = tuple(
            Turn(t.role, t.text, (box,) * len(t.boxes), (corner,) * len(t.points), t.groups)
            for t in example_turns
        )
        back = load_task(name).decode(load_task(name).encode(turns, canvas), canvas)
        assert not isinstance(back, ParseError)
        found = [turn.boxes for turn in back], [turn.points for turn in back]
        for kind, framed, true in zip(
            found, (box_to_frame, point_to_frame), (box, corner), strict=True
        ):
            for place in (one for of_turn in kind for one in of_turn):
                pairs = zip(
                    framed(true, canvas.frame, *size),
                    framed(place, canvas.frame, *size),
                    strict=True,
                )
                assert all(abs(a - b) <= canvas.step / 2 + 1e-9 for a, b in pairs)


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
