"""The Yes/No judge."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from genixer.data import ImageRef, Origin, Request, Sample, Turn
from genixer.errors import BackendError
from genixer.filters.judge import JudgeFilter, JudgeSettings, yes_share
from genixer.inference.base import Choice
from genixer.tasks.base import Canvas

IMAGE = ImageRef("a.png", 64, 64, "ab")


class FixedBackend:
    """Gives Yes the share that the answer spells."""

    name, reproducible, model, revision = "fixed", True, "fixed", "0"

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.calls = 0

    def canvas(self, width: int, height: int) -> Canvas:
        return Canvas("unit", 2, width, height)

    def choose(
        self, requests: Sequence[Request], options: Sequence[str], images: Path
    ) -> list[Choice]:
        assert tuple(options) == ("Yes", "No")
        self.calls += 1
        self.prompts += [request.prompt for request in requests]
        return [Choice(request.id, self._weigh(request.prompt), (1, 1)) for request in requests]

    def _weigh(self, prompt: str) -> tuple[float, float]:
        said = prompt.split("Answer: ")[-1].split("\n")[0]
        if said == "broken":
            return math.nan, math.nan
        # A constant taken off both sides must not matter.
        return math.log(float(said)) - 40.0, math.log(1.0 - float(said)) - 40.0


def sample(answer: str, task: str = "common_vqa") -> Sample:
    turns = Turn("user", "What is it?"), Turn("assistant", answer)
    return Sample.of(task, IMAGE, turns, Origin("test"))


def judge(*answers: str, **settings: object) -> list[tuple[str, float | None]]:
    one = JudgeFilter(JudgeSettings(model="fixed", **settings), FixedBackend())
    verdicts = one.judge([sample(answer) for answer in answers], Path())
    return [(verdict.reason, verdict.score) for verdict in verdicts]


def test_score_is_the_share_of_yes() -> None:
    [(reason, score)] = judge("0.8")
    assert reason == ""
    assert score == pytest.approx(0.8, abs=1e-9)


def test_rows_below_the_band_were_told_no() -> None:
    assert [reason for reason, _ in judge("0.3", "0.7")] == ["judge_said_no", ""]


def test_rows_above_the_band_are_too_sure() -> None:
    reasons = [r for r, _ in judge("0.6", "0.9", keep_above=0.5, keep_below=0.7)]
    assert reasons == ["", "judge_too_sure"]


def test_a_task_can_have_its_own_band() -> None:
    settings = JudgeSettings(model="fixed", tasks={"reg": {"keep_above": 0.9}})
    one = JudgeFilter(settings, FixedBackend())
    verdicts = one.judge([sample("0.8", "reg"), sample("0.8")], Path())
    assert [verdict.keep for verdict in verdicts] == [False, True]


def test_nan_never_passes() -> None:
    assert judge("broken", keep_above=0.0) == [("judge_failed", None)]


def test_text_the_model_cannot_be_shown_fails_and_the_others_keep_their_place() -> None:
    assert [reason for reason, _ in judge("0.9", "see [0.1,0.2]", "0.1")] == [
        "",
        "judge_failed",
        "judge_said_no",
    ]


def dialogue(*answers: str) -> Sample:
    turns = [turn for one in answers for turn in sample(one).turns]
    return Sample.of("md", IMAGE, tuple(turns), Origin("test"))


def test_a_dialogue_is_as_right_as_its_least_likely_answer() -> None:
    backend = FixedBackend()
    one = JudgeFilter(JudgeSettings(model="fixed"), backend)
    several = [dialogue("0.9", "0.2", "0.8"), sample("0.7"), dialogue("0.6", "broken")]
    verdicts = one.judge([*several, dialogue("0.9", "0.6")], Path())
    assert [v.reason for v in verdicts] == ["judge_said_no", "", "judge_failed", ""]
    assert [v.score for v in verdicts] == pytest.approx([0.2, 0.7, None, 0.6])
    assert [prompt.count("Question:") for prompt in backend.prompts] == [1, 2, 3, 1, 1, 2, 1, 2]


def test_a_block_is_one_call() -> None:
    backend = FixedBackend()
    JudgeFilter(JudgeSettings(model="x"), backend).judge([sample("0.9")] * 7, Path())
    assert (backend.calls, len(backend.prompts)) == (1, 7)


def test_a_failing_model_stops_the_run() -> None:
    class Down(FixedBackend):
        def choose(self, *_: object) -> list[Choice]:
            raise BackendError("out of memory")

    with pytest.raises(BackendError):
        JudgeFilter(JudgeSettings(model="x"), Down()).judge([sample("0.9")], Path())


def test_an_empty_band_is_refused() -> None:
    with pytest.raises(ValidationError, match="nothing passes"):
        JudgeSettings(model="x", keep_above=0.8, keep_below=0.7)


@given(st.floats(-1e4, 0.0), st.floats(-1e4, 0.0))
def test_share_of_yes_and_share_of_no_make_one(yes: float, no: float) -> None:
    assert yes_share(yes, no) + yes_share(no, yes) == pytest.approx(1.0)


@given(st.floats(-1e4, 0.0), st.floats(-1e4, 0.0))
def test_share_of_yes_stays_in_range_and_grows_with_yes(yes: float, no: float) -> None:
    assert 0.0 <= yes_share(yes, no) <= yes_share(yes + 1.0, no) <= 1.0


def test_impossible_words_are_no_verdict() -> None:
    assert math.isnan(yes_share(-math.inf, -math.inf))
    assert math.isnan(yes_share(math.nan, -1.0))
    assert yes_share(-math.inf, -1.0) == 0.0
