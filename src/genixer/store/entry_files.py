"""Annotation files as numbered entries: found in one pass, read one by one, mistakes told apart."""

from __future__ import annotations

import os
import re
import weakref
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import xxhash

from genixer.errors import ConfigError, DataError, near
from genixer.store.json_spans import find_spans, line_spans

__all__ = [
    "AnyEntries",
    "EntryError",
    "EntryFile",
    "JoinedFiles",
    "decode_entry",
    "json_array",
    "json_lines",
    "json_object",
]

T = TypeVar("T")
_KEY = re.compile(rb'\s*("(?:[^"\\]|\\.)*")\s*:', re.DOTALL)
_READ_AHEAD = 1 << 18
"""Bytes read at once where entries are asked for in order."""
_UNREADABLE = (DataError, UnicodeDecodeError, msgspec.DecodeError, RecursionError)
_LONGEST_KEY = 1 << 16
"""Bytes of an entry in which its key must end."""


class EntryError(DataError):
    """An entry that breaks a rule; `reason` is the snake_case word that is counted."""

    def __init__(self, reason: str, detail: str = "") -> None:
        """Keep `reason` for the count and `detail` for people."""
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


class AnyEntries(Protocol):
    """Entries by number, of one file or of several."""

    @property
    def places(self) -> Sequence[str]:
        """Where each entry stands: `file:line` or `file[index]`, without folders."""
        ...

    def __len__(self) -> int:
        """How many entries there are, broken ones included."""
        ...

    def raw(self, index: int) -> bytes:
        """Bytes of an entry."""
        ...

    def read(self, index: int, kind: type[T]) -> T:
        """Entry as a `kind`; raises `EntryError` (`not_utf8`, `not_json`, `bad_entry`)."""
        ...

    def repeated(self, key: str) -> frozenset[int]:
        """Entries whose id at `key` an earlier one has."""
        ...


class EntryFile:
    """Entries of one file; made by `json_array`, `json_object` or `json_lines`.

    Keeps the places of entries, 16 to 24 bytes each; the file stays open, bytes are read on demand.
    """

    def __init__(
        self,
        path: Path,
        starts: array[int],
        stops: array[int],
        places: Sequence[str],
        keyed: bool = False,
    ) -> None:
        """Entry i is bytes `starts[i]` to `stops[i]`; `keyed` ones are `"key": value`."""
        self.path, self.places = path, places
        self._starts, self._stops, self._keyed = starts, stops, keyed
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        """How many entries there are, broken ones included."""
        return len(self._starts)

    def raw(self, index: int) -> bytes:
        """Bytes of an entry, its key included if it has one."""
        start = self._starts[index]
        return os.pread(self._file, self._stops[index] - start, start).strip()

    def read(self, index: int, kind: type[T]) -> T:
        """Entry as a `kind`; raises `EntryError` (`not_utf8`, `not_json`, `bad_entry`)."""
        raw = self.raw(index)
        return decode_entry(raw[_key_end(raw) :] if self._keyed else raw, kind)

    def each(
        self, kind: type[T], first: int = 0, stop: int | None = None
    ) -> Iterator[T | EntryError]:
        """Entries `first` to `stop` as `kind`, each as `read` gives it, or the error it raises."""
        decode = msgspec.json.Decoder(kind).decode
        last = len(self) if stop is None else min(stop, len(self))
        ahead, begin, end = b"", 0, 0
        for index in range(first, last):
            start, after = self._starts[index], self._stops[index]
            if after > end:
                ahead = os.pread(self._file, max(after - start, _READ_AHEAD), start)
                begin, end = start, start + len(ahead)
            raw = ahead[start - begin : after - begin]
            try:
                yield decode(raw[_key_end(raw) :] if self._keyed else raw)
            except _UNREADABLE:
                # The slow way says what is wrong; it is not on the path of rows that are right.
                try:
                    yield self.read(index, kind)
                except EntryError as error:
                    yield error

    def key(self, index: int) -> str:
        """Key of an entry of `json_object`; raises `EntryError`."""
        head = self._head(index)
        return decode_entry(head[: _key_end(head)].rstrip(b": \t\r\n"), str)

    def value_span(self, index: int) -> tuple[int, int]:
        """Where in the file the value of an entry of `json_object` begins and ends."""
        return self._starts[index] + _key_end(self._head(index)), self._stops[index]

    def _head(self, index: int) -> bytes:
        """Its first bytes: the value may be the better part of the file."""
        start = self._starts[index]
        return os.pread(self._file, min(self._stops[index] - start, _LONGEST_KEY), start)

    def by_id(self, key: str) -> tuple[dict[int | str, int], frozenset[int]]:
        """Index of the first entry with each id, and indices of those that repeat one.

        `key` is the field of the id, empty for the keys of an object. Entries without a readable id
        are left out. Raises `ConfigError` when that is all of them: another layout.
        """
        first: dict[int | str, int] = {}
        repeated: set[int] = set()
        for index, entry in _ids(self, key):
            if first.setdefault(entry, index) != index:
                repeated.add(index)
        return first, frozenset(repeated)

    def repeated(self, key: str) -> frozenset[int]:
        """What `by_id` says of repetition, at 16 bytes an entry while it looks."""
        return _repeated([self], key)


