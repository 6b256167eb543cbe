"""Stage `evaluate`: a model answers benchmarks; each answer is marked, all are scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from genixer.data import Quarantined, Request, Sampling, encode_row
from genixer.errors import CannotEncodeError, ConfigError
from genixer.evaluation import BENCHMARKS
from genixer.evaluation.base import Benchmark, Item, KindScore, Prediction, ScoreFile, by_kind
from genixer.inference import load_backend, named_files
from genixer.inference.base import Backend
from genixer.models.base import model_files
from genixer.sources import SOURCES
from genixer.sources.base import Source
from genixer.stages.base import (
    Estimate,
    FileWriter,
    RowWriter,
    Stage,
    StageSettings,
    Step,
    StepOutput,
)
from genixer.store.shards import raw_bytes
from genixer.tasks.base import Canvas
from genixer.tasks.voices import SHORT_ANSWER_TASKS, question_text

__all__ = ["BenchmarkConfig", "EvaluateSettings", "EvaluateStage"]


class BenchmarkConfig(BaseModel):
    """One benchmark: which, how much of it, and its own and its source's settings beside."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    """Name of the benchmark (`genixer list benchmarks`)."""
    label: str = ""
    """What its scores are called; the name where it is empty. Two entries need two labels."""
    limit: int | None = Field(default=None, ge=1)
    """At most this many rows of its files, from the first."""
    by_kind: bool | None = None
    """Whether kinds of question are scored apart; the benchmark's own habit where not set."""

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        try:
            self.build(Path(), self.model_extra or {})
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def title(self) -> str:
        """What its scores are called."""
        return self.label or self.name

    def build(self, images: Path, settings: Mapping[str, Any]) -> tuple[Benchmark, Source]:
        """The benchmark and the source it reads, not yet opened; raises `ConfigError`."""
        kind = BENCHMARKS.load(self.name)
        own = {key: value for key, value in settings.items() if key in kind.Settings.model_fields}
        rest = {key: value for key, value in settings.items() if key not in own}
        for key in kind.source_settings:
            if key in rest:
                raise ConfigError(f"benchmark {self.name} sets {key!r} itself; leave it out")
        values = {**rest, **kind.source_settings, "images": images}
        source: Source = SOURCES.load(kind.source)(SOURCES.settings(kind.source, values))
        benchmark: Benchmark = kind(BENCHMARKS.settings(self.name, own), source)
        return benchmark, source


class EvaluateSettings(StageSettings):
    """Which model answers which benchmarks."""

    model: str = "base"
    """A shipped name, a folder, or `@step/model`."""
    backend: str = "transformers"
    """What runs it (`genixer list backends`)."""
    backend_settings: dict[str, Any] = Field(default_factory=dict)
    """The backend's own settings."""
    benchmarks: tuple[BenchmarkConfig, ...] = Field(min_length=1)
    """Benchmarks in the order their rows are to come."""
    block: int = Field(default=64, ge=1)
    """Questions answered together."""
    max_new_tokens: int = Field(default=48, ge=1)
    """Where an answer is cut."""
    short_answer_line: str = ""
    """Line after common and adversarial questions; the same as in the student's training."""
    labels: dict[str, str | int] = Field(default_factory=dict)
    """What tells this model from others in a comparison: `arm` and `seed`, say."""

    @model_validator(mode="after")
    def _one_label_each(self) -> Self:
        titles = [one.title for one in self.benchmarks]
        if len(set(titles)) < len(titles):
            raise ValueError(f"benchmarks {titles}: give those of one name a label each")
        return self


class _Part(NamedTuple):
    """One benchmark of the step and how many rows of its files are asked."""

    config: BenchmarkConfig
    benchmark: Benchmark
    rows: int

    @property
    def apart(self) -> bool:
        """Whether kinds of question are scored apart."""
        chosen = self.config.by_kind
        return self.benchmark.by_kind if chosen is None else chosen


class _Asked(NamedTuple):
    """An item, whose it is, and how the model is asked."""

    part: _Part
    item: Item
    request: Request
    canvas: Canvas


