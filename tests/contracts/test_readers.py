"""What every lenient reader owes, plugins included."""

import json
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from genixer.data import Box, Point, Turn, split_marks
from genixer.errors import CannotEncodeError, UnknownNameError
from genixer.tasks import load_task
from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.grammar import join_marks, write_turn
from genixer.tasks.readers import READERS, load_reader
from genixer.tasks.readers.base import Reader, read_leniently, strict_text

CANVAS = Canvas("unit", 2, 64, 48)
ONE, TWO = Box(0.1, 0.2, 0.5, 0.75), Box(0.0, 0.0, 0.25, 0.5)
names = pytest.mark.parametrize("name", sorted(READERS))


def lines(pairs, asked, said):
    return "\n".join(
        f"{asked.format(n)} {q}\n{said.format(n)} {a}" for n, (q, a) in enumerate(pairs, 1)
    )


def as_json(pairs):
    rows = [{"question": question, "answer": answer} for question, answer in pairs]
    return json.dumps(rows[0] if len(rows) == 1 else {"conversations": rows}, ensure_ascii=False)


PRINTED = {
    "json": as_json,
    "fenced_json": lambda pairs: f"```json\n{as_json(pairs)}\n```",
    "marks": lambda pairs: lines(pairs, "Q:", "A:"),
    "bold": lambda pairs: lines(pairs, "**Question:**", "**Answer:**"),
    "numbered": lambda pairs: lines(pairs, "Q{}:", "A{}:"),
}
"""How the family of each reader prints pairs."""
LABEL = re.compile(r"\b(?:q|a|question|answer)[ \t]?[0-9]*:|\*\*|```", re.IGNORECASE)

TALKS = {
    "common_vqa": (Turn("user", "What is it?"), Turn("assistant", "a cat")),
    "adv_vqa": (Turn("user", "Is there a dog in the image?"), Turn("assistant", "no")),
    "mc_vqa": (Turn("user", "What is it?\nA. cat\nB. dog"), Turn("assistant", "B")),
    "md": (
        *(Turn("user", "What is it?"), Turn("assistant", "a cat,\nI think")),
        *(Turn("user", "Is it old?"), Turn("assistant", "no")),
    ),
    "rec": (Turn("user", "Where is the cat?"), Turn("assistant", "<box>", (ONE,))),
    "reg": (Turn("user", "What is at <box>?", (ONE,)), Turn("assistant", "black cat")),
    "point_qa": (
        Turn("user", "What is it? <point>", points=(Point(0.5, 0.25),)),
        Turn("assistant", "a cat"),
    ),
    "qcboxa": (
        Turn("user", "Who sits?"),
        Turn("assistant", "The cats <box><box>: the answer is cats", (ONE, TWO), (), (2,)),
    ),
    "rd": (
        *(Turn("user", "Who? <box>", (ONE,)), Turn("assistant", "a cat")),
        *(Turn("user", "And?"), Turn("assistant", "a dog <box>", (TWO,))),
    ),
}
HOSTILE = [
    *("Question:", "Answer:", "\nQ: ", " A: ", "**", "```", "\n", " ", "\\", '"', "{", "}]", "1. "),
    *("[0.10,0.20,0.30,0.40]", "[0.1,", "<box>", "<image>", "\ud800", "é", "\u00a0", "\x85", "\\n"),
]
fragments = st.sampled_from(HOSTILE) | st.text(max_size=6)


def read(name, text, task):
    """Turns and reader, or the reason, for a completion that the task's codec refuses."""
    codec = load_task(task)
    refused = codec.decode(text, CANVAS)
    assert isinstance(refused, ParseError)
    return read_leniently(
        text, CANVAS, [name], lambda strict: codec.decode(strict, CANVAS), refused
    )


def pairs_of(turns):
    words = [write_turn(turn, CANVAS) for turn in turns]
    return list(zip(words[::2], words[1::2], strict=True))


def test_every_reader_is_tried_here():
    assert set(PRINTED) == set(READERS)


@names
def test_reader_is_what_its_entry_says(name):
    reader = load_reader(name)
    assert isinstance(reader, Reader)
    assert reader.name == name
    assert reader.__doc__
    assert f"`{reader.other_form}`" in type(reader).__doc__, "its reasons are documented"


