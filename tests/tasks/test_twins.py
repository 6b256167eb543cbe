import random

import pytest

from genixer.data import Box, ImageRef, Origin, Point, Sample, Turn
from genixer.tasks import load_task
from genixer.tasks.base import Canvas
from genixer.tasks.twins import _CHANGES, OTHER_PLACE, wrong_twin

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


def pointing(question, answer, asked=(), said=(), image=HERE):
    """A PointQA sample; places are boxes or points."""
    turns = [
        Turn(
            role,
            text,
            tuple(place for place in places if isinstance(place, Box)),
            tuple(place for place in places if isinstance(place, Point)),
        )
        for role, text, places in (("user", question, asked), ("assistant", answer, said))
    ]
    return Sample.of("point_qa", image, tuple(turns), Origin("test"))


INSIDE, OUTSIDE = Point(0.2, 0.2), Point(0.7, 0.4)


def test_an_answer_about_a_place_gets_the_number_or_color_changed():
    assert answers(pointing("How many? <box>", "3", [LEFT])) == {"2", "4"}
    assert answers(pointing("Is it new? <point>", "yes", [INSIDE])) == {"no"}
    assert "blue book" in answers(pointing("What is it? <point>", "red book", [INSIDE]))


@pytest.mark.parametrize("place", [LEFT, INSIDE])
def test_an_answer_about_a_place_becomes_that_of_another_place_of_the_image(place):
    mark = "<box>" if isinstance(place, Box) else "<point>"
    sample = pointing(f"What is it? {mark}", "cat", [place])
    pool = [
        pointing("What is this? <box>", "owl", [RIGHT]),
        pointing("What is in <box>?", "red", [RIGHT]),
        pointing("Which is it? <box> <box>", "<box>", [RIGHT, LEFT], [LEFT]),
        pointing("What is this? <box>", "a kitten", [LEFT]),
        pointing("What is <box>?", "A kitten", [RIGHT]),
        pointing("How is <box>?", "asleep", [RIGHT]),
        pointing("What is this? <box>", "bee", [RIGHT], image=THERE),
        pointing("What is it?", "nothing"),
        pointing("What is it? <point>", "bird", [OUTSIDE]),
    ]
    # A point outside a box is elsewhere; of two points one cannot say.
    assert answers(sample, pool) == {"owl", "bird"} - {"bird" if place is INSIDE else ""}


def test_of_two_points_nobody_knows_whether_they_are_on_one_thing():
    sample = pointing("What is it? <point>", "cat", [INSIDE])
    pool = [pointing("What is it? <point>", "owl", [OUTSIDE])]
    assert answers(sample, pool) == set()
    assert answers(pointing("What is it?", "red")) == set()


def test_a_wrong_candidate_is_another_place_than_the_right_one():
    near = Box(0.12, 0.1, 0.42, 0.5)
    sample = pointing("Which? <box> <box> <box>", "<box>", [LEFT, near, RIGHT], [LEFT])
    twins = [wrong_twin(sample, [], random.Random(seed)) for seed in range(20)]
    assert {twin.turns[1].boxes for twin in twins} == {(RIGHT,)}
    alone = pointing("Which? <box> <box>", "<box>", [LEFT, near], [LEFT])
    assert wrong_twin(alone, [], random.Random(1)) is None


def test_a_wrong_point_chooses_another_candidate():
    sample = pointing("Which? <box> <box>", "<point>", [LEFT, RIGHT], [INSIDE])
    twin = wrong_twin(sample, [], random.Random(1))
    assert twin.turns[1].points == (Point(0.75, 0.3),)
    among_points = pointing("Which? <point> <point>", "<point>", [INSIDE, OUTSIDE], [INSIDE])
    assert wrong_twin(among_points, [], random.Random(1)).turns[1].points == (OUTSIDE,)
    whole = Box(0.0, 0.0, 1.0, 1.0)
    nested = pointing("Which? <box> <box>", "<point>", [LEFT, whole], [INSIDE])
    assert wrong_twin(nested, [], random.Random(1)) is None


def thought(answer, *boxes, groups=()):
    turns = Turn("user", "What is it?"), Turn("assistant", answer, boxes, (), groups)
    return Sample.of("qcboxa", HERE, turns, Origin("test"))


