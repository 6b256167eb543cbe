from pathlib import Path

import pytest
from pydantic import ValidationError

from genixer.data import Box
from genixer.sources.visual7w import Visual7W
from genixer.tasks import load_task
from genixer.tasks.base import Canvas

FIXTURES = Path(__file__).parents[1] / "fixtures"


def read(**settings):
    base = {
        "images": FIXTURES / "images",
        "questions": FIXTURES / "sources" / "v7w_pointing.json",
    }
    return list(Visual7W(Visual7W.Settings(**{**base, **settings})).read())


def test_the_answer_is_one_of_the_candidates_or_a_point_in_it():
    box, point, *_ = read()
    assert box.turns[0].text == (
        "Which object shows the time? Candidates: <box> <box> <box> <box> Reply with a box."
    )
    assert box.turns[1].boxes == (Box(0.0, 0.0, 10 / 64, 10 / 48),)
    assert box.turns[1].boxes[0] in box.turns[0].boxes
    (centre,) = point.turns[1].points
    assert (centre.x, centre.y) == (5 / 64, 5 / 48)
    assert point.turns[0].boxes == box.turns[0].boxes


def test_candidates_stand_in_an_order_of_their_own():
    places = [row.turns[0].boxes.index(row.turns[1].boxes[0]) for row in read(answers=("box",))]
    assert len(set(places)) > 1
    assert places == [row.turns[0].boxes.index(row.turns[1].boxes[0]) for row in read()[::2]]


def test_split_and_answers_choose_the_rows():
    (row,) = read(split="val", answers=("point",))
    assert row.image.path == "2.png"
    assert row.origin.question_type == "which_point"
    assert read(split="test") == []
    with pytest.raises(ValidationError, match="split"):
        read(split="dev")


def test_a_box_one_pixel_outside_is_cut_off_as_the_file_has_many():
    third = read()[2]
    assert Box(0.0, 30 / 48, 9 / 64, 40 / 48) in third.turns[0].boxes
    assert read(slack_px=0)[2].reason == "box_outside_image"


@pytest.mark.parametrize("decimals", [2, 3])
def test_both_forms_of_answer_are_carried_by_the_codec(decimals):
    for row in read():
        text = load_task("point_qa").encode(row.turns, Canvas("unit", decimals, 64, 48))
        assert text.startswith("Question: Which")
