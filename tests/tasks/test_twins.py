import random

import pytest

from genixer.data import Box, ImageRef, Origin, Sample, Turn
from genixer.tasks.twins import OTHER_PLACE, wrong_twin

HERE, THERE = ImageRef("a.png", 64, 64, "aa"), ImageRef("b.png", 64, 64, "bb")
LEFT, RIGHT = Box(0.1, 0.1, 0.4, 0.5), Box(0.6, 0.1, 0.9, 0.5)


def make(task, question, answer, image=HERE, kind="", boxes=((), ())):
    turns = Turn("user", question, boxes[0]), Turn("assistant", answer, boxes[1])
    return Sample.of(task, image, turns, Origin("test", question_type=kind))


def answers(sample, pool=(), draws=60):
    twins = [wrong_twin(sample, pool, random.Random(seed)) for seed in range(draws)]
    return {twin.turns[1].text for twin in twins if twin is not None}


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ("yes", {"no"}),
        ("No", {"Yes"}),
        ("3", {"2", "4"}),
        ("0", {"1"}),
        ("three", {"two", "four"}),
        ("Zero", {"One"}),
        ("I see 2.", {"I see 1.", "I see 3."}),
        ("left", {"right"}),
        ("It is above.", {"It is below."}),
    ],
)
def test_yes_and_numbers_get_the_nearest_wrong_answer(answer, wrong):
    assert answers(make("common_vqa", "?", answer)) == wrong


def test_a_wrong_answer_is_one_that_the_question_type_was_given_elsewhere():
    sample = make("common_vqa", "What is left of the cat?", "dog", kind="what is")
    pool = [
        make("common_vqa", "What is right of it?", "bee", kind="what is"),
        make("common_vqa", "What is this?", "owl", THERE, "what is"),
        make("common_vqa", "What color?", "red", kind="what is"),
        make("common_vqa", "Is it?", "yes", kind="what is"),
        make("common_vqa", "How?", "slowly", kind="how"),
        sample,
    ]
    assert answers(sample, pool) == {"bee", "owl"}


def test_another_right_answer_to_the_same_question_is_never_taken():
    sample = make("common_vqa", "What is there?", "dog")
    pool = [make("common_vqa", "What is there?", "bee"), make("common_vqa", "And?", "Dog")]
    assert answers(sample, pool) == set()


def test_a_color_becomes_another_color_even_without_a_pool():
    wrong = answers(make("common_vqa", "What color is it?", "red"))
    assert "blue" in wrong
    assert "red" not in wrong


def test_a_choice_gets_another_letter_of_its_options():
    assert answers(make("mc_vqa", "What?\nA. a\nB. b\nC. c", "B")) == {"A", "C"}


def test_a_wrong_box_lies_elsewhere_and_often_on_another_object():
    sample = make("rec", "Where is it?", "<box>", boxes=((), (LEFT,)))
    other = make("reg", "What is at <box>?", "owl", boxes=((RIGHT,), ()))
    found = []
    for seed in range(100):
        twin = wrong_twin(sample, [other], random.Random(seed))
        found.append(twin.turns[1].boxes[0])
        assert found[-1].iou(LEFT) < OTHER_PLACE
    assert 30 < found.count(RIGHT) < 70


def test_a_wrong_box_is_found_without_a_pool_for_the_whole_image_too():
    whole = make("rec", "Where is it?", "<box>", boxes=((), (Box(0.0, 0.0, 1.0, 1.0),)))
    twin = wrong_twin(whole, [], random.Random(1))
    assert twin is None or twin.turns[1].boxes[0].iou(Box(0.0, 0.0, 1.0, 1.0)) < OTHER_PLACE


def test_a_wrong_expression_names_another_object_of_the_image():
    sample = make("reg", "What is at <box>?", "cat", boxes=((LEFT,), ()))
    pool = [
        make("reg", "What is in <box>?", "black cat", boxes=((LEFT,), ())),
        make("dense_caption", "List.", "owl <box>, cat <box>", boxes=((), (RIGHT, LEFT))),
        make("reg", "What is in <box>?", "bee", THERE, "insect", boxes=((RIGHT,), ())),
        make("reg", "What is in <box>?", "cat on the left", THERE, boxes=((RIGHT,), ())),
    ]
    # An expression from elsewhere that shares a word with a right one may be right as well.
    assert answers(sample, pool) == {"owl", "bee"}


def test_a_color_or_a_side_in_an_expression_is_changed():
    sample = make("reg", "What is at <box>?", "left red book", boxes=((LEFT,), ()))
    wrong = answers(sample)
    assert "right red book" in wrong
    assert wrong & {"left blue book", "left green book", "left black book"}
    assert "left red book" not in wrong


def test_a_dialogue_gets_one_wrong_answer():
    turns = (
        *(Turn("user", "How many?"), Turn("assistant", "2")),
        *(Turn("user", "Is it new?"), Turn("assistant", "yes")),
    )
    sample = Sample.of("md", HERE, turns, Origin("test"))
    for seed in range(20):
        twin = wrong_twin(sample, [], random.Random(seed))
        changed = [a != b for a, b in zip(twin.turns, turns, strict=True)]
        assert sum(changed) == 1
        assert changed[1] or changed[3]


def test_a_twin_knows_its_parent_and_has_an_id_of_its_own():
    sample = make("adv_vqa", "Is there a cat?", "no")
    twin = wrong_twin(sample, [], random.Random(1))
    assert twin.origin.parents == (sample.id,)
    assert twin.id != sample.id
    assert twin == wrong_twin(sample, [], random.Random(1))