@names
@pytest.mark.parametrize("task", sorted(TALKS))
def test_every_task_is_read_in_the_form_of_the_family(name, task):
    text = PRINTED[name](pairs_of(TALKS[task]))
    assert read(name, text, task) == (TALKS[task], name)


@names
@given(data=st.data(), task=st.sampled_from(sorted(TALKS)))
def test_what_is_read_is_what_was_printed_or_nothing(name, data, task):
    turns = []
    for turn in TALKS[task]:
        pieces, kinds = split_marks(turn.text)
        at = data.draw(st.integers(0, len(pieces) - 1))
        cut = data.draw(st.integers(0, len(pieces[at])))
        more = data.draw(st.just("") | fragments)
        pieces[at] = pieces[at][:cut] + more + pieces[at][cut:]
        text = join_marks(pieces, kinds)
        turns.append(Turn(turn.role, text, turn.boxes, turn.points, turn.groups))
    try:
        load_task(task).encode(turns, CANVAS)
    except CannotEncodeError:
        assume(False)
    text = PRINTED[name](pairs_of(turns))
    if "json" not in name:
        # Words that look like a label make another text of it; nobody could tell.
        assume(not any(LABEL.search(turn.text) for turn in turns))
    if name == "fenced_json" and any("```" in turn.text for turn in turns):
        assert read(name, text, task).reason == "bad_fence"
    else:
        assert read(name, text, task) == (tuple(turns), name)


@names
@given(st.lists(fragments, max_size=8).map("".join), st.sampled_from(sorted(TALKS)), st.booleans())
def test_any_text_gives_pairs_or_a_reason(name, text, task, framed):
    text = PRINTED[name]([(text, "x")]) if framed else text
    found = load_reader(name).pairs(text, CANVAS)
    if isinstance(found, ParseError):
        assert re.fullmatch("[a-z]+(_[a-z]+)*", found.reason)
        return
    strict = strict_text(found)
    if not isinstance(strict, ParseError):
        turns = load_task(task).decode(strict, CANVAS)
        assert isinstance(turns, ParseError) or pairs_of(turns) == found


@names
@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ("[0.1,0.2,0.3,0.4]", "bad_box"),
        ("[0.10, 0.20, 0.30, 0.40]", "bad_box"),
        ("[0.10,0.20,0.30]", "bad_box"),
        ("[0.30,0.20,0.10,0.40]", "box_inverted"),
        ("[0.10,0.20,0.30,1.40]", "box_outside"),
        ("[10,20,30,40]", "bad_box"),
    ],
)
def test_a_box_is_never_mended(name, box, reason):
    assert read(name, PRINTED[name]([("Where is it?", box)]), "rec").reason == reason


@names
@pytest.mark.parametrize("words", ["what Question: is", "what\nQuestion: x Answer: y", "Answer: x"])
def test_words_that_hold_the_codecs_own_marks_are_refused(name, words):
    found = read(name, PRINTED[name]([(words, "cat")]), "common_vqa")
    assert isinstance(found, ParseError)
    # Where the form's own labels are the same words, they are labels too many.
    assert found.reason in ("delimiter", "labels_not_in_pairs", "mixed_labels")


@names
def test_text_of_no_family_keeps_the_reason_of_the_codec(name):
    assert read(name, "what a nice day", "common_vqa").reason == "no_question"
    assert load_reader(name).pairs("", CANVAS).reason == load_reader(name).other_form


def test_families_do_not_read_each_others_text():
    pairs = [("What is it?", "a cat")]
    for form, printed in PRINTED.items():
        for name in READERS:
            found = load_reader(name).pairs(printed(pairs), CANVAS)
            assert isinstance(found, ParseError) == (name != form), (form, name)


def test_readers_are_tried_in_order_and_the_first_form_gives_the_reason():
    def found(text):
        codec = load_task("rec")
        names = ["marks", "numbered", "json"]
        return read_leniently(
            text, CANVAS, names, lambda s: codec.decode(s, CANVAS), ParseError("strict")
        )

    assert found('{"q": "Where?", "a": [0.1, 0.2, 0.5, 0.75]}')[1] == "json"
    assert found("Q: Where? A: there").reason == "no_box"
    assert found("[0.1, 0.2]").reason == "bad_value"
    assert found("**Q:** Where? **A:** there").reason == "strict"


def test_an_unknown_reader_names_the_near_ones():
    with pytest.raises(UnknownNameError, match="did you mean marks"):
        load_reader("mark")
