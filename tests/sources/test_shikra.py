import json
from pathlib import Path

import pytest

from genixer.data import Box, Point, Turn
from genixer.sources.shikra import (
    PointQaLocal,
    RefCocoJsonl,
    ShikraQcboxa,
    ShikraRd,
    Visual7WJsonl,
    marked_turn,
)
from genixer.store.entries import EntryError

FIXTURES = Path(__file__).parents[1] / "fixtures"
SOURCES = FIXTURES / "sources"
ONE, TWO = Box(0.0, 0.0, 0.5, 0.5), Box(0.5, 0.5, 1.0, 1.0)


def read(kind, **settings):
    return list(kind(kind.Settings(images=FIXTURES / "images", **settings)).read())


def test_boxes_are_corners_of_the_image_as_it_is_not_of_the_padded_square():
    rec, reg, *_ = read(RefCocoJsonl, expressions=SOURCES / "rec_shikra.jsonl")
    # 32..48 of 64 px and 24..36 of 48 px; in a padded square the second pair would differ.
    assert rec.turns[1] == Turn("assistant", "<box>", (Box(0.5, 0.5, 0.75, 0.75),))
    assert (reg.turns[0].boxes, reg.turns[1].text) == (rec.turns[1].boxes, "man in blue")


def test_the_form_of_a_question_depends_on_the_line_alone(tmp_path):
    lines = (SOURCES / "rec_shikra.jsonl").read_text().splitlines()
    path = tmp_path / "turned.jsonl"
    path.write_text("\n".join(reversed(lines)))
    whole = {row.id for row in read(RefCocoJsonl, expressions=SOURCES / "rec_shikra.jsonl")}
    assert {row.id for row in read(RefCocoJsonl, expressions=path)} == whole
    assert {row.id for row in read(RefCocoJsonl, expressions=path, tasks=("reg",))} < whole


def test_sizes_are_compared_where_a_line_tells_them(tmp_path):
    line = json.loads((SOURCES / "rec_shikra.jsonl").read_text().splitlines()[0])
    path = tmp_path / "rec.jsonl"
    path.write_text(json.dumps({key: line[key] for key in ("img_path", "expression", "bbox")}))
    assert [row.task for row in read(RefCocoJsonl, expressions=path)] == ["rec", "reg"]


def test_a_question_ends_with_the_box_or_the_point():
    rows = read(PointQaLocal, questions=SOURCES / "point_qa_local.jsonl")
    assert rows[0].turns == (
        Turn("user", "What color is the shirt? <box>", (Box(0.5, 0.5, 0.75, 0.75),)),
        Turn("assistant", "blue"),
    )
    assert rows[1].turns[0] == Turn(
        "user", "What color is the shirt? <point>", (), (Point(0.625, 0.625),)
    )
    points = read(PointQaLocal, questions=SOURCES / "point_qa_local.jsonl", places=("point",))
    assert points == rows[1::2]
    assert [row.origin.question_type for row in rows[:2]] == ["local_box", "local_point"]


def test_a_point_just_over_the_edge_is_moved_to_it(tmp_path):
    line = json.loads((SOURCES / "point_qa_local.jsonl").read_text().splitlines()[0])
    path = tmp_path / "point.jsonl"
    path.write_text(json.dumps({**line, "point": [64.5, -0.5]}))
    (row,) = read(PointQaLocal, questions=path, places=("point",))
    assert row.turns[0].points == (Point(1.0, 0.0),)
    (row,) = read(PointQaLocal, questions=path, places=("point",), slack_px=0.25)
    assert row.reason == "point_outside_image"


def test_phrases_carry_their_boxes_and_several_of_one_phrase_are_a_group():
    thought, _ = read(ShikraQcboxa, talk=SOURCES / "gpt4gen_qcboxa.jsonl")
    assert thought.turns[0].text == "Is the man <box> near the dog ?"
    assert thought.turns[1].text == (
        "The man <box> and two cups <box><box> are apart . The answer is no ."
    )
    assert thought.turns[1].groups == (1, 2)
    assert thought.turns[1].boxes[0] == thought.turns[0].boxes[0]
    assert thought.turns[0].groups == ()


def test_dialogues_end_phrases_without_starting_them_and_literal_marks_stay_words():
    talk, _ = read(ShikraRd, talk=SOURCES / "gpt4gen_rd.jsonl")
    assert talk.turns[0].text == "What is it <box> to the men <box><box> ?"
    assert talk.turns[1].text == "It <box> is their \\<box> of dogs ."
    assert len(talk.turns[1].boxes) == 1


def test_a_phrase_may_open_or_close_a_text():
    turn = marked_turn("user", "<ph_st><ph_ed> or that <ph_ed>", [[0], [1]], [ONE, TWO])
    assert turn == Turn("user", "<box> or that <box>", (ONE, TWO))


@pytest.mark.parametrize(
    ("text", "sequence", "reason"),
    [
        ("a<ph_ed> b", [], "phrases_differ"),
        ("a b", [[0]], "phrases_differ"),
        ("a<ph_ed>", [[]], "empty_group"),
        ("a<ph_ed>", [[2]], "unknown_box"),
        ("a<ph_ed>", [[-1]], "unknown_box"),
        ("  ", [], "empty_text"),
    ],
)
def test_phrases_and_boxes_that_do_not_agree_are_refused(text, sequence, reason):
    with pytest.raises(EntryError) as caught:
        marked_turn("user", text, sequence, [ONE, TWO])
    assert caught.value.reason == reason


def test_visual7w_asks_among_candidates_in_an_order_of_their_own():
    rows = read(Visual7WJsonl, questions=SOURCES / "v7w_shikra.jsonl")
    box, point = rows[:2]
    assert box.turns[0].text == (
        "Which object shows the time? Candidates: <box> <box> <box> <box> Reply with a box."
    )
    assert box.turns[1].boxes == (Box(20 / 64, 0.0, 30 / 64, 10 / 48),)
    assert box.turns[1].boxes[0] in box.turns[0].boxes
    assert point.turns[1] == Turn("assistant", "<point>", (), (Point(25 / 64, 5 / 48),))
    assert point.turns[0].boxes == box.turns[0].boxes
    assert (
        read(Visual7WJsonl, questions=SOURCES / "v7w_shikra.jsonl", answers=("box",)) == (rows[::2])
    )
