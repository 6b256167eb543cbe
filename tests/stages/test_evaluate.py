"""A model on benchmarks: ledgers, blocks, marks and scores."""

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from pydantic import ValidationError

from genixer.data import Completion, Request
from genixer.evaluation.base import Prediction, ScoreFile
from genixer.stages.evaluate import EvaluateSettings, EvaluateStage
from genixer.tasks.base import Canvas

FIXTURES = Path(__file__).parents[1] / "fixtures"
SOURCES = FIXTURES / "sources"
VQA = {
    "name": "vqav2",
    "questions": SOURCES / "vqav2_questions.json",
    "annotations": SOURCES / "vqav2_annotations.json",
    "image_pattern": "{image_id}.png",
}
POPE = {"name": "pope", "questions": SOURCES / "pope.jsonl"}
REC = {"name": "rec", "refs": SOURCES / "refs.json", "instances": SOURCES / "instances.json"}


class Echo:
    """Answers "yes" to what has "there" in it, else the first box that comes to mind."""

    name, reproducible, model, revision = "echo", True, "echo", "0"

    def __init__(self, fail: str = "\0") -> None:
        self.fail = fail
        self.blocks: list[int] = []
        self.prompts: list[str] = []

    def canvas(self, width: int, height: int) -> Canvas:
        return Canvas("unit", 2, width, height)

    def generate(self, requests: Sequence[Request], images: Path) -> list[Completion]:
        self.blocks.append(len(requests))
        self.prompts += [request.prompt for request in requests]
        assert all(request.sampling.temperature == 0.0 for request in requests)
        return [
            Completion(r.id, "", (), (), "error", "too many dogs")
            if self.fail in r.prompt
            else Completion(
                r.id, "yes" if "there" in r.prompt else "[0.50,0.50,0.75,0.75]", (), (), "stop"
            )
            for r in requests
        ]


def settings(*benchmarks: dict, **more: object) -> EvaluateSettings:
    return EvaluateSettings(benchmarks=benchmarks, model="echo", **more)


def scores(step) -> ScoreFile:
    return msgspec.json.decode((step.files / "scores.json").read_bytes(), type=ScoreFile)


def test_every_question_is_answered_marked_and_scored(run_stage) -> None:
    stage = EvaluateStage(settings(VQA, POPE, REC), Echo())
    step = run_stage(stage, images=FIXTURES / "images")
    rows = list(step.rows(Prediction))
    assert [row.benchmark for row in rows] == ["vqav2"] * 3 + ["pope"] * 3 + ["rec"] * 4
    assert [row.correct for row in rows[3:6]] == [1.0, 0.0, 0.0]
    rec = rows[6]
    assert rec.gold is not None
    assert rec.found is not None
    assert rec.found.iou(rec.gold) == 1.0
    by_name = {
        (one.benchmark, one.kind, one.score.metric): one.score for one in scores(step).scores
    }
    assert by_name["pope", "", "accuracy"].value == pytest.approx(1 / 3)
    assert by_name["pope", "adversarial", "accuracy"].value == 0.0
    assert by_name["vqav2", "", "soft_score"].n == 3
    assert by_name["rec", "", "accuracy_at_half"].value == 0.5
    assert scores(step).missing == {"vqav2": 0, "pope": 0, "rec": 0}


@pytest.mark.parametrize("shard", [4, 8])
def test_blocks_and_rows_do_not_depend_on_the_shard_size(run_stage, shard: int) -> None:
    whole, parts = Echo(), Echo()
    one = run_stage(
        EvaluateStage(settings(VQA, POPE, REC, block=4), whole),
        images=FIXTURES / "images",
        name="a",
    )
    two = run_stage(
        EvaluateStage(settings(VQA, POPE, REC, block=4), parts),
        images=FIXTURES / "images",
        shard=shard,
        name="b",
    )
    assert whole.blocks == parts.blocks == [4, 4, 2]
    assert one.kept == two.kept
    assert (one.files / "scores.json").read_bytes() == (two.files / "scores.json").read_bytes()


def test_what_was_not_answered_is_kept_apart_and_counted(run_stage) -> None:
    stage = EvaluateStage(settings(VQA, POPE), Echo(fail="dogs"))
    step = run_stage(stage, images=FIXTURES / "images")
    assert [one.reason for one in step.quarantines] == ["backend_error"]
    assert [one.detail for one in step.quarantines] == ["too many dogs"]
    assert scores(step).missing == {"vqav2": 1, "pope": 0}
    assert scores(step).scores[0].score.n == 2


def test_rows_the_source_cannot_read_are_quarantined_with_their_place(run_stage) -> None:
    broken = {"name": "pope", "questions": SOURCES / "pope_broken.jsonl"}
    step = run_stage(EvaluateStage(settings(broken), Echo()), images=FIXTURES / "images")
    assert "pope_broken.jsonl:2" in {one.where for one in step.quarantines}
    assert scores(step).missing["pope"] == len(step.quarantines) > 0


def test_the_short_answer_line_follows_only_short_answer_questions(run_stage) -> None:
    echo = Echo()
    line = "One word, please."
    run_stage(
        EvaluateStage(settings(VQA, REC, short_answer_line=line), echo), images=FIXTURES / "images"
    )
    assert [prompt.endswith(line) for prompt in echo.prompts] == [True] * 3 + [False] * 4


def test_labels_limits_and_kinds_are_the_users(run_stage) -> None:
    one = {**POPE, "label": "pope near", "limit": 2}
    two = {**POPE, "by_kind": False}
    stage = EvaluateStage(settings(one, two, labels={"arm": "kept", "seed": 3}), Echo())
    step = run_stage(stage, images=FIXTURES / "images")
    file = scores(step)
    assert file.labels == {"arm": "kept", "seed": "3"}
    assert {(s.benchmark, s.kind) for s in file.scores} == {("pope near", ""), ("pope", "")}
    assert [s.score.n for s in file.scores if s.score.metric == "accuracy"] == [2, 3]


def test_a_short_run_sees_every_benchmark(run_stage) -> None:
    stage = EvaluateStage(settings(VQA, POPE), Echo())
    step = run_stage(stage, images=FIXTURES / "images", limit=2)
    assert [row.benchmark for row in step.rows(Prediction)] == ["vqav2", "pope"]


def test_the_scripted_backend_runs_it_too(run_stage) -> None:
    stage = EvaluateStage(settings(POPE, backend="scripted"))
    step = run_stage(stage, images=FIXTURES / "images")
    assert len(step.kept) == 3
    assert json.loads((step.files / "scores.json").read_bytes())["labels"] == {}


def test_files_outside_the_run_are_named_for_the_fingerprint() -> None:
    inside = {"name": "pope", "questions": "@world/pope.jsonl"}
    stage = EvaluateStage(settings({**inside, "label": "in"}, POPE, backend="scripted"))
    assert stage.external() == [SOURCES / "pope.jsonl"]


@pytest.mark.parametrize(
    ("benchmark", "said"),
    [
        ({"name": "pop"}, "did you mean pope"),
        ({"name": "pope"}, "source pope needs the setting 'questions'"),
        ({**POPE, "protocl": "strict"}, "no setting 'protocl'"),
        ({**POPE, "protocol": "lenient"}, "benchmark pope, setting protocol"),
        ({**REC, "tasks": ["reg"]}, "sets 'tasks' itself"),
    ],
)
def test_a_wrong_benchmark_is_refused_before_anything_runs(benchmark: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        settings(benchmark)


def test_two_benchmarks_of_one_name_need_labels() -> None:
    with pytest.raises(ValidationError, match="a label each"):
        settings(POPE, POPE)
