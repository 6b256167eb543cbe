"""What a filter is: a rule that keeps a sample or names the reason it does not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field

from genixer.data import Sample, Verdict

__all__ = ["Filter", "FilterSettings"]


class FilterSettings(BaseModel):
    """Settings every filter shares."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threads: int = Field(default=1, ge=1)
    """Compute threads of a model; the filter stage fills in its own."""


class Filter(Protocol):
    """Rule over samples, judged a fixed block at a time so that models can batch.

    Two class variables more are for those who need them, so that a plan can refuse a backend that
    cannot: `asks_backend`, capabilities (`inference.base.Capabilities`) of the backend that its
    setting `backend` names, as `("choose",)`; `asks_generator`, capabilities of whatever wrote the
    rows, as `("logprobs",)` of a filter that reads the score `logprob_mean`. One that asks a
    model has its `revision`, empty until it was asked: a step has one judge from end to end.
    """

    name: ClassVar[str]
    reasons: ClassVar[tuple[str, ...]]
    """Every reason it may give, for the docs and the report."""
    Settings: ClassVar[type[FilterSettings]]

    def __init__(self, settings: FilterSettings) -> None:
        """Keep `settings`; models load on first use."""
        ...

    def judge(self, samples: Sequence[Sample], images: Path) -> list[Verdict]:
        """One verdict a sample, in order; image paths are relative to `images`.

        A NaN score never passes a threshold.
        """
        ...