class JoinedFiles:
    """Entries of several files in order, as though they were one."""

    def __init__(self, files: Sequence[EntryFile]) -> None:
        """Join `files`."""
        self._files = files
        self._ends = list(accumulate(len(file) for file in files))

    def __len__(self) -> int:
        """How many entries there are, broken ones included."""
        return self._ends[-1] if self._ends else 0

    @property
    def places(self) -> Sequence[str]:
        """Where each entry stands."""
        return _Places(lambda index: self._at(index, lambda file, i: file.places[i]), len(self))

    def raw(self, index: int) -> bytes:
        """Bytes of an entry, its key included if it has one."""
        return self._at(index, EntryFile.raw)

    def read(self, index: int, kind: type[T]) -> T:
        """Entry as a `kind`; raises `EntryError`."""
        return self._at(index, lambda file, i: file.read(i, kind))

    def repeated(self, key: str) -> frozenset[int]:
        """Entries whose id an earlier one has, in the same file or another."""
        return _repeated(self._files, key)

    def _at(self, index: int, do: Callable[[EntryFile, int], T]) -> T:
        number = bisect_right(self._ends, index)
        file = self._files[number]
        return do(file, index - self._ends[number] + len(file))


def json_array(path: Path, key: str = "") -> EntryFile:
    """Entries of the JSON array in a file, or of the array at `key` of the object in it.

    Raises `ConfigError` when there is no such array.
    """
    if not key:
        return _of_spans(path, path.name, find_spans(path, b"["))
    outer = json_object(path)
    at = next((i for i in range(len(outer)) if _key_or_none(outer, i) == key), None)
    if at is None:
        known = filter(None, (_key_or_none(outer, index) for index in range(min(9, len(outer)))))
        raise ConfigError(f"{path}: no {key!r} in it: is it another file? {near(key, known)}")
    start, stop = outer.value_span(at)
    return _of_spans(path, f"{path.name}:{key}", find_spans(path, b"[", start, stop))


def json_object(path: Path, kind: type[Any] = object) -> EntryFile:
    """Entries of the JSON object in a file, each `"key": value`.

    Raises `ConfigError` when there is no object, or none of its values is a `kind`: another layout.
    """
    file = _of_spans(path, path.name, find_spans(path, b"{"), keyed=True)
    problem = ""
    for index in range(len(file) if kind is not object else 0):
        try:
            file.read(index, kind)
        except EntryError as error:
            problem = problem or f"{file.places[index]}: {error}"
        else:
            return file
    if problem:
        raise ConfigError(f"{path}: no entry is of this layout: is it another file? {problem}")
    return file


def json_lines(path: Path) -> EntryFile:
    """Entries of a JSONL file without blank lines; raises `ConfigError` when it cannot be read."""
    starts, stops, numbers = line_spans(path)
    if not starts:
        raise ConfigError(f"{path}: the file is empty")
    places = _Places(lambda index: f"{path.name}:{numbers[index]}", len(numbers))
    return EntryFile(path, starts, stops, places)


def _of_spans(path: Path, name: str, cuts: array[int], keyed: bool = False) -> EntryFile:
    starts = array("Q", (cut + 1 for cut in cuts[:-1]))
    places = _Places(lambda index: f"{name}[{index}]", len(starts))
    return EntryFile(path, starts, cuts[1:], places, keyed)


class _Places(Sequence[str]):
    """What `make` says for every index, without keeping it."""

    def __init__(self, make: Callable[[int], str], count: int) -> None:
        self._make, self._count = make, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._make(index)


def _ids(file: EntryFile, key: str) -> Iterator[tuple[int, int | str]]:
    """Entries with their readable ids; raises `ConfigError` when there are entries but no ids."""
    kind = msgspec.defstruct("WithId", [("id", int | str)], rename={"id": key or "id"})
    problem, some = "", False
    for index in range(len(file)):
        try:
            found = file.read(index, kind).id if key else file.key(index)  # type: ignore[attr-defined]
        except EntryError as error:
            problem = problem or f"{file.places[index]}: {error}"
            continue
        some = True
        yield index, found
    if problem and not some:
        raise ConfigError(f"{file.path}: no entry has a {key!r}: is it another file? {problem}")


def _repeated(files: Sequence[EntryFile], key: str) -> frozenset[int]:
    """Numbers, over all files, of entries whose id an earlier entry has."""
    import numpy as np

    at, digests, before = array("Q"), array("Q"), 0
    for file in files:
        for index, found in _ids(file, key):
            at.append(before + index)
            digests.append(xxhash.xxh3_64_intdigest(repr(found).encode("utf-8", "surrogatepass")))
        before += len(file)
    # Stable, so that the first of equal ones is the one that comes first. 64 bits do not collide by
    # chance: the odds are one in a million for six million ids.
    hashes = np.frombuffer(digests, dtype=np.uint64) if digests else np.empty(0, dtype=np.uint64)
    order = np.argsort(hashes, kind="stable")
    again = order[1:][hashes[order][1:] == hashes[order][:-1]]
    return frozenset(at[int(place)] for place in again)


def decode_entry(raw: bytes | msgspec.Raw, kind: type[T]) -> T:
    """A `kind` from its JSON; raises `EntryError` (`not_utf8`, `not_json`, `bad_entry`)."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except UnicodeDecodeError as error:
        raise EntryError("not_utf8", str(error)) from error
    except (msgspec.ValidationError, DataError) as error:
        raise EntryError("bad_entry", str(error)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise EntryError("not_json", str(error)) from error


def _key_end(raw: bytes) -> int:
    found = _KEY.match(raw)
    if found is None:
        raise EntryError("not_json", "expected a key and a colon")
    return found.end()


def _key_or_none(file: EntryFile, index: int) -> str | None:
    try:
        return file.key(index)
    except EntryError:
        return None
