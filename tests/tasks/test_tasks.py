"""Each task's own reasons, beyond what all tasks share."""

import pytest

from genixer.tasks import load_task
from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.recognise import recognise

BOX = "[0.1,0.2,0.3,0.4]"
CANVAS = Canvas("unit", 1)


@pytest.mark.parametrize(
    ("task", "text", "reason"),
    [
        ("common_vqa", f"Question: where? Answer: {BOX}", "boxes_not_supported"),
        ("common_vqa", "Question: a\nA. b\nB. c Answer: A", "wrong_task"),
        ("common_vqa", "Question: a Answer: b\nQuestion: c Answer: d", "wrong_task"),
        ("adv_vqa", "Question: Is there a cat? Answer: maybe", "not_yes_no"),
        ("adv_vqa", "Question: Is it red? Answer: yes", "not_existence"),
        ("mc_vqa", "Question: what? Answer: A", "no_options"),
        ("mc_vqa", "Question: what?\nA. b\nB. c Answer: C", "answer_not_a_letter"),
        ("mc_vqa", "Question: what?\nA. b\nB. c Answer: b", "answer_not_a_letter"),
        ("mc_vqa", "Question: what?\nA. b\nB. b Answer: A", "duplicate_option"),
        ("mc_vqa", "Question: what?\nA. b\nC. c Answer: A", "no_options"),
        ("mc_vqa", "Question: A. b\nB. c Answer: A", "no_options"),
        ("md", "Question: a Answer: b", "one_pair_only"),
        ("md", f"Question: a Answer: b\nQuestion: c Answer: {BOX}", "boxes_not_supported"),
        ("rec", "Question: where? Answer: left", "no_box"),
        ("rec", "Question: where? Answer: [0.1,0.2", "bad_box"),
        ("rec", f"Question: where? Answer: {BOX}.", "extra_text"),
        ("rec", f"Question: where? Answer: {BOX}{BOX}", "several_boxes"),
        ("rec", f"Question: what is {BOX}? Answer: {BOX}", "box_in_question"),
        ("reg", "Question: what? Answer: cat", "no_box"),
        ("reg", f"Question: what is {BOX}? Answer: {BOX}", "box_in_answer"),
        ("reg", f"Question: what is {BOX} or {BOX}? Answer: cat", "several_boxes"),
        ("dense_caption", f"Question: list Answer: cat {BOX},dog {BOX}", "not_a_list"),
        ("dense_caption", f"Question: list Answer: {BOX}", "not_a_list"),
        ("dense_caption", "Question: list Answer: nothing", "no_box"),
    ],
)
def test_a_conversation_of_another_form_is_refused_with_its_reason(task, text, reason):
    found = load_task(task).decode(text, CANVAS)
    assert isinstance(found, ParseError)
    assert found.reason == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("what a nice day", "no_question"),
        (f"Question: list Answer: cat {BOX}", "extra_text"),
        ("Question: what?\nA. b\nB. c Answer: b", "answer_not_a_letter"),
    ],
)
def test_text_of_no_task_is_not_recognised(text, reason):
    found = recognise(text, CANVAS)
    assert isinstance(found, ParseError)
    assert found.reason == reason
