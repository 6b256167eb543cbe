from pathlib import Path

import pytest
from pydantic import ValidationError

from genixer.data import Turn
from genixer.sources.vqa import Aokvqa, Pope, VqaV2
from genixer.sources.vqa_dialogue import VqaV2Dialogue

FIXTURES = Path(__file__).parents[1] / "fixtures"


def read(kind, **settings):
    base = {"images": FIXTURES / "images"}
    files = {key: FIXTURES / "sources" / value for key, value in settings.items()}
    if kind is not Pope:
        base["image_pattern"] = "{image_id}.png"
    return list(kind(kind.Settings(**base, **files)).read())


def test_vqav2_joins_questions_and_annotations_by_id_not_by_order():
    first, second, third = read(
        VqaV2, questions="vqav2_questions.json", annotations="vqav2_annotations.json"
    )
    assert first.turns == (
        Turn("user", "What is the man holding?"),
        Turn("assistant", "umbrella"),
    )
    assert second.turns[1].text == "2"
    assert second.origin.question_type == "how many"
    # Outer space goes, a literal mark is escaped.
    assert third.turns[0].text == "Is it \\<box> red?"
    assert third.image.path == "2.png"


def test_pope_is_an_existence_question_and_keeps_its_category():
    rows = read(Pope, questions="pope.jsonl")
    assert [row.turns[1].text for row in rows] == ["yes", "no", "no"]
    assert [row.origin.question_type for row in rows] == ["existence", "existence", "adversarial"]


def test_aokvqa_gives_letters_in_the_order_of_the_choices():
    first, second, _ = read(Aokvqa, questions="aokvqa.json")
    assert first.turns == (
        Turn("user", "What is he standing on?\nA. snow\nB. a lake\nC. sand\nD. grass"),
        Turn("assistant", "A"),
    )
    assert second.turns[1].text == "D"


@pytest.mark.parametrize("pattern", ["1.png", "{id}.png", "{image_id", "{image_id:zz}.png", "{}"])
def test_a_pattern_that_cannot_name_images_is_refused_early(pattern):
    with pytest.raises(ValidationError, match="image_id"):
        VqaV2.Settings(images=".", questions="q", annotations="a", image_pattern=pattern)


def test_a_dialogue_joins_the_first_questions_of_an_image_in_file_order():
    files = {
        "questions": FIXTURES / "sources" / "vqav2_dialogue_questions.json",
        "annotations": FIXTURES / "sources" / "vqav2_dialogue_annotations.json",
    }
    settings = VqaV2Dialogue.Settings(
        images=FIXTURES / "images", image_pattern="{image_id}.png", most_questions=2, **files
    )
    first, second = VqaV2Dialogue(settings).read()
    assert [turn.text for turn in first.turns] == [
        "What is the man holding?",
        "cup",
        "How many dogs are there?",
        "2",
    ]
    assert [first.task, second.turns[2].text] == ["md", "What \\<box> is it?"]
    more = settings.model_copy(update={"fewest_questions": 3, "most_questions": 8})
    rows = list(VqaV2Dialogue(more).read())
    assert len(rows[0].turns) == 6
    assert rows[1].reason == "too_few_questions"
