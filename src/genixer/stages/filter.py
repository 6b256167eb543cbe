"""Stage `filter`: a chain of filters over samples, a fixed block at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec
from pydantic import Field, model_validator

from genixer.data import Sample
from genixer.errors import ConfigError
from genixer.filters import FILTERS
from genixer.filters.base import Filter
from genixer.inference import named_files
from genixer.models.base import model_files
from genixer.stages.base import Estimate, Need, RowWriter, Stage, StageSettings, Step

__all__ = ["FilterStage", "FilterStageSettings"]


class FilterStageSettings(StageSettings):
    """Which filters, in which order."""

    filters: tuple[dict[str, Any], ...] = Field(min_length=1)
    """The chain: each filter's `name` beside its own settings."""
    block: int = Field(default=64, ge=1)
    """Rows judged together; a model's scores may depend on it in their last digits."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        names = []
        for one in self.filters:
            name = one.get("name", "")
            names.append(name)
            try:
                FILTERS.settings(name, _without_name(one))
            except ConfigError as error:
                raise ValueError(str(error)) from error
        if len(set(names)) < len(names):
            raise ValueError(f"filters {names}: a chain holds a filter once; use two filter steps")
        return self


class FilterStage(Stage):
    """Keeps the samples that every filter of the chain keeps.

    A sample meets the next filter only when the one before kept it. Refused ones carry the reason
    and every score known by then, kept ones their scores in `origin.scores`, under the filters'
    names; ids do not change.
    """

    name: ClassVar[str] = "filter"
    version = 2
    Settings: ClassVar[type[FilterStageSettings]] = FilterStageSettings

    def __init__(
        self, settings: FilterStageSettings, chain: Sequence[Filter] | None = None
    ) -> None:
        """Keep `settings`; the filters are made on first use, unless a ready `chain` is given."""
        super().__init__(settings)
        self._chain = chain

    def items(self, step: Step) -> int:
        """How many samples come in."""
        return step.count()

    def external(self) -> list[Path]:
        """Files of the models, and indexes, that are not made by this run."""
        named = [one["model"] for one in self.settings.filters if isinstance(one.get("model"), str)]
        files = [path for name in named for path in model_files(name)]
        for one in self.settings.filters:
            files += named_files(one.get("backend_settings", {}))
        return files + [Path(str(one["index"])) for one in self.settings.filters if "index" in one]

    def needs(self) -> list[Need]:
        """What the filters of the chain declare (`filters.base.Filter`)."""
        found = []
        for place, one in enumerate(self.settings.filters):
            kind = FILTERS.load(one["name"])
            backend = FILTERS.settings(one["name"], _without_name(one)).model_dump().get("backend")
            asked = getattr(kind, "asks_backend", ())
            found += [Need(name, backend, ("filters", place, "backend")) for name in asked]
            wanted = getattr(kind, "asks_generator", ())
            found += [Need(name, at=("filters", place)) for name in wanted]
        return found

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        """About 10 ms a sample for a judge, 5 ms for regions, on one core; the rest is quick."""
        items = super().estimate(inputs).items
        names = {one["name"] for one in self.settings.filters}
        each = 0.0001 + 0.01 * ("judge" in names) + 0.005 * ("clip" in names)
        return Estimate(items, None, seconds=(items or 0) * each, bytes=(items or 0) * 700)

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Filter samples `first` to `first + count`.

        Blocks begin at multiples of the block size of the whole input, so that they are the same
        whatever the shard size, as long as that is a multiple too (512 is, of 64).
        """
        numbered = enumerate(step.rows(Sample, first, count), start=first)
        for _, block in groupby(numbered, key=lambda pair: pair[0] // self.settings.block):
            self._filter(step, [sample for _, sample in block], out)

    def _filter(self, step: Step, block: Sequence[Sample], out: RowWriter) -> None:
        """Send every sample of the block to `out`, in order."""
        scores = [dict(sample.origin.scores) for sample in block]
        reasons = [""] * len(block)
        for one in self._filters(step):
            alive = [i for i, reason in enumerate(reasons) if not reason]
            if not alive:
                break
            verdicts = one.judge([block[i] for i in alive], step.images)
            if revision := getattr(one, "revision", ""):
                out.hold(one.name, revision)
            for i, verdict in zip(alive, verdicts, strict=True):
                reasons[i] = "" if verdict.keep else verdict.reason
                if verdict.score is not None and math.isfinite(verdict.score):
                    scores[i][one.name] = verdict.score
        for sample, reason, known in zip(block, reasons, scores, strict=True):
            if reason:
                out.reject(sample.id, reason, sample, known)
            else:
                out.keep(_with_scores(sample, known))

    def _filters(self, step: Step) -> Sequence[Filter]:
        if self._chain is None:
            self._chain = [_make(one, step) for one in self.settings.filters]
        return self._chain


def _make(settings: Mapping[str, Any], step: Step) -> Filter:
    """Filter of one entry of the chain, with `@step/..` resolved and the step's threads."""
    values = {"threads": step.threads, **step.resolve_all(_without_name(settings))}
    made: Filter = FILTERS.load(settings["name"])(FILTERS.settings(settings["name"], values))
    return made


def _without_name(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != "name"}


def _with_scores(sample: Sample, scores: dict[str, float]) -> Sample:
    origin = msgspec.structs.replace(sample.origin, scores=scores)
    return msgspec.structs.replace(sample, origin=origin)
