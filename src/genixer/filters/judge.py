"""A model as judge: how likely it finds Yes against No when shown a question and its answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from genixer.data import Request, Sample, Sampling, Verdict, content_id
from genixer.errors import CannotEncodeError, ConfigError
from genixer.filters.base import FilterSettings
from genixer.inference import check_backend, load_backend
from genixer.inference.base import Backend, Choice
from genixer.tasks.judging import JUDGE_OPTIONS, judge_prompts

__all__ = ["Band", "JudgeFilter", "JudgeSettings", "yes_share"]


class Band(BaseModel):
    """Scores that are kept, both ends included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep_above: float = Field(default=0.5, ge=0.0, le=1.0)
    """Lowest score that is kept."""
    keep_below: float = Field(default=1.0, ge=0.0, le=1.0)
    """Highest score that is kept; below 1, rows the judge finds too easy are left out as well."""

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.keep_above > self.keep_below:
            raise ValueError(
                f"keep_above {self.keep_above} is over keep_below {self.keep_below}: nothing passes"
            )
        return self


class JudgeSettings(FilterSettings, Band):
    """Which model judges, and the band of scores that is kept."""

    model: str
    """Shipped name or folder of the judge; `@step/model` for one that this run trains."""
    backend: str = "transformers"
    """Backend that runs it."""
    backend_settings: dict[str, Any] = {}
    """The backend's own settings."""
    tasks: dict[str, Band] = {}
    """A band of their own for some tasks, by task name."""

    @model_validator(mode="after")
    def _can_weigh(self) -> Self:
        try:
            check_backend(self.backend, self.backend_settings, "choose")
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self


class JudgeFilter:
    """Asks the model whether the answer is right: one forward pass, nothing is sampled.

    Score: p(Yes) / (p(Yes) + p(No)), in [0, 1], from the raw log-probabilities of the two words.
    A dialogue is asked about answer by answer, each after the turns before it, and scores as its
    least likely answer does.
    Rows below the band are `judge_said_no`, above it `judge_too_sure`. A score that cannot be had
    (unreadable image, NaN, text the model's coordinates cannot carry) is `judge_failed`.
    """

    name: ClassVar[str] = "judge"
    reasons: ClassVar[tuple[str, ...]] = ("judge_said_no", "judge_too_sure", "judge_failed")
    asks_backend: ClassVar[tuple[str, ...]] = ("choose",)
    Settings: ClassVar[type[JudgeSettings]] = JudgeSettings

    def __init__(self, settings: JudgeSettings, backend: Backend | None = None) -> None:
        """Keep `settings`; the model loads on first use, unless a loaded `backend` is given."""
        self.settings = settings
        self._backend = backend

    @property
    def backend(self) -> Backend:
        """The judge, loaded."""
        if self._backend is None:
            self._backend = load_backend(
                self.settings.backend,
                self.settings.model,
                threads=self.settings.threads,
                settings=self.settings.backend_settings,
            )
        return self._backend

    @property
    def revision(self) -> str:
        """The model's, once it was asked; empty before."""
        return self._backend.revision if self._backend else ""

    def judge(self, samples: Sequence[Sample], images: Path) -> list[Verdict]:
        """One verdict a sample, in order; raises `BackendError` when the model itself fails."""
        requests = [self._requests(sample) for sample in samples]
        asked = [request for of_sample in requests for request in of_sample]
        choices = iter(self.backend.choose(asked, JUDGE_OPTIONS, images) if asked else [])
        return [
            self._verdict(sample.task, list(islice(choices, len(of_sample))))
            for sample, of_sample in zip(samples, requests, strict=True)
        ]

    def _requests(self, sample: Sample) -> list[Request]:
        """One an answer; none where the sample cannot be shown to the model."""
        try:
            image = sample.picture
            prompts = judge_prompts(sample, self.backend.canvas(image.width, image.height))
        except CannotEncodeError:
            return []
        return [
            Request(content_id("judge", sample.id, at), image, prompt, Sampling(), sample.task)
            for at, prompt in enumerate(prompts)
        ]

    def _verdict(self, task: str, choices: Sequence[Choice]) -> Verdict:
        scores = [yes_share(*choice.logprobs) for choice in choices]
        if not scores or any(math.isnan(score) for score in scores):
            return Verdict(keep=False, reason="judge_failed")
        score = min(scores)
        band = self.settings.tasks.get(task, self.settings)
        if score < band.keep_above:
            return Verdict(keep=False, reason="judge_said_no", score=score)
        if score > band.keep_below:
            return Verdict(keep=False, reason="judge_too_sure", score=score)
        return Verdict(keep=True, score=score)


def yes_share(yes: float, no: float) -> float:
    """p(Yes) / (p(Yes) + p(No)) from natural log-probabilities; NaN where neither says anything.

    Exact however small both are.

    >>> yes_share(-1000.0, -1000.0), yes_share(-2000.0, 0.0), yes_share(0.0, -math.inf)
    (0.5, 0.0, 1.0)
    """
    gap = no - yes
    if math.isnan(gap):
        return math.nan
    # Beyond this the other word's share is below the smallest double, and exp would overflow.
    if gap > 700.0:
        return 0.0
    return 1.0 / (1.0 + math.exp(gap))
