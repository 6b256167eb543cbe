"""The embedded world: exact truth, ordinary files, the same bytes every time."""

import json
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genixer.data import Box, ImageRef, Origin, Sample, Turn, random_for
from genixer.sources.scene_art import BACKGROUNDS, CAST, KINDS, background, plural, sprite
from genixer.sources.scene_files import annotation_files
from genixer.sources.scene_questions import FORMS, answer_to, ask_all, ask_existence, expressions
from genixer.sources.scene_truth import check
from genixer.sources.scenes import Look, Scene, compose, draw, picture_bytes

LOOK = Look(backgrounds=tuple(BACKGROUNDS), tilt=15, mirror=0.5)


def scene_of(index: int) -> Scene:
    return compose(3, "pool", index, LOOK)


def sample_of(scene: Scene, task: str, question: Turn, answer: Turn) -> Sample:
    image = ImageRef(scene.image, scene.width, scene.height, "00")
    return Sample.of(task, image, (question, answer), Origin("test"))


def test_world_has_at_least_32_classes_and_four_that_come_in_colours():
    assert len(KINDS) >= 32
    assert {art.kind for art in CAST.values() if art.color} == {"circle", "square", "heart", "book"}


@pytest.mark.parametrize("name", CAST)
def test_every_drawing_is_in_the_font_and_looks_like_no_other(name):
    ink = np.asarray(sprite(name).resize((24, 24)), dtype=float)
    others = [np.asarray(sprite(n).resize((24, 24)), dtype=float) for n in CAST if n != name]
    assert min(np.abs(ink - other).mean() for other in others) > 2


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_boxes_lie_inside_and_do_not_overlap(index):
    scene = scene_of(index)
    assert 1 <= len(scene.things) <= 5
    for number, thing in enumerate(scene.things):
        x0, y0, x1, y1 = thing.box
        assert 0 <= x0 < x1 <= scene.width
        assert 0 <= y0 < y1 <= scene.height
        for other in scene.things[:number]:
            a, b = Box(*(v / 256 for v in thing.box)), Box(*(v / 256 for v in other.box))
            assert a.iou(b) == 0


def test_box_is_where_the_ink_is():
    scene = scene_of(5)
    with_things = np.asarray(draw(scene, 3), dtype=int)
    rng = random_for(3, f"draw/{scene.pool}", str(scene.id))
    empty = np.asarray(background(scene.background, scene.width, scene.height, rng), dtype=int)
    changed = np.abs(with_things - empty).sum(-1) > 0
    for x0, y0, x1, y1 in (thing.box for thing in scene.things):
        inside = changed[y0:y1, x0:x1]
        assert inside.any(0).mean() > 0.9
        assert inside.any(1).mean() > 0.9
        changed[y0:y1, x0:x1] = False
    assert not changed.any()


def test_scene_and_picture_depend_on_seed_pool_and_number_alone():
    assert picture_bytes(draw(scene_of(7), 3)) == picture_bytes(draw(scene_of(7), 3))
    assert scene_of(7) != scene_of(8)
    assert compose(3, "other", 7, LOOK).things != scene_of(7).things


def test_questions_are_answered_by_counting_what_is_there():
    for index in range(60):
        scene = scene_of(index)
        names = [thing.name for thing in scene.things]
        for asked in ask_all(scene, random_for(1, "t", str(index))):
            assert asked.answer not in asked.wrong
            if asked.kind == "total":
                assert asked.answer == str(len(names))
        for name in set(names):
            assert answer_to("existence", scene, name) == "yes"
            expected = sum(name in (t.name, t.kind) for t in scene.things)
            assert answer_to("count", scene, name) == str(expected)


def test_existence_questions_are_balanced():
    answers = [
        asked.answer
        for i in range(80)
        for asked, _ in ask_existence(scene_of(i), random_for(1, "e", str(i)))
    ]
    assert 0.45 < answers.count("yes") / len(answers) < 0.55


def test_a_name_by_itself_does_not_tell_whether_it_is_there():
    said = {"yes": Counter(), "no": Counter()}
    for i in range(400):
        for asked, split in ask_existence(scene_of(i), random_for(1, "e", str(i))):
            said[asked.answer][split] += 1
    for split in ("random", "adversarial"):
        yes, no = said["yes"][split], said["no"][split]
        assert 0.45 < yes / (yes + no) < 0.55


def test_expression_means_one_thing_only():
    for index in range(80):
        scene = scene_of(index)
        said = [text for thing in scene.things for text in expressions(scene, thing)]
        assert len(said) == len(set(said))


