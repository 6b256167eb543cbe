"""What formats with a row a conversation share: files of rows in, files of rows out, one by one.

Where rows come from (source, licence, scores) and what task they are stands in the sidecar, found
again by the row's id. Without one the settings tell licence and task, the form of a row its task
where they do not, and its source is the name of the format.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgspec
import xxhash
from pydantic import field_validator

from genixer.data import ImageRef, Origin, Quarantined, Sample, Turn, encode_row
from genixer.errors import CannotEncodeError, ConfigError, near
from genixer.formats.base import FormatSettings
from genixer.formats.sidecars import ProvenanceFile, Sidecars, whole_file
from genixer.formats.tally import Tally, Written
from genixer.store.entries import (
    EntryError,
    EntryFile,
    join_path,
    json_array,
    json_lines,
    read_entry,
)
from genixer.store.images import ImageCatalog
from genixer.tasks import TASKS
from genixer.tasks.shape import are_pairs, shape

__all__ = ["ConversationFormat", "ConversationSettings", "check_pairs", "image_of_list"]


class ConversationSettings(FormatSettings):
    """What every format of conversations asks."""

    image_prefix: str = ""
    """Folder that stands before every image path in the file, as the trainer is to see it."""
    task: str = ""
    """Reading: task of rows that no sidecar tells of; empty tells it from their form."""
    licence: str = ""
    """Reading: licence of rows that no sidecar tells of."""

    @field_validator("task")
    @classmethod
    def _known(cls, task: str) -> str:
        if task and task not in TASKS:
            raise ValueError(f"no task is called {task!r}; {near(task, TASKS)}")
        return task


class ConversationFormat(ABC):
    """A row a conversation, in a JSON array, or in JSONL for a name in `.jsonl`.

    A subclass says what its row is. Not written: `not_pairs` (turns that do not alternate, user
    first) and what the subclass refuses.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[ConversationSettings]]
    endings: ClassVar[tuple[str, ...]] = ("json", "jsonl")
    Row: ClassVar[type[Any]]
    """Row of the file, a msgspec struct with `id`, which may be missing."""
    field: ClassVar[str]
    """Name in the file of the field that only rows of this layout have."""
    settings: Any

    def __init__(self, settings: ConversationSettings | None = None) -> None:
        """Keep `settings`."""
        self.settings = settings or self.Settings()
        self._opened: _Opened | None = None
        self._catalog = ImageCatalog(Path())

    @abstractmethod
    def row(self, sample: Sample, tally: Tally) -> Any:
        """Row of a sample of user and assistant turns; raises `CannotEncodeError`."""

    @abstractmethod
    def image(self, row: Any) -> str:
        """Image path as the row has it; raises `EntryError`."""

    @abstractmethod
    def turns(self, row: Any, image: ImageRef) -> Sequence[Turn]:
        """Turns of a row; raises `EntryError`."""

    def path(self, sample: Sample) -> str:
        """Image path to write."""
        return join_path(self.settings.image_prefix, sample.image.path)

    def write(self, samples: Iterable[Sample], out: Path, images: Path) -> Written:
        """Write `samples` in order, and the sidecars; image files are not touched."""
        tally = Tally(self.name, self.settings.strict)
        lines = out.suffix == ".jsonl"
        with whole_file(out) as file, Sidecars.beside(out) as sidecars:
            before = b"" if lines else b"[\n"
            for sample in samples:
                try:
                    row = encode_row(self._row(sample, tally))
                except CannotEncodeError as error:
                    tally.left_out(sample, error)
                    continue
                file.write(before + row)
                before = b"\n" if lines else b",\n"
                sidecars.add(sample)
                tally.wrote()
            done = tally.settle()
            if lines:
                file.write(b"\n" if done["written"] else b"")
            else:
                file.write(b"\n]\n" if done["written"] else b"[]\n")
        return done

    def read(self, path: Path, images: Path) -> Iterator[Sample | Quarantined]:
        """Samples in file order; task and origin come from the sidecar where there is one."""
        yield from self.part(path, images, 0, self.count(path))

    def count(self, path: Path) -> int:
        """How many rows the file has, broken ones included."""
        return len(self._open(path).file)

    def part(
        self, path: Path, images: Path, first: int, count: int
    ) -> Iterator[Sample | Quarantined]:
        """Rows `first` to `first + count`."""
        opened = self._open(path)
        if self._catalog.root != images:
            self._catalog = ImageCatalog(images)
        for index in range(first, min(first + count, len(opened.file))):
            yield read_entry(opened.file, index, partial(self._sample, opened, index))

    def _row(self, sample: Sample, tally: Tally) -> Any:
        if not are_pairs(sample.turns):
            roles = ", ".join(turn.role for turn in sample.turns)
            raise CannotEncodeError("not_pairs", f"roles are {roles}")
        return self.row(sample, tally)

    def _sample(self, opened: _Opened, index: int) -> Sample:
        if index in opened.repeated:
            raise EntryError("duplicate_id", "an earlier entry has the same id")
        row = opened.file.read(index, self.Row)
        image = self._catalog.ref(self._inside(self.image(row)))
        turns = tuple(self.turns(row, image))
        known = None if row.id is None else opened.known.get(index, str(row.id))
        if known is not None:
            return Sample.of(known.task, image, turns, known.origin)
        task = self.settings.task or shape(turns)
        return Sample.of(task, image, turns, Origin(self.name, self.settings.licence))

    def _inside(self, path: str) -> str:
        """Image path below the image root."""
        prefix = join_path(self.settings.image_prefix, "")
        if not path.startswith(prefix):
            raise EntryError("other_folder", f"{path[:200]} does not begin with {prefix}")
        return path.removeprefix(prefix)

    def _open(self, path: Path) -> _Opened:
        """The file at `path`; looked through once for all its parts, as long as it stays."""
        try:
            status = path.stat()
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
        as_it_is = path, status.st_mtime_ns, status.st_size
        if self._opened is None or self._opened.as_it_is != as_it_is:
            file = json_lines(path) if path.suffix == ".jsonl" else json_array(path)
            repeated = _repeated(file, self.field)
            self._opened = _Opened(as_it_is, file, repeated, ProvenanceFile(path))
        return self._opened