class EvaluateStage(Stage):
    """Greedy answers to every question of the benchmarks, marked one by one (`Prediction`).

    Rows a source cannot read, and questions the model could not be asked or did not answer, are
    rejected or quarantined, and counted as `missing` beside the scores. Files: `scores.json`
    (`ScoreFile`). Scoring holds the predictions of one benchmark in memory, about 1.5 kB each.
    """

    name: ClassVar[str] = "evaluate"
    Settings: ClassVar[type[EvaluateSettings]] = EvaluateSettings

    def __init__(self, settings: EvaluateSettings, backend: Backend | None = None) -> None:
        """Load nothing yet, unless a loaded `backend` is given."""
        super().__init__(settings)
        self._backend = backend
        self._known: tuple[Step, list[_Part]] | None = None

    def items(self, step: Step) -> int:
        """Rows of all benchmarks; opens no image."""
        return sum(part.rows for part in self._parts(step))

    def external(self) -> list[Path]:
        """Annotation files and weights that no step of the run makes."""
        sources = (one.build(Path(), one.model_extra or {})[1] for one in self.settings.benchmarks)
        files = (file for source in sources for file in source.files())
        settings = self.settings
        weights = [*model_files(settings.model), *named_files(settings.backend_settings)]
        return [*weights, *(file for file in files if not str(file).startswith("@"))]

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        """About 15 ms a question on one core; how many there are is in the files."""
        limits = [one.limit for one in self.settings.benchmarks]
        items = None if None in limits else sum(limit or 0 for limit in limits)
        return Estimate(items, items, seconds=(items or 0) * 0.015, bytes=(items or 0) * 900)

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Answer rows `first` to `first + count`; blocks begin at multiples of the block size."""
        numbered = enumerate(self._entries(step, first, count), start=first)
        for _, block in groupby(numbered, key=lambda pair: pair[0] // self.settings.block):
            self._answer(step, [entry for _, entry in block], out)

    def _entries(
        self, step: Step, first: int, count: int
    ) -> Iterator[tuple[_Part, Item | Quarantined]]:
        """Rows `first` to `first + count` of all benchmarks joined in order."""
        last = first + count
        for part in self._parts(step):
            start, stop = max(0, first), min(last, part.rows)
            if start < stop:
                for row in part.benchmark.items(part.config.title, start, stop - start):
                    yield part, row
            first, last = first - part.rows, last - part.rows

    def _answer(
        self, step: Step, block: Sequence[tuple[_Part, Item | Quarantined]], out: RowWriter
    ) -> None:
        """Answer one block and send each of its rows to `out`."""
        asked: list[_Asked] = []
        for part, row in block:
            if isinstance(row, Quarantined):
                out.quarantine(row.where, row.reason, row.detail, raw_bytes(row.raw))
                continue
            try:
                asked.append(self._ask(step, part, row))
            except CannotEncodeError as error:
                out.reject(row.id, error.reason, row.sample)
        if not asked:
            return
        requests = [one.request for one in asked]
        backend = self._loaded(step)
        out.hold(self.settings.backend, backend.revision)
        completions = backend.generate(requests, step.images)
        for one, completion in zip(asked, completions, strict=True):
            if completion.finish == "error":
                detail = completion.detail
                out.quarantine(one.item.id, "backend_error", detail, encode_row(one.item))
            else:
                out.keep(_marked(one, completion.text))

    def _ask(self, step: Step, part: _Part, item: Item) -> _Asked:
        image, task = item.sample.picture, item.sample.task
        canvas = self._loaded(step).canvas(image.width, image.height)
        line = self.settings.short_answer_line if task in SHORT_ANSWER_TASKS else ""
        prompt = question_text(item.sample.turns, canvas, line)
        sampling = Sampling(max_new_tokens=self.settings.max_new_tokens)
        return _Asked(part, item, Request(item.id, image, prompt, sampling, task), canvas)

    def finish(self, step: Step, out: FileWriter, rows: StepOutput) -> None:
        """Score the marked answers, benchmark by benchmark."""
        parts = {part.config.title: part for part in self._parts(step)}
        missing = Counter({title: part.rows for title, part in parts.items()})
        scores: list[KindScore] = []
        for title, group in groupby(rows.rows(Prediction), key=lambda one: one.benchmark):
            predictions = list(group)
            missing[title] -= len(predictions)
            scores += by_kind(parts[title].benchmark, title, predictions)
        labels = {key: str(value) for key, value in self.settings.labels.items()}
        out.file("scores.json", encode_row(ScoreFile(labels, tuple(scores), dict(missing))))

    def _parts(self, step: Step) -> list[_Part]:
        if self._known is None or self._known[0] is not step:
            self._known = step, [self._part(step, one) for one in self.settings.benchmarks]
        return self._known[1]

    def _part(self, step: Step, config: BenchmarkConfig) -> _Part:
        settings = step.resolve_all(config.model_extra or {})
        benchmark, source = config.build(step.images, settings)
        # With --limit the benchmarks share it evenly, so that a short run sees all of them.
        share = None if step.limit is None else -(-step.limit // len(self.settings.benchmarks))
        limits = [limit for limit in (config.limit, share) if limit is not None]
        return _Part(config, benchmark, min([source.count(), *limits]))

    def _loaded(self, step: Step) -> Backend:
        if self._backend is None:
            settings = self.settings
            self._backend = load_backend(
                settings.backend,
                str(step.resolve_all(settings.model)),
                threads=step.threads,
                settings=step.resolve_all(settings.backend_settings),
            )
        return self._backend


def _marked(asked: _Asked, text: str) -> Prediction:
    item, part = asked.item, asked.part
    mark = part.benchmark.mark(item, text, asked.canvas)
    boxes = item.sample.turns[1].boxes
    return Prediction(
        item.id,
        part.config.title,
        item.sample.task,
        item.sample.picture,
        asked.request.prompt,
        text,
        mark.correct,
        item.references,
        item.kind if part.apart else "",
        boxes[0] if len(boxes) == 1 else None,
        mark.found,
    )
