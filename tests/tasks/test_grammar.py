import pytest

from genixer.data import Box, Point, Turn
from genixer.errors import CannotEncodeError
from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.grammar import (
    UnreadableError,
    decode_pairs,
    encode_pairs,
    read_turn,
    write_box,
    write_point,
    write_turn,
)

TENTHS = Canvas("unit", 1)
HALF = Box(0.0, 0.0, 0.5, 1.0)
REST = Box(0.5, 0.0, 1.0, 1.0)


def free(turns):
    return ""


def reason_of(*turns: Turn, canvas: Canvas = TENTHS) -> str:
    with pytest.raises(CannotEncodeError) as caught:
        encode_pairs(turns, canvas, free)
    return caught.value.reason


def test_boxes_are_written_in_the_frame_of_the_canvas():
    box = Box(0.25, 0.0, 0.5, 1.0)
    assert write_box([box], Canvas("unit", 3)) == "[0.250,0.000,0.500,1.000]"
    assert write_box([box], Canvas("pixel", 0, 640, 480)) == "[160,0,320,480]"
    assert write_box([box], Canvas("padded_square", 2, 200, 100)) == "[0.25,0.25,0.50,0.75]"
    assert write_box([box], Canvas("per_999", 0)) == "[250,0,500,999]"


def test_boxes_of_one_phrase_share_a_bracket_and_come_back_as_a_group():
    turn = Turn("assistant", "two cats <box><box>, a dog <box>", (HALF, REST, HALF), (), (2, 1))
    text = write_turn(turn, TENTHS)
    assert text == "two cats [0.0,0.0,0.5,1.0;0.5,0.0,1.0,1.0], a dog [0.0,0.0,0.5,1.0]"
    assert read_turn("assistant", text, TENTHS) == turn


def test_points_are_written_in_the_frame_of_the_canvas():
    point = Point(0.25, 0.5)
    assert write_point(point, Canvas("unit", 3)) == "[0.250,0.500]"
    assert write_point(point, Canvas("pixel", 0, 640, 480)) == "[160,240]"
    assert write_point(Point(0.25, 0.0), Canvas("padded_square", 2, 200, 100)) == "[0.25,0.25]"
    assert write_point(point, Canvas("per_999", 0)) == "[250,500]"


def test_points_and_boxes_of_a_turn_keep_their_order():
    boxes, points = (HALF, REST, HALF), (Point(0.1, 0.2), Point(0.3, 1.0))
    text = "from <point> to <box><box> by <point><box>"
    turn = Turn("user", text, boxes, points, (2, 1))
    written = write_turn(turn, TENTHS)
    assert written == (
        "from [0.1,0.2] to [0.0,0.0,0.5,1.0;0.5,0.0,1.0,1.0] by [0.3,1.0][0.0,0.0,0.5,1.0]"
    )
    assert read_turn("user", written, TENTHS) == turn


def test_a_group_does_not_reach_over_a_point():
    turn = Turn("assistant", "<box><point><box>", (HALF, REST), (Point(0.1, 0.2),), (2,))
    assert reason_of(Turn("user", "where?"), turn) == "group_not_adjacent"


@pytest.mark.parametrize(
    ("text", "groups", "reason"),
    [("<box> <box>", (2,), "group_not_adjacent"), ("<box><box>", (1, 1), "needless_groups")],
)
def test_groups_that_would_not_come_back_are_refused(text, groups, reason):
    turn = Turn("assistant", text, (HALF, REST), (), groups)
    assert reason_of(Turn("user", "where?"), turn) == reason


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("what Question: is it", "cat", "delimiter"),
        ("what is it", "the Answer: cat", "delimiter"),
        ("what is it ", "cat", "outer_space"),
        ("what is it", "\u00a0cat", "outer_space"),
        ("", "cat", "empty_question"),
        ("what is it", " ", "empty_answer"),
        ("what is in [0.1, 2]", "cat", "box_look_alike"),
        ("what is <image>", "cat", "image_mark"),
        ("what is \ud800", "cat", "lone_surrogate"),
        ("what is it", "\udfff", "lone_surrogate"),
    ],
)
def test_text_that_could_be_read_in_two_ways_is_refused(question, answer, reason):
    assert reason_of(Turn("user", question), Turn("assistant", answer)) == reason


