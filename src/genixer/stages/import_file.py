"""A file in somebody's format to samples: what the verb `import` runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from genixer.data import Quarantined, Sample
from genixer.errors import ConfigError, near
from genixer.formats import FORMATS
from genixer.formats.base import Divisible, Format
from genixer.formats.sidecars import provenance_path
from genixer.stages.base import Estimate, RowWriter, Stage, StageSettings, Step
from genixer.store.shards import raw_bytes

__all__ = ["ImportSettings", "ImportStage"]

Row = Sample | Quarantined


class ImportSettings(StageSettings):
    """Which file, and how it is written."""

    format: str
    """Name of its format (`genixer list formats`)."""
    path: Path
    """The file, or the folder where the format is one; with its sidecar if it has one."""
    expected_rows: int | None = Field(None, ge=1)
    """Rows of the file as published, for `plan`; what is there is what is read."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """The format's own settings, such as the frame of its boxes."""

    @field_validator("format")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in FORMATS:
            raise ValueError(f"no format is called {name!r}; {near(name, FORMATS)}")
        return name

    @model_validator(mode="after")
    def _settings_fit(self) -> ImportSettings:
        try:
            self.build()
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    def build(self) -> Format:
        """The format, with its settings."""
        kind = FORMATS.load(self.format)
        built: Format = kind(FORMATS.settings(self.format, self.settings))
        return built


class ImportStage(Stage):
    """Reads one file through its format. One work item a row; broken rows are quarantined."""

    name: ClassVar[str] = "import"
    Settings: ClassVar[type[ImportSettings]] = ImportSettings
    rows_per_shard: ClassVar[int] = 4096

    def __init__(self, settings: ImportSettings) -> None:
        """Open nothing yet."""
        super().__init__(settings)
        self._format = settings.build()
        self._running: tuple[int, Iterator[Row]] = (-1, iter(()))

    def items(self, step: Step) -> int:
        """Rows of the file; a format that cannot be read in parts is read to count them."""
        if isinstance(self._format, Divisible):
            return self._format.count(self.settings.path)
        return sum(1 for _ in self._format.read(self.settings.path, step.images))

    def external(self) -> list[Path]:
        """The file and its sidecar."""
        sidecar = provenance_path(self.settings.path)
        return [self.settings.path, *([sidecar] if sidecar.is_file() else [])]

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Rows `first` to `first + count`."""
        for row in self._rows(step, first, count):
            if isinstance(row, Quarantined):
                out.quarantine(row.where, row.reason, row.detail, raw_bytes(row.raw))
            else:
                out.keep(row)

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        """What `expected_rows` says; unknown before the file is read where it is not set."""
        return Estimate(self.settings.expected_rows, self.settings.expected_rows)

    def _rows(self, step: Step, first: int, count: int) -> Iterator[Row]:
        path = self.settings.path
        if isinstance(self._format, Divisible):
            yield from self._format.part(path, step.images, first, count)
            return
        following, rows = self._running
        if following != first:
            rows = islice(self._format.read(path, step.images), first, None)
        # The shards of one worker follow each other, so the file is gone through once.
        self._running = first + count, rows
        yield from islice(rows, count)
