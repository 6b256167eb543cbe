"""Each task's own reasons, beyond what all tasks share."""

import pytest

from genixer.tasks import load_task
from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.recognise import recognise

BOX, OTHER, POINT = "[0.1,0.2,0.3,0.4]", "[0.5,0.5,0.9,0.9]", "[0.1,0.4]"
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
        ("common_vqa", f"Question: what {POINT}? Answer: cat", "boxes_not_supported"),
        ("rec", f"Question: where? Answer: {POINT}", "points_not_supported"),
        ("reg", f"Question: what is {POINT}? Answer: cat", "points_not_supported"),
        ("point_qa", "Question: what? Answer: cat", "no_place"),
        ("point_qa", f"Question: {BOX} or {POINT}? Answer: cat", "several_places"),
        ("point_qa", f"Question: what?\nA. b\nB. {BOX} Answer: A", "wrong_task"),
        ("point_qa", f"Question: {BOX}? Answer: a\nQuestion: {BOX}? Answer: b", "wrong_task"),
        ("point_qa", f"Question: which? {BOX} Answer: {BOX}", "too_few_candidates"),
        ("point_qa", f"Question: which? {BOX} {BOX} Answer: {OTHER}", "answer_not_a_candidate"),
        ("point_qa", f"Question: which? {BOX} {POINT} Answer: [0.2,0.5]", "answer_not_a_candidate"),
        ("point_qa", f"Question: which? {BOX} {OTHER} Answer: the {BOX}", "extra_text"),
        ("point_qa", f"Question: which? {BOX} {OTHER} Answer: {BOX}.", "extra_text"),
        ("point_qa", f"Question: which? {BOX} {OTHER} Answer: {BOX} {BOX}", "several_places"),
        ("qcboxa", "Question: why? Answer: so. The answer is no.", "no_box"),
        ("qcboxa", f"Question: why? Answer: {BOX}", "no_reasoning"),
        ("qcboxa", f"Question: why? Answer: cat {BOX}, dog {OTHER}", "wrong_task"),
        ("qcboxa", f"Question: why?\nA. b\nB. c Answer: the cat {BOX} is", "wrong_task"),
        ("qcboxa", f"Question: why? {POINT} Answer: the cat {BOX} is", "points_not_supported"),
        ("qcboxa", f"Question: a Answer: b {BOX} c\nQuestion: d Answer: {BOX}", "wrong_task"),
        ("rd", "Question: a Answer: b\nQuestion: c Answer: d", "no_place"),
        ("rd", f"Question: where? Answer: {BOX}", "wrong_task"),
        ("rd", f"Question: where? Answer: {BOX}.", "wrong_task"),
        ("rd", f"Question: which? {BOX} {OTHER} Answer: {BOX}", "wrong_task"),
        ("rd", f"Question: list Answer: cat {BOX}, dog {BOX}", "wrong_task"),
        ("rd", f"Question: what?\nA. b\nB. {BOX} Answer: A", "wrong_task"),
        ("dense_caption", f"Question: {POINT} Answer: cat {BOX}", "points_not_supported"),
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
    ("text", "task"),
    [
        (f"Question: What is at {BOX}? Answer: cat", "reg"),
        (f"Question: What color is it? {BOX} Answer: red", "point_qa"),
        (f"Question: How many legs has {BOX}? Answer: 4", "point_qa"),
        (f"Question: Is it red? {BOX} Answer: Yes.", "point_qa"),
        (f"Question: What is it? {POINT} Answer: cat", "point_qa"),
        (f"Question: Which? {BOX} {OTHER} Answer: {OTHER}", "point_qa"),
        (f"Question: Which? {BOX} {OTHER} Answer: [0.5,0.9]", "point_qa"),
        (f"Question: Which? {POINT} {BOX} Answer: {POINT}", "point_qa"),
        (f"Question: Is {BOX} by {OTHER}? Answer: no", "rd"),
        (f"Question: Who? Answer: The man {BOX} sits.", "rd"),
        (f"Question: Who? Answer: The men [{BOX[1:-1]};{OTHER[1:-1]}] sit.", "rd"),
        (f"Question: Who? {BOX} Answer: cat {OTHER}", "rd"),
        (f"Question: Who? Answer: The man {BOX} sits. So the answer is him.", "qcboxa"),
        (f"Question: Who? Answer: The answer is him {BOX}.", "rd"),
        (f"Question: Who? Answer: By {BOX}: the answer is no. He {OTHER} sits.", "rd"),
        (f"Question: Who? Answer: a\nQuestion: Where? Answer: {BOX}", "rd"),
    ],
)
def test_the_form_of_a_text_with_places_tells_its_task(text, task):
    found = recognise(text, CANVAS)
    assert not isinstance(found, ParseError), found
    assert found[0] == task


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"Question: Where? Answer: {BOX}.", "extra_text"),
        (f"Question: Where? Answer: {BOX} {BOX}", "several_boxes"),
        (f"Question: Where? Answer: {POINT}", "points_not_supported"),
        (f"Question: Which? {BOX} {BOX} Answer: {OTHER}", "answer_not_a_candidate"),
        ("what a nice day", "no_question"),
        (f"Question: list Answer: cat {BOX}", "extra_text"),
        ("Question: what?\nA. b\nB. c Answer: b", "answer_not_a_letter"),
    ],
)
def test_text_of_no_task_is_not_recognised(text, reason):
    found = recognise(text, CANVAS)
    assert isinstance(found, ParseError)
    assert found.reason == reason
