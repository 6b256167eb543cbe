"""Entries of annotation files as samples: what breaks a rule is quarantined with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

from genixer.data import Quarantined, Sample, escape_marks
from genixer.store.entry_files import (
    AnyEntries,
    EntryError,
    EntryFile,
    JoinedFiles,
    decode_entry,
    json_array,
    json_lines,
    json_object,
)
from genixer.store.images import ImageError
from genixer.store.shards import raw_text

__all__ = [
    "AnyEntries",
    "Entries",
    "EntryError",
    "EntryFile",
    "JoinedFiles",
    "clean",
    "decode_entry",
    "join_path",
    "json_array",
    "json_lines",
    "json_object",
    "read_entry",
    "read_part",
    "refused",
]


class Entries:
    """Entries of a file as samples: `load` opens the file, `key` is its id, `make` reads entry i.

    The file is opened on first use.
    """

    def __init__(
        self, load: Callable[[], AnyEntries], key: str, make: Callable[[int], Sample]
    ) -> None:
        """Keep how to read; open nothing yet."""
        self._load, self._key, self._make = load, key, make

    @cached_property
    def file(self) -> AnyEntries:
        """The file, split."""
        return self._load()

    @cached_property
    def _repeated(self) -> frozenset[int]:
        return self.file.repeated(self._key)

    def read(self, first: int = 0, count: int | None = None) -> Iterator[Sample | Quarantined]:
        """Samples of entries `first` to `first + count`, broken and repeated ones as such."""
        last = len(self.file) if count is None else min(first + count, len(self.file))
        for index in range(first, last):
            yield read_entry(self.file, index, self._made(index))

    def _made(self, index: int) -> Callable[[], Sample]:
        if index in self._repeated:
            return _refuse_repeated
        return lambda: self._make(index)


def _refuse_repeated() -> Sample:
    raise EntryError("duplicate_id", "an earlier entry has the same id")


def read_entry(file: AnyEntries, index: int, make: Callable[[], Sample]) -> Sample | Quarantined:
    """What `make` gives, or entry `index` with the reason why not."""
    return read_part(make, lambda: (file.places[index], file.raw(index)))


def read_part(
    make: Callable[[], Sample], part: Callable[[], tuple[str, bytes]]
) -> Sample | Quarantined:
    """What `make` gives, or the reason why not, with the place and the bytes that `part` gives."""
    try:
        return make()
    except (EntryError, ImageError) as error:
        return refused(error, *part())


def refused(error: EntryError | ImageError, where: str, raw: bytes) -> Quarantined:
    """The entry of bytes `raw`, which breaks a rule."""
    # The detail of an image's error may name folders of this machine, which rows must not.
    detail = error.path if isinstance(error, ImageError) else error.detail
    return Quarantined(where, error.reason, detail, raw_text(raw))


def clean(text: str) -> str:
    r"""Words of a dataset as a turn carries them: outer space removed, literal marks escaped.

    Raises `EntryError` (`empty_text`) when nothing is left.

    >>> clean(" press <box> \n")
    'press \\<box>'
    """
    stripped = text.strip()
    if not stripped:
        raise EntryError("empty_text")
    return escape_marks(stripped)


def join_path(prefix: str, path: str) -> str:
    """`path` below the folder `prefix` of the image root, which may be empty.

    >>> join_path("train2014/", "7.jpg"), join_path("", "7.jpg")
    ('train2014/7.jpg', '7.jpg')
    """
    return f"{prefix.rstrip('/')}/{path}" if prefix else path