def test_truth_agrees_with_every_question_asked_and_refutes_every_wrong_answer():
    for index in range(60):
        scene = scene_of(index)
        for asked in ask_all(scene, random_for(1, "t", str(index))):
            question = Turn("user", asked.question)
            right = sample_of(scene, "common_vqa", question, Turn("assistant", asked.answer))
            assert check(right, scene).verdict == "right", asked
            for wrong in asked.wrong:
                sample = sample_of(scene, "common_vqa", question, Turn("assistant", wrong))
                truth = check(sample, scene)
                assert truth.verdict == "wrong"
                assert truth.true_turns[1].text == asked.answer


def test_truth_of_boxes_and_names():
    scene = next(s for s in map(scene_of, range(200)) if len({t.kind for t in s.things}) >= 3)
    thing, other = scene.things[0], next(t for t in scene.things if t.kind != scene.things[0].kind)
    expression = expressions(scene, thing)
    if not expression:
        scene = next(
            s
            for s in map(scene_of, range(200))
            if len({t.kind for t in s.things}) == len(s.things) >= 3
        )
        thing, other = scene.things[:2]
        expression = expressions(scene, thing)

    def box(of):
        x0, y0, x1, y1 = of.box
        return Box(x0 / scene.width, y0 / scene.height, x1 / scene.width, y1 / scene.height)

    asks = Turn("user", f"Where is the {expression[0]}?")
    assert (
        check(
            sample_of(scene, "rec", asks, Turn("assistant", "<box>", (box(thing),))), scene
        ).verdict
        == "right"
    )
    assert (
        check(
            sample_of(scene, "rec", asks, Turn("assistant", "<box>", (box(other),))), scene
        ).verdict
        == "wrong"
    )
    names = Turn("user", "What is in <box>?", (box(thing),))
    assert (
        check(sample_of(scene, "reg", names, Turn("assistant", thing.name)), scene).verdict
        == "right"
    )
    assert (
        check(sample_of(scene, "reg", names, Turn("assistant", other.name)), scene).verdict
        == "wrong"
    )
    nonsense = Turn("user", "What is the meaning of it all?")
    assert (
        check(sample_of(scene, "common_vqa", nonsense, Turn("assistant", "42")), scene).verdict
        == "unknown"
    )


def test_truth_of_a_choice():
    scene = next(s for s in map(scene_of, range(100)) if s.things[0].name == s.things[0].kind)
    absent = [name for name in CAST if not any(name in (t.name, t.kind) for t in scene.things)][:3]
    options = "\n".join(
        f"{k}. {v}" for k, v in zip("ABCD", [*absent, scene.things[0].name], strict=True)
    )
    question = Turn("user", f"Which of these is in the image?\n{options}")
    assert (
        check(sample_of(scene, "mc_vqa", question, Turn("assistant", "D")), scene).verdict
        == "right"
    )
    assert (
        check(sample_of(scene, "mc_vqa", question, Turn("assistant", "A")), scene).verdict
        == "wrong"
    )


def test_annotation_files_have_the_published_layouts():
    scenes = [scene_of(i) for i in range(12)]
    files = annotation_files(scenes, 3, vqa_per_image=4, mc_per_image=2)
    assert files == annotation_files(scenes, 3, vqa_per_image=4, mc_per_image=2)
    questions = json.loads(files["vqav2_questions.json"])["questions"]
    annotations = json.loads(files["vqav2_annotations.json"])["annotations"]
    assert [q["question_id"] for q in questions] == [a["question_id"] for a in annotations]
    assert all(len(a["answers"]) == 10 for a in annotations)
    assert max(sum(q["image_id"] == s.id for q in questions) for s in scenes) <= 4
    for line in files["pope.jsonl"].splitlines():
        assert set(json.loads(line)) == {"question_id", "image", "text", "label", "category"}
    for row in json.loads(files["aokvqa.json"]):
        assert len(set(row["choices"])) == 4
        assert row["choices"][row["correct_choice_idx"]] == row["direct_answers"][0]
    instances = json.loads(files["instances.json"])
    annotated = {one["id"]: one for one in instances["annotations"]}
    assert all(ref["ann_id"] in annotated for ref in json.loads(files["refs.json"]))
    x, y, w, h = annotated[0]["bbox"]
    assert (x, y, x + w, y + h) == scenes[0].things[0].box
    assert b"CC BY-SA 4.0" in files["LICENSE.txt"]


def test_forms_name_their_slots_and_plurals_are_distinct():
    assert all(
        re.findall(r"\{(as|a|b)\}", form) or kind in ("total", "background")
        for kind in FORMS
        for form in FORMS[kind]
    )
    assert len({plural(name) for name in CAST}) == len(CAST)
