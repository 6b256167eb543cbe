"""Annotation files as numbered entries: found at once, read one by one, each mistake told apart.

Only the places of the entries are kept, 16 bytes each (24 in files of lines), never the file.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from genixer.data import Quarantined, Sample, escape_marks
from genixer.errors import ConfigError, DataError
from genixer.store.images import ImageError
from genixer.store.shards import raw_text
from genixer.store.spans import Spans, SpansError, array_spans, line_spans

__all__ = [
    "Entries",
    "EntryError",
    "EntryFile",
    "clean",
    "decode_entry",
    "join_path",
    "json_array",
    "json_lines",
    "read_entry",
    "read_part",
]

T = TypeVar("T")


class EntryError(DataError):
    """An entry that breaks a rule; `reason` is the snake_case word that is counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        """Keep `reason` for the count and `detail` for people."""
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


class EntryFile:
    """Entries of one file, as bytes; made by `json_array` or `json_lines`."""

    def __init__(self, path: Path, raws: Sequence[bytes], places: Sequence[str]) -> None:
        """`places[i]` is where entry i stands: `file:line` or `file[index]`, without folders."""
        self.path, self.places, self._raws = path, places, raws

    def __len__(self) -> int:
        """How many entries there are, broken ones included."""
        return len(self._raws)

    def raw(self, index: int) -> bytes:
        """Bytes of an entry."""
        return self._raws[index]

    def read(self, index: int, kind: type[T]) -> T:
        """Entry as a `kind`; raises `EntryError` (`not_utf8`, `not_json`, `bad_entry`)."""
        return decode_entry(self._raws[index], kind)

    def by_id(self, key: str) -> tuple[dict[int | str, int], frozenset[int]]:
        """Index of the first entry with each id, and indices of those that repeat one.

        Entries without a readable id are left out. Raises `ConfigError` when that is all of them:
        another layout.
        """
        kind = msgspec.defstruct("WithId", [("id", int | str)], rename={"id": key})
        first: dict[int | str, int] = {}
        repeated: set[int] = set()
        problem = ""
        for index in range(len(self)):
            try:
                entry: int | str = self.read(index, kind).id  # type: ignore[attr-defined]
            except EntryError as error:
                problem = problem or f"{self.places[index]}: {error}"
                continue
            if first.setdefault(entry, index) != index:
                repeated.add(index)
        if problem and not first:
            raise ConfigError(f"{self.path}: no entry has a {key!r}: is it another file? {problem}")
        return first, frozenset(repeated)


def decode_entry(raw: bytes | msgspec.Raw, kind: type[T]) -> T:
    """A `kind` from its JSON; raises `EntryError` (`not_utf8`, `not_json`, `bad_entry`)."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except UnicodeDecodeError as error:
        raise EntryError("not_utf8", str(error)) from error
    except msgspec.ValidationError as error:
        raise EntryError("bad_entry", str(error)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise EntryError("not_json", str(error)) from error


def json_array(path: Path, key: str = "") -> EntryFile:
    """Entries of the JSON array in a file, or of the array at `key` of the object in it.

    Raises `ConfigError` when there is no such array, or only its beginning.
    """
    file = _opened(path)
    try:
        spans = array_spans(file, key)
    except SpansError as error:
        file.close()
        wanted = f"an object with an array {key!r}" if key else "an array"
        raise ConfigError(f"{path}: expected JSON, {wanted}; {error}") from error
    name = f"{path.name}:{key}" if key else path.name
    return EntryFile(path, _Slices(file, spans), _Places(f"{name}[", range(len(spans.starts)), "]"))


def json_lines(path: Path) -> EntryFile:
    """Entries of a JSONL file without blank lines; raises `ConfigError` when it cannot be read."""
    file = _opened(path)
    spans = line_spans(file)
    return EntryFile(path, _Slices(file, spans), _Places(f"{path.name}:", spans.lines))


class _Slices(Sequence[bytes]):
    """Bytes of a file's entries, read when asked for; the file stays open as long as this lives."""

    def __init__(self, file: BinaryIO, spans: Spans) -> None:
        self._file, self._spans = file, spans
        weakref.finalize(self, file.close)

    def __len__(self) -> int:
        return len(self._spans.starts)

    def __getitem__(self, index: int) -> bytes:  # type: ignore[override]
        start = self._spans.starts[index]
        self._file.seek(start)
        return self._file.read(self._spans.ends[index] - start).strip()


class _Places(Sequence[str]):
    """Where entries stand: each of `numbers` between `head` and `tail`, put together when asked."""

    def __init__(self, head: str, numbers: Sequence[int], tail: str = "") -> None:
        self._head, self._numbers, self._tail = head, numbers, tail

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        return f"{self._head}{self._numbers[index]}{self._tail}"


def _opened(path: Path) -> BinaryIO:
    """The file at its start, once known to hold something; raises `ConfigError`."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    while piece := file.read(1 << 20):
        if piece.strip():
            return file
    file.close()
    raise ConfigError(f"{path}: the file is empty")


class Entries:
    """Entries of one file as samples: `load` opens the file, `key` is its id, `make` reads entry i.

    The file is opened on first use.
    """

    def __init__(
        self, load: Callable[[], EntryFile], key: str, make: Callable[[int], Sample]
    ) -> None:
        """Keep how to read; open nothing yet."""
        self._load, self._key, self._make = load, key, make

    @cached_property
    def file(self) -> EntryFile:
        """The file, split."""
        return self._load()

    @cached_property
    def _repeated(self) -> frozenset[int]:
        return self.file.by_id(self._key)[1]

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


def read_entry(file: EntryFile, index: int, make: Callable[[], Sample]) -> Sample | Quarantined:
    """What `make` gives, or entry `index` with the reason why not."""
    return read_part(make, lambda: (file.places[index], file.raw(index)))


def read_part(
    make: Callable[[], Sample], part: Callable[[], tuple[str, bytes]]
) -> Sample | Quarantined:
    """What `make` gives, or the reason why not, with the place and the bytes that `part` gives."""
    try:
        return make()
    except EntryError as error:
        reason, detail = error.reason, error.detail
    except ImageError as error:
        # Its detail may name folders of this machine, which rows must not.
        reason, detail = error.reason, error.path
    where, raw = part()
    return Quarantined(where, reason, detail, raw_text(raw))


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