class _Opened(NamedTuple):
    as_it_is: tuple[Path, int, int]
    """Path, time of change and size."""
    file: EntryFile
    repeated: frozenset[int]
    known: ProvenanceFile


def _repeated(file: EntryFile, field: str) -> frozenset[int]:
    """Indices of the entries whose id an earlier one has; 16 bytes an entry.

    Raises `ConfigError` when no entry has the `field`: another layout.
    """
    import numpy as np

    kind = msgspec.defstruct(
        "Head", [("here", msgspec.Raw), ("id", msgspec.Raw, msgspec.Raw())], rename={"here": field}
    )
    places, digests, problem, some = array("Q"), array("Q"), "", False
    for index in range(len(file)):
        try:
            head: Any = file.read(index, kind)
        except EntryError as error:
            problem = problem or f"{file.places[index]}: {error}"
            continue
        some = True
        given = bytes(head.id)
        if given and given != b"null":
            places.append(index)
            digests.append(xxhash.xxh3_64_intdigest(given))
    if problem and not some:
        raise ConfigError(f"{file.path}: no entry has {field!r}: is it another file? {problem}")
    # Stable, so that the first of equal ones is the earliest. Different ids do not meet by chance:
    # the odds are one in a million for six million of them.
    hashes = np.frombuffer(digests, dtype=np.uint64) if digests else np.empty(0, dtype=np.uint64)
    order = np.argsort(hashes, kind="stable")
    again = order[1:][hashes[order][1:] == hashes[order][:-1]]
    return frozenset(places[int(at)] for at in again)


def image_of_list(images: Sequence[str] | str | None) -> str:
    """The one image of a row; raises `EntryError` (`no_image`, `several_images`)."""
    found = [images] if isinstance(images, str) else list(images or ())
    if not found or not found[0]:
        raise EntryError("no_image", "a conversation without an image")
    if len(found) > 1:
        raise EntryError("several_images", f"{len(found)} images")
    return found[0]


def check_pairs(roles: Sequence[str], user: str, assistant: str) -> None:
    """Raise `EntryError` (`bad_turns`) unless `roles` are pairs of `user` and `assistant`."""
    if not roles or list(roles) != [user, assistant] * (len(roles) // 2):
        raise EntryError("bad_turns", f"speakers are {', '.join(roles) or 'none'}"[:200])
