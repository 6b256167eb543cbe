"""Stage `leak_index`: benchmarks to one file of hashes, against which mixtures are checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

from pydantic import Field, model_validator

from genixer.data import ImageRef, Quarantined, Sample, content_id
from genixer.errors import ConfigError
from genixer.filters.leak_index import HashedItem, LeakIndexBuilder, picture_key
from genixer.filters.ngrams import NGrams
from genixer.sources.unlabelled import image_paths
from genixer.stages.base import (
    Estimate,
    FileWriter,
    RowWriter,
    Stage,
    StageSettings,
    Step,
    StepOutput,
)
from genixer.stages.collect import SourceConfig
from genixer.stages.evaluate import BenchmarkConfig
from genixer.store.images import ImageCatalog, ImageError
from genixer.store.perceptual import picture_hash_of_file
from genixer.store.shards import raw_bytes

__all__ = ["LeakIndexSettings", "LeakIndexStage"]

INDEX = "benchmarks.leaks"


class LeakIndexSettings(StageSettings):
    """Which benchmarks: as an evaluate step names them, as a source reads them, or as pictures."""

    benchmarks: tuple[BenchmarkConfig, ...] = ()
    """Benchmarks, written as in an evaluate step; known by their labels."""
    sources: dict[str, SourceConfig] = Field(default_factory=dict)
    """Test sets that a source reads, written as in a collect step, by the name they are to have."""
    folders: dict[str, str] = Field(default_factory=dict)
    """Folders of pictures by the name of the benchmark they belong to."""
    words: int = Field(default=13, ge=3, le=64)
    """Words in a run: a question that shares one with a benchmark leaks it."""
    common_above: int = Field(default=3, ge=1)
    """Runs in more questions of a benchmark than this are its manner of speaking and left out."""

    @model_validator(mode="after")
    def _one_name_each(self) -> Self:
        names = [*(one.title for one in self.benchmarks), *self.sources, *self.folders]
        if not names:
            raise ValueError("name something to know: benchmarks, sources or folders")
        if len(set(names)) < len(names):
            raise ValueError(f"names {names}: give each a name (or label) of its own")
        if any(one.fraction < 1.0 for one in self.sources.values()):
            raise ValueError("a part of a test set proves nothing: leave out fraction")
        return self


class _Part(NamedTuple):
    """One benchmark: how many rows are taken, how to read some, and where its pictures lie."""

    name: str
    rows: int
    read: Callable[[int, int], Iterator[Sample | ImageRef | Quarantined]]
    images: Path


class LeakIndexStage(Stage):
    """Hashes every picture and question of the benchmarks. Kept rows are `HashedItem`.

    Rows that cannot be read are quarantined. Files: `benchmarks.leaks` (`LeakIndex`), which holds
    hashes, names and counts, nothing that shows a picture or a question.
    """

    name: ClassVar[str] = "leak_index"
    Settings: ClassVar[type[LeakIndexSettings]] = LeakIndexSettings

    def __init__(self, settings: LeakIndexSettings) -> None:
        """Open nothing yet."""
        super().__init__(settings)
        self._known: tuple[Step, list[_Part]] | None = None

    def items(self, step: Step) -> int:
        """Rows of all benchmarks and pictures of all folders; opens no picture."""
        return sum(part.rows for part in self._parts(step))

    def external(self) -> list[Path]:
        """Annotation files and folders that no step of the run makes."""
        settings = self.settings
        sources = [one.build(Path(), one.model_extra or {})[1] for one in settings.benchmarks]
        sources += [one.build(Path(), one.model_extra or {}) for one in settings.sources.values()]
        files = [file for source in sources for file in source.files()]
        files += map(Path, settings.folders.values())
        return [file for file in files if not str(file).startswith("@")]

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        """About 5 ms a row; how many there are is in the files."""
        return Estimate()

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Hash rows `first` to `first + count` of all benchmarks joined in order."""
        grams = NGrams(self.settings.words, short=False)
        last = first + count
        for part in self._parts(step):
            start, stop = max(0, first), min(last, part.rows)
            if start < stop:
                _hash(part, start, stop - start, grams, out)
            first, last = first - part.rows, last - part.rows

    def finish(self, step: Step, out: FileWriter, rows: StepOutput) -> None:
        """Lay all hashes out in one file."""
        builder = LeakIndexBuilder(self.settings.words, self.settings.common_above)
        for item in rows.rows(HashedItem):
            builder.add(item)
        out.file(INDEX, builder.build())

    def _parts(self, step: Step) -> list[_Part]:
        if self._known is None or self._known[0] is not step:
            parts = list(self._all_parts(step))
            share = None if step.limit is None else -(-step.limit // len(parts))
            if share is not None:
                parts = [part._replace(rows=min(part.rows, share)) for part in parts]
            self._known = step, parts
        return self._known[1]

    def _all_parts(self, step: Step) -> Iterator[_Part]:
        settings = self.settings
        read = [(one.title, one, one.limit) for one in settings.benchmarks]
        read += [(name, one, one.limit) for name, one in settings.sources.items()]
        for name, one, limit in read:
            built = one.build(step.images, step.resolve_all(one.model_extra or {}))
            source = built[1] if isinstance(built, tuple) else built
            total = source.count()
            yield _Part(name, min(total, limit or total), source.read, step.images)
        for name, folder in settings.folders.items():
            root = step.resolve(folder)
            paths = list(image_paths(root))
            if not paths:
                raise ConfigError(f"{root}: no pictures for the benchmark {name} are here")
            yield _Part(name, len(paths), _Pictures(root, paths).read, root)


class _Pictures:
    """The pictures of a folder, read like a source."""

    def __init__(self, root: Path, paths: list[str]) -> None:
        self._catalog, self._paths = ImageCatalog(root), paths

    def read(self, first: int, count: int) -> Iterator[ImageRef | Quarantined]:
        for path in self._paths[first : first + count]:
            try:
                yield self._catalog.ref(path)
            except ImageError as error:
                yield Quarantined(path, error.reason, error.detail)


def _hash(part: _Part, first: int, count: int, grams: NGrams, out: RowWriter) -> None:
    """Keep the hashes of some rows."""
    looks: dict[str, int | None] = {}
    for at, row in enumerate(part.read(first, count), start=first):
        if isinstance(row, Quarantined):
            out.quarantine(row.where, row.reason, row.detail, raw_bytes(row.raw))
            continue
        image = row if isinstance(row, ImageRef) else row.picture
        try:
            if image.sha256 not in looks:
                looks[image.sha256] = picture_hash_of_file(part.images, image.path)
        except ImageError as error:  # it was there when its row was read
            out.quarantine(image.path, error.reason, error.detail)
            continue
        runs: list[int] = []
        if isinstance(row, Sample):
            asked = [turn.text for turn in row.turns if turn.role == "user"]
            runs = grams.of(asked)[0].tolist()
        out.keep(
            HashedItem(
                content_id("leaks", part.name, at),
                part.name,
                picture_key(image.sha256),
                looks[image.sha256],
                tuple(dict.fromkeys(runs)),
                isinstance(row, Sample),
            )
        )
