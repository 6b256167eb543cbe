import json

import msgspec
import pytest
from pydantic import ValidationError

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
from genixer.errors import ConfigError
from genixer.stages.decode import DecodeSettings, DecodeStage, prompt_digest

CAT = ImageRef("cat.png", 200, 100, "ab12")


def generation(text, task="common_vqa", mode="specific", finish="stop", logprobs=(-0.5, -1.5), **f):
    request = Request.of(CAT, task, mode, 0, "Ask.", Sampling(seed=11))
    completion = Completion(request.id, text, (1,) * len(logprobs), logprobs, finish)
    return Generation(request.id, request, completion, generator="base", revision="r1", **f)


def decode(run_stage, *rows, readers=(), name="this"):
    return run_stage(DecodeStage(DecodeSettings(readers=readers)), rows, name=name)


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
        ("Question: What is [0.250,0.500]? Answer: cat", "point_qa"),
        ("Question: Who? Answer: By [0.250,0.250,0.500,0.750]: the answer is him", "qcboxa"),
        ("Question: Who? Answer: He [0.250,0.250,0.500,0.750].\nQuestion: Old? Answer: no", "rd"),
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
    assert [(q.where, q.reason) for q in done.quarantines] == [(rows[3].id, "backend_error")]


def test_without_log_probabilities_there_is_no_score(run_stage):
    (sample,) = kept(decode(run_stage, generation("Question: What? Answer: cat", logprobs=())))
    assert sample.origin.scores == {}


FOREIGN = [
    generation("Question: What? Answer: cat"),
    generation('{"question": "What?", "answer": "dog"}'),
    generation("Q: What? A: owl", "", "agnostic"),
    generation("Q: Where? A: [0.10,0.20,0.30]", "rec", decimals=2),
    generation("Q: What? A: c", finish="length"),
    generation("what?"),
]


def test_no_lenient_reader_is_tried_unless_it_is_named(run_stage):
    done = decode(run_stage, *FOREIGN)
    assert [r.reason for r in done.rejects] == [*["no_question"] * 3, "cut_off", "no_question"]
    assert [sample.origin.reader for sample in kept(done)] == [""]
    assert not list(done.files.iterdir())


def test_a_row_that_a_lenient_reader_has_read_says_so_and_is_counted(run_stage):
    done = decode(run_stage, *FOREIGN, readers=("json", "marks", "bold"))
    found = [(sample.turns[1].text, sample.origin.reader) for sample in kept(done)]
    assert found == [("cat", ""), ("dog", "json"), ("owl", "marks")]
    # A text in the form of a reader is refused for what is wrong inside.
    assert [r.reason for r in done.rejects] == ["bad_box", "cut_off", "no_question"]
    counts = json.loads((done.files / "readers.json").read_bytes())
    assert counts == {"codec": 1, "json": 1, "marks": 1, "bold": 0}


def test_the_turns_and_so_the_id_do_not_tell_who_read_them(run_stage):
    one = generation("Question: What? Answer: cat")
    other = generation("Q: What? A: cat")
    (strict,) = kept(decode(run_stage, one))
    (lenient,) = kept(decode(run_stage, other, readers=("marks",), name="other"))
    assert strict.id == lenient.id


@pytest.mark.parametrize(
    ("readers", "message"),
    [(("mark",), "did you mean marks"), (("json", "json"), "a reader stands twice")],
)
def test_readers_are_known_and_stand_once(readers, message):
    with pytest.raises(ValidationError, match=message):
        DecodeSettings(readers=readers)


def test_a_request_for_a_task_names_it(run_stage):
    with pytest.raises(ConfigError, match="names no task"):
        decode(run_stage, generation("What?", ""))


def test_a_kind_that_was_asked_for_is_checked_and_noted(run_stage):
    rows = []
    for answer in ("yes", "a cat"):
        row = generation(f"Question: Is it old? Answer: {answer}")
        request = Request.of(CAT, "common_vqa", "specific", 0, "Ask.", Sampling(), "yes_no")
        rows.append(msgspec.structs.replace(row, id=request.id, request=request))
    done = decode(run_stage, *rows)
    (sample,) = kept(done)
    assert (sample.turns[1].text, sample.origin.question_type) == ("yes", "yes_no")
    assert [one.reason for one in done.rejects] == ["other_kind"]