def test_a_wrong_conclusion_is_wrong_in_the_thought_too():
    sample = thought("The red box <box> is \\<box> red. So the answer is red.", LEFT)
    texts = answers(sample) - {sample.turns[1].text}
    assert "The blue box <box> is \\<box> blue. So the answer is blue." in texts
    assert all("red" not in text for text in texts)
    yes = thought("The yes sign <box> is on: the answer is yes", LEFT)
    assert "The yes sign <box> is on: the answer is no" in answers(yes)


def test_a_box_of_a_thought_goes_to_another_phrase_or_near_by():
    words = "A man <box> and dogs <box><box> sit. The answer is him."
    far = Box(0.1, 0.6, 0.3, 0.9)
    sample = thought(words, LEFT, RIGHT, far, groups=(1, 2))
    found = set()
    for seed in range(200):
        twin = wrong_twin(sample, [], random.Random(seed)).turns[1]
        assert twin.text == words
        ((at, new),) = (
            (at, new)
            for at, (old, new) in enumerate(zip((LEFT, RIGHT, far), twin.boxes, strict=True))
            if old != new
        )
        # A box of a group never goes where another of its group is: that would still be right.
        own = (LEFT,) if at == 0 else (RIGHT, far)
        assert all(new.iou(box) < OTHER_PLACE for box in own)
        found.add((at, new if new in (LEFT, RIGHT, far) else "near"))
    assert {(0, RIGHT), (0, far), (0, "near"), (1, LEFT), (2, LEFT)} <= found


def test_a_box_never_goes_to_a_thing_that_may_be_called_the_same():
    for words in ("A dog <box> by dogs <box>.", "Here <box>, <box>.", "<box> by a dog <box>."):
        sample = thought(words, LEFT, RIGHT)
        for seed in range(60):
            boxes = wrong_twin(sample, [], random.Random(seed)).turns[1].boxes
            assert boxes not in ((RIGHT, RIGHT), (LEFT, LEFT)), words


def test_a_thought_without_a_certain_mistake_gets_none():
    assert answers(thought("Nothing is there. So the answer is a tree.")) == set()


def test_a_referential_dialogue_gets_one_wrong_answer_in_words_or_place():
    turns = (
        *(Turn("user", "Who is that? <box>", (LEFT,)), Turn("assistant", "A man.")),
        *(Turn("user", "Is he old?"), Turn("assistant", "no")),
        *(Turn("user", "And <box>?", (LEFT,)), Turn("assistant", "It is <box>.", (RIGHT,))),
        *(Turn("user", "Where?"), Turn("assistant", "<point>", points=(INSIDE,))),
    )
    sample = Sample.of("rd", HERE, turns, Origin("test"))
    changes = set()
    for seed in range(60):
        twin = wrong_twin(sample, [], random.Random(seed))
        (at,) = (at for at in range(8) if twin.turns[at] != turns[at])
        changes.add(at)
        load_task("rd").encode(twin.turns, Canvas())
    assert changes == {3, 5}
    only_points = Sample.of("rd", HERE, turns[6:], Origin("test"))
    assert wrong_twin(only_points, [], random.Random(1)) is None


def test_a_twin_knows_its_parent_and_has_an_id_of_its_own():
    sample = make("adv_vqa", "Is there a cat?", "no")
    twin = wrong_twin(sample, [], random.Random(1))
    assert twin.origin.parents == (sample.id,)
    assert twin.id != sample.id
    assert twin == wrong_twin(sample, [], random.Random(1))


@pytest.mark.parametrize("task", sorted(_CHANGES))
@pytest.mark.parametrize("count", range(6))
def test_a_sample_of_another_form_gives_no_twin_and_lends_nothing(task, count):
    def of(count, text, boxes):
        turns = [
            Turn(role, f"{text} {n} <box>" if boxes else f"{text} {n}", (LEFT,) if boxes else ())
            for n, role in zip(range(count), ("user", "assistant") * 3, strict=False)
        ]
        return Sample.of(task, HERE, tuple(turns), Origin("test"))

    pool = [of(n, "other", boxes) for n in range(6) for boxes in (False, True)]
    for boxes in (False, True):
        sample = of(count, "word", boxes)
        twins = [wrong_twin(sample, pool, random.Random(seed)) for seed in range(20)]
        if count % 2 or count == 0 or (count > 2 and task not in ("md", "rd")):
            assert twins == [None] * 20
        assert all(len(twin.turns) == count for twin in twins if twin)