def test_only_whole_pairs_can_be_written():
    ask, say = Turn("user", "what?"), Turn("assistant", "cat")
    assert reason_of() == reason_of(ask) == reason_of(say, ask) == reason_of(ask, say, ask)
    assert reason_of(ask) == "not_pairs"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no_question"),
        ("cat", "no_question"),
        (" Question: a Answer: b", "no_question"),
        ("Question: a", "no_answer"),
        ("Question: Answer: b", "empty_question"),
        ("Question:  Answer: b", "empty_question"),
        ("Question: a Answer:", "empty_answer"),
        ("Question: a Answer: ", "empty_answer"),
        ("Question: a Answer: b Question: c", "extra_text"),
        ("Question: a Answer: b\nAnswer: c", "extra_text"),
        ("Question: a Answer: b\n", "outer_space"),
        ("Question: a\nAnswer: b", "no_answer"),
        ("Question: <image> Answer: b", "image_mark"),
        ("Question: a Answer: b\udc00", "lone_surrogate"),
        ("Question: a Answer: [0.1,0.2,0.3]", "bad_box"),
        ("Question: a Answer: [0.1,0.2,0.3,0.40]", "bad_box"),
        ("Question: a Answer: [0.1, 0.2, 0.3, 0.4]", "bad_box"),
        ("Question: a Answer: [0.1,0.2,0.3,0.4;]", "bad_box"),
        ("Question: a Answer: [-0.1,0.2,0.3,0.4]", "bad_box"),
        ("Question: a Answer: [0.5,0.2,0.3,0.4]", "box_inverted"),
        ("Question: a Answer: [0.1,0.2,1.2,0.4]", "box_outside"),
        (f"Question: a Answer: [{'9' * 400}.0,0.2,1.2,0.4]", "box_inverted"),
        ("Question: a Answer: [0.1,0.20]", "bad_point"),
        ("Question: a Answer: [0.1, 0.2]", "bad_point"),
        ("Question: a Answer: [.1,0.2]", "bad_point"),
        ("Question: a Answer: [-0.1,0.2]", "bad_point"),
        ("Question: a Answer: [0.1;0.2]", "bad_box"),
        ("Question: a Answer: [0.1,0.2;0.3,0.4]", "bad_box"),
        ("Question: a Answer: [0.1,1.2]", "point_outside"),
        (f"Question: a Answer: [{'9' * 400}.0,0.2]", "point_outside"),
    ],
)
def test_text_that_breaks_the_grammar_is_named(text, reason):
    found = decode_pairs(text, TENTHS, free)
    assert isinstance(found, ParseError)
    assert found.reason == reason


def test_a_corner_one_step_into_the_padding_is_moved_to_the_edge_and_no_further():
    canvas = Canvas("padded_square", 2, 200, 100)
    turn = read_turn("assistant", "[0.00,0.24,1.00,0.76]", canvas)
    assert turn.boxes == (Box(0.0, 0.0, 1.0, 1.0),)
    with pytest.raises(UnreadableError, match="box_outside"):
        read_turn("assistant", "[0.00,0.23,1.00,0.75]", canvas)


def test_a_point_one_step_into_the_padding_is_moved_to_the_edge_and_no_further():
    canvas = Canvas("padded_square", 2, 200, 100)
    assert read_turn("user", "[1.00,0.24]", canvas).points == (Point(1.0, 0.0),)
    with pytest.raises(UnreadableError, match="point_outside"):
        read_turn("user", "[1.00,0.23]", canvas)


def test_a_frame_mixed_up_is_found_out_not_rescaled():
    with pytest.raises(UnreadableError, match="bad_box"):
        read_turn("assistant", "[100,200,300,400]", Canvas("unit", 3))
