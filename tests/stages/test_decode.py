import msgspec
import pytest

from genixer.data import (
    Completion,
    Generation,
    ImageRef,
    Origin,
    Request,
    Sample,
    Sampling,
    Turn,
)
from genixer.stages.base import StageSettings
from genixer.stages.decode import DecodeStage, prompt_digest

CAT = ImageRef("cat.png", 200, 100, "ab12")


def generation(text, task="common_vqa", mode="specific", finish="stop", logprobs=(-0.5, -1.5), **f):
    request = Request.of(CAT, task, mode, 0, "Ask.", Sampling(seed=11))
    completion = Completion(request.id, text, (1,) * len(logprobs), logprobs, finish)
    return Generation(request.id, request, completion, generator="base", revision="r1", **f)


def decode(run_stage, *rows):
    return run_stage(DecodeStage(StageSettings()), rows)


def kept(done):
    return [msgspec.json.decode(row, type=Sample) for row in done.kept]


def test_a_completion_becomes_a_sample_that_knows_where_it_comes_from(run_stage):
    row = generation(" Question: What is it? Answer: cat\n")
    (sample,) = kept(decode(run_stage, row))
    assert sample.turns == (Turn("user", "What is it?"), Turn("assistant", "cat"))
    assert sample.image == CAT
    assert sample.origin == Origin(
        "genixer",
        parents=(row.request.id,),
        generator="base",
        revision="r1",
        prompt=prompt_digest("Ask."),
        mode="specific",
        seed=11,
        scores={"logprob_mean": -1.0},
    )


def test_boxes_are_read_in_the_frame_the_generator_writes(run_stage):
    text = "Question: Where is it? Answer: [0.25,0.25,0.50,0.75]"
    (sample,) = kept(decode(run_stage, generation(text, "rec", frame="padded_square", decimals=2)))
    box = sample.turns[1].boxes[0]
    assert (box.x0, box.y0, box.x1, box.y1) == (0.25, 0.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("Question: What? Answer: cat", "common_vqa"),
        ("Question: Is there a cat? Answer: yes", "adv_vqa"),
        ("Question: What?\nA. cat\nB. dog Answer: A", "mc_vqa"),
        ("Question: What? Answer: cat\nQuestion: Old? Answer: no", "md"),
        ("Question: Where? Answer: [0.250,0.250,0.500,0.750]", "rec"),
        ("Question: What is [0.250,0.250,0.500,0.750]? Answer: cat", "reg"),
    ],
)
def test_without_a_task_the_form_tells_it(run_stage, text, task):
    (sample,) = kept(decode(run_stage, generation(text, "", "agnostic")))
    assert (sample.task, sample.origin.mode) == (task, "agnostic")


def test_a_task_that_was_asked_for_is_not_taken_for_another(run_stage):
    done = decode(run_stage, generation("Question: Is it red? Answer: yes", "adv_vqa"))
    assert [reject.reason for reject in done.rejects] == ["not_existence"]


def test_every_row_is_accounted_for_with_its_reason(run_stage):
    rows = [
        generation("Question: What? Answer: cat"),
        generation("Question: What? Answer: c", finish="length"),
        generation("What?"),
        generation("", finish="error", logprobs=()),
        generation("Question: Where? Answer: [0.9,0.1,1.3,0.4]", "rec", decimals=1),
    ]
    done = decode(run_stage, *rows)
    assert len(done.kept) == 1
    assert [r.reason for r in done.rejects] == ["cut_off", "no_question", "box_outside"]
    assert msgspec.convert(done.rejects[0].row, Generation) == rows[1]
    assert done.rejects[0].scores == {"logprob_mean": -1.0}
    assert [(q.where, q.reason) for q in done.quarantined] == [(rows[3].id, "backend_error")]


def test_without_log_probabilities_there_is_no_score(run_stage):
    (sample,) = kept(decode(run_stage, generation("Question: What? Answer: cat", logprobs=())))
    assert sample.origin.scores == {}
