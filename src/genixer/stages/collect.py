"""Step 1: annotated datasets to samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from genixer.data import Quarantined, random_for
from genixer.errors import near
from genixer.sources import SOURCES
from genixer.sources.base import LooksAtImages, Source
from genixer.stages.base import (
    Estimate,
    ExpectedRows,
    FileWriter,
    RowWriter,
    Stage,
    StageSettings,
    Step,
    StepOutput,
)
from genixer.store.layout import StepFolder
from genixer.store.shards import raw_bytes

__all__ = ["CollectSettings", "CollectStage", "SourceConfig"]


class SourceConfig(BaseModel):
    """One dataset: which layout, how much of it, and the settings of that source."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    """Name of the source (`genixer list sources`)."""
    fraction: float = Field(1.0, gt=0.0, le=1.0)
    """Share of the entries to take, drawn by the run's seed."""
    limit: int | None = Field(None, ge=1)
    """At most this many entries, the first in file order of those that were drawn."""
    expected_rows: int | None = Field(None, ge=1)
    """Rows the whole dataset gives as published: what `plan` counts with before it is read."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in SOURCES:
            raise ValueError(f"no source is called {name!r}; {near(name, SOURCES)}")
        return name

    @model_validator(mode="after")
    def _settings_fit(self) -> SourceConfig:
        try:
            self.build(Path(), self.model_extra or {})
        except ValidationError as error:
            problems = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ValueError(f"source {self.name}: {'; '.join(problems)}") from None
        return self

    @property
    def lot(self) -> str:
        """What the draw depends on besides the seed: everything but what `plan` alone reads."""
        return self.model_dump_json(exclude={"expected_rows"})

    def drawn_of(self, total: int) -> int:
        """How many of `total` entries `fraction` takes."""
        return round(total * self.fraction)

    def build(self, images: Path, settings: Mapping[str, Any]) -> Source:
        """The source, not yet opened."""
        kind = SOURCES.load(self.name)
        source: Source = kind(kind.Settings(**{**settings, "images": images}))
        return source


class CollectSettings(StageSettings):
    """Which datasets to read."""

    sources: tuple[SourceConfig, ...] = Field(min_length=1)
    """Datasets in the order their rows are to come; `@step/..` paths are files of that step."""
    limit_per_source: int | None = Field(None, ge=1)
    """At most this many entries of each source."""


class _Part(NamedTuple):
    """The entries taken of one source: the first `entries`, or those numbered in `drawn`."""

    source: Source
    entries: int
    drawn: Sequence[int] | None


class CollectStage(Stage):
    """Reads datasets through their sources. One work item an entry; broken entries are quarantined.

    With `--limit`, sources share the limit evenly, so that a short run sees all of them.
    """

    name = "collect"
    Settings = CollectSettings

    def __init__(self, settings: CollectSettings) -> None:
        """Open nothing yet."""
        super().__init__(settings)
        self._known: tuple[Step, list[_Part]] | None = None

    def items(self, step: Step) -> int:
        """Entries of all sources; opens no image."""
        return sum(part.entries for part in self._parts(step))

    def external(self) -> list[Path]:
        """Annotation files that no step of the run makes."""
        files = (
            file
            for config in self.settings.sources
            for file in config.build(Path(), config.model_extra or {}).files()
        )
        return [file for file in files if not str(file).startswith("@")]

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Read entries `first` to `first + count` of all sources joined in order."""
        last = first + count
        for part in self._parts(step):
            if first < part.entries and last > 0:
                _write(part, range(max(0, first), min(last, part.entries)), out)
            first, last = first - part.entries, last - part.entries

    def finish(self, step: Step, out: FileWriter, rows: StepOutput) -> None:
        """Nothing is made; what the workers shared goes."""
        _shared(step).unlink(missing_ok=True)

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        """From `expected_rows` and limits; unknown where a source has neither."""
        sizes = [(config, self._expected(config)) for config in self.settings.sources]
        expected = tuple(line for config, rows in sizes for line in _by_task(config, rows))
        known = [rows for _, rows in sizes if rows is not None]
        if len(known) < len(sizes):
            return Estimate(expected=expected)
        items = sum(known)
        return Estimate(items, items, 0, items * 0.002, items * 700, expected)

    def _expected(self, config: SourceConfig) -> int | None:
        whole = config.expected_rows
        sizes = (config.limit, self.settings.limit_per_source, whole and config.drawn_of(whole))
        return min((size for size in sizes if size is not None), default=None)

    def _parts(self, step: Step) -> list[_Part]:
        if self._known is None or self._known[0] is not step:
            self._known = step, [self._part(step, config) for config in self.settings.sources]
        return self._known[1]

    def _part(self, step: Step, config: SourceConfig) -> _Part:
        source = config.build(step.images, step.resolve_all(config.model_extra or {}))
        shared = _shared(step)
        if isinstance(source, LooksAtImages) and shared.parent.is_dir():
            source.catalog.share(shared)
        total = source.count()
        drawn = None
        if config.fraction < 1.0:
            rng = random_for(step.seed, "collect", config.lot)
            drawn = sorted(rng.sample(range(total), config.drawn_of(total)))
            total = len(drawn)
        share = None if step.limit is None else -(-step.limit // len(self.settings.sources))
        limits = (config.limit, self.settings.limit_per_source, share)
        entries = min([total, *(limit for limit in limits if limit is not None)])
        return _Part(source, entries, drawn)


def _shared(step: Step) -> Path:
    """Where the workers tell each other which images they decoded; cleared after a crash."""
    return StepFolder(step.run / step.name).scratch / "image_sizes"


def _by_task(config: SourceConfig, rows: int | None) -> list[ExpectedRows]:
    """Rows of each task of a source; one that gives several gives equally many of each."""
    kind = SOURCES.load(config.name)
    settings = kind.Settings(images=Path(), **(config.model_extra or {}))
    tasks = getattr(settings, "tasks", kind.tasks)
    shares = [None] * len(tasks) if rows is None else _even(rows, len(tasks))
    return [
        ExpectedRows(config.name, task, share) for task, share in zip(tasks, shares, strict=True)
    ]


def _even(rows: int, parts: int) -> list[int]:
    return [rows // parts + (at < rows % parts) for at in range(parts)]


def _write(part: _Part, numbers: range, out: RowWriter) -> None:
    for row in _rows(part, numbers):
        if isinstance(row, Quarantined):
            out.quarantine(row.where, row.reason, row.detail, raw_bytes(row.raw))
        else:
            out.keep(row)


def _rows(part: _Part, numbers: range) -> Iterable[Any]:
    if part.drawn is None:
        yield from part.source.read(numbers.start, len(numbers))
        return
    for number in numbers:
        yield from part.source.read(part.drawn[number], 1)
