"""What formats with a row a conversation share: files of rows in, files of rows out, one by one.

Where rows come from (source, licence, scores) and what task they are stands in the sidecar, found
again by the row's id. Without one the settings tell licence and task, the form of a row its task
where they do not, and its source is the name of the format.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgspec
import xxhash
from pydantic import field_validator

from genixer.data import ImageRef, Origin, Quarantined, Sample, Turn
from genixer.errors import CannotEncodeError, ConfigError, near
from genixer.formats.base import FormatSettings
from genixer.formats.rows_file import Rows
from genixer.formats.sidecars import ProvenanceFile, Sidecars, whole_file
from genixer.formats.tally import Tally, Written
from genixer.store.entries import (
    EntryError,
    EntryFile,
    join_path,
    json_array,
    json_lines,
    refused,
)
from genixer.store.images import ImageCatalog, ImageError
from genixer.tasks import TASKS
from genixer.tasks.shape import are_pairs, shape

__all__ = [
    "ConversationFormat",
    "ConversationSettings",
    "check_pairs",
    "expect_image",
    "image_of_list",
]


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
        self._origin = Origin(self.name, self.settings.licence)
        self._prefix = join_path(self.settings.image_prefix, "")

    @abstractmethod
    def row(self, sample: Sample, tally: Tally) -> Any:
        """Row of a sample of user and assistant turns; raises `CannotEncodeError`."""

    @abstractmethod
    def image(self, row: Any) -> str:
        """Image path as the row has it, empty where it has none; raises `EntryError`."""

    @abstractmethod
    def turns(self, row: Any, image: ImageRef | None) -> Sequence[Turn]:
        """Turns of a row; raises `EntryError`."""

    def path(self, sample: Sample) -> str:
        """Image path to write; raises `CannotEncodeError` (`no_image`) for words alone."""
        return join_path(self.settings.image_prefix, sample.picture.path)

    def paths(self, sample: Sample) -> list[str]:
        """The same as a list of one, or of none."""
        return [self.path(sample)] if sample.image else []

    def write(self, samples: Iterable[Sample], out: Path, images: Path) -> Written:
        """Write `samples` in order, and the sidecars; image files are not touched."""
        tally = Tally(self.name, self.settings.strict)
        with whole_file(out) as file, Sidecars.beside(out) as sidecars:
            rows = Rows(file, lines=out.suffix == ".jsonl")
            for sample in samples:
                try:
                    row = self._row(sample, tally)
                except CannotEncodeError as error:
                    tally.left_out(sample, error)
                    continue
                rows.add(row)
                sidecars.add(sample)
                tally.wrote()
            done = tally.settle()
            rows.close()
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
        file = opened.file
        for index, row in enumerate(file.each(self.Row, first, first + count), start=first):
            try:
                found: Sample | Quarantined = self._sample(opened, index, row)
            except (EntryError, ImageError) as error:
                found = refused(error, file.places[index], file.raw(index))
            yield found

    def _row(self, sample: Sample, tally: Tally) -> Any:
        if not are_pairs(sample.turns):
            roles = ", ".join(turn.role for turn in sample.turns)
            raise CannotEncodeError("not_pairs", f"roles are {roles}")
        return self.row(sample, tally)

    def _sample(self, opened: _Opened, index: int, row: Any) -> Sample:
        if index in opened.repeated:
            raise EntryError("duplicate_id", "an earlier entry has the same id")
        if isinstance(row, EntryError):
            raise row
        path = self.image(row)
        image = self._catalog.ref(self._inside(path)) if path else None
        turns = tuple(self.turns(row, image))
        if image is None and any(turn.boxes or turn.points for turn in turns):
            raise EntryError("no_image", "places in an image, and the row names none")
        known = None
        if opened.known is not None and row.id is not None:
            known = opened.known.get(index, str(row.id))
        if known is not None:
            return Sample.of(known.task, image, turns, known.origin)
        task = self.settings.task or shape(turns)
        return Sample.of(task, image, turns, self._origin)

    def _inside(self, path: str) -> str:
        """Image path below the image root."""
        if not path.startswith(self._prefix):
            raise EntryError("other_folder", f"{path[:200]} does not begin with {self._prefix}")
        return path[len(self._prefix) :]

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
            self._opened = _Opened(as_it_is, file, repeated, ProvenanceFile.of(path))
        return self._opened


class _Opened(NamedTuple):
    as_it_is: tuple[Path, int, int]
    """Path, time of change and size."""
    file: EntryFile
    repeated: frozenset[int]
    known: ProvenanceFile | None


def _repeated(file: EntryFile, field: str) -> frozenset[int]:
    """Indices of the entries whose id an earlier one has; 16 bytes an entry.

    Raises `ConfigError` when no entry has the `field`: another layout.
    """
    import numpy as np

    kind = msgspec.defstruct(
        "Head", [("here", msgspec.Raw), ("id", msgspec.Raw, msgspec.Raw())], rename={"here": field}
    )
    places, digests, problem, some = array("Q"), array("Q"), "", False
    head: Any
    for index, head in enumerate(file.each(kind)):
        if isinstance(head, EntryError):
            problem = problem or f"{file.places[index]}: {head}"
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
    """The one image of a row, empty where it has none; raises `EntryError` (`several_images`)."""
    if isinstance(images, str):
        return images
    found = list(images or ())
    if len(found) > 1:
        raise EntryError("several_images", f"{len(found)} images")
    return found[0] if found else ""


def expect_image(path: str) -> str:
    """`path`; raises `EntryError` (`no_image`) for none, in layouts that cannot do without."""
    if not path:
        raise EntryError("no_image", "a conversation without an image")
    return path


def check_pairs(roles: Sequence[str], user: str, assistant: str) -> None:
    """Raise `EntryError` (`bad_turns`) unless `roles` are pairs of `user` and `assistant`."""
    if not _are_pairs(roles, user, assistant):
        raise EntryError("bad_turns", f"speakers are {', '.join(roles) or 'none'}"[:200])


def _are_pairs(roles: Sequence[str], user: str, assistant: str) -> bool:
    if len(roles) == 2:  # most conversations
        return roles[0] == user and roles[1] == assistant
    return bool(roles) and list(roles) == [user, assistant] * (len(roles) // 2)
