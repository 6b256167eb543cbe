"""Generated samples are held against the truth; what it cannot say is unknown."""

import json

from genixer.data import Box, ImageRef, Measured, Origin, Point, Sample, Turn
from genixer.sources.scenes import Look, Scene, compose
from genixer.stages.base import StageSettings
from genixer.stages.measure import CorrectStage, MeasureStage

SCENES = [compose(3, "pool", i, Look(backgrounds=("sky",))) for i in range(4)]


def sample(scene: Scene, question: str, answer: str) -> Sample:
    image = ImageRef(scene.image, scene.width, scene.height, scene.image)
    turns = (Turn("user", question), Turn("assistant", answer))
    return Sample.of("common_vqa", image, turns, Origin("genixer", "CC BY-SA 4.0"))


RIGHT = sample(SCENES[0], "What is in the background?", "sky")
WRONG = sample(SCENES[1], "How many objects are there?", "9")
ODD = sample(SCENES[2], "Why?", "because")
ELSEWHERE = sample(
    compose(3, "other", 0, Look(backgrounds=("sky",))), "What is in the background?", "sky"
)


def test_verdicts_and_the_table_of_kept_rows(run_stage, memory_step):
    roles = {
        "rows": [memory_step([RIGHT, WRONG, ODD, ELSEWHERE])],
        "world": [memory_step(SCENES)],
        "kept": [memory_step([RIGHT, ODD])],
    }
    done = run_stage(MeasureStage(StageSettings()), roles)
    found = list(done.rows(Measured))
    assert [one.verdict for one in found] == ["right", "wrong", "unknown", "unknown"]
    assert found[1].kind == "total"
    assert found[3].detail == "not of this world"
    tables = json.loads((done.files / "precision.json").read_bytes())
    assert tables["raw"]["common_vqa"] == {"right": 1, "wrong": 1, "unknown": 2}
    assert tables["kept"]["common_vqa"] == {"right": 1, "wrong": 0, "unknown": 1}


def test_true_words_about_a_place_are_unknown_and_false_ones_beside_them_wrong(
    run_stage, memory_step
):
    scene = SCENES[0]
    image = RIGHT.image
    here, box = Point(0.5, 0.5), Box(0.1, 0.1, 0.5, 0.5)
    ask, true = RIGHT.turns
    placed = (
        Turn("user", "What is at <point>?", points=(here,)),
        Turn("assistant", scene.things[0].name),
    )
    reasoned = (ask, Turn("assistant", f"All <box> is {true.text}", (box,)))
    false = (ask, Turn("assistant", "snow"))
    rows = [
        Sample.of("point_qa", image, placed, Origin("genixer")),
        Sample.of("qcboxa", image, reasoned, Origin("genixer")),
        Sample.of("rd", image, (*placed, *RIGHT.turns), Origin("genixer")),
        Sample.of("rd", image, (*placed, *false), Origin("genixer")),
    ]
    roles = {"rows": [memory_step(rows)], "world": [memory_step(SCENES)]}
    done = run_stage(MeasureStage(StageSettings()), roles)
    verdicts = [one.verdict for one in done.rows(Measured)]
    assert verdicts == ["unknown", "unknown", "unknown", "wrong"]


def test_corrected_samples_have_the_true_answer_and_know_their_parent(run_stage, memory_step):
    roles = {"rows": [memory_step([RIGHT, WRONG, ODD])], "world": [memory_step(SCENES)]}
    done = run_stage(CorrectStage(StageSettings()), roles)
    right, corrected = done.rows(Sample)
    assert right.id == RIGHT.id
    assert corrected.turns[1].text == str(len(SCENES[1].things))
    assert corrected.origin.parents == (WRONG.id,)
    assert corrected.origin.licence == "CC BY-SA 4.0"
    assert [one.reason for one in done.rejects] == ["no_true_answer"]
