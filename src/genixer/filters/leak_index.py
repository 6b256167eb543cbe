"""What is known of benchmarks, as hashes alone: one file that can be given away.

Layout, all numbers little endian: `gxleaks` and the number of the format (1 byte), the xxh3-128 of
all that follows (16), the length of the header (8), the header (JSON, filled up with spaces to a
multiple of 8), then three tables: sorted keys (8 each), then the number of the benchmark of each
(2 each, filled up to a multiple of 8). Keys stand for the bytes of pictures (from their sha256),
for their looks (perceptual hashes) and for runs of words. Equal input gives equal bytes.
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import xxhash

from genixer.data import Record, decode_row, encode_row
from genixer.errors import ConfigError, StoreError
from genixer.store.hamming import HammingIndex, spread

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

__all__ = ["BenchmarkEntry", "HashedItem", "LeakIndex", "LeakIndexBuilder", "picture_key"]

FORMAT = 1
_MAGIC = b"gxleaks"
_HEAD = len(_MAGIC) + 1 + 16
Kind = Literal["pictures", "looks", "runs"]
_KINDS: tuple[Kind, ...] = get_args(Kind)
_MOST_BENCHMARKS = 1 << 16


def picture_key(sha256: str) -> int:
    """Number below 2^64 that stands for the bytes of a picture."""
    return xxhash.xxh3_64_intdigest(sha256.encode())


class HashedItem(Record, frozen=True):
    """One picture or question of a benchmark, hashes only.

    `look` is None for a picture too plain to have one; `asked`: there is a question.
    """

    id: str
    benchmark: str
    picture: int
    look: int | None = None
    runs: tuple[int, ...] = ()
    asked: bool = False


class BenchmarkEntry(Record, frozen=True):
    """What an index knows of one benchmark.

    `plain` of its different `pictures` have no look. Of its `questions`, `short` have too few words
    to be known by them; `common` runs of words are not evidence, since too many questions of the
    benchmark share them.
    """

    name: str
    pictures: int
    plain: int
    questions: int
    short: int
    common: int


class _Header(Record, frozen=True):
    words: int
    benchmarks: tuple[BenchmarkEntry, ...]
    sizes: dict[Kind, int]


class LeakIndexBuilder:
    """Collects hashed items and lays them out; 20 bytes an item and 10 a run of words."""

    def __init__(self, words: int, common_above: int) -> None:
        """Runs have `words` words; those in more than `common_above` questions are left out."""
        self._words, self._common_above = words, common_above
        self._names: dict[str, int] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._tables = {kind: _Table() for kind in _KINDS}
        self._plain = _Table()

    def add(self, item: HashedItem) -> None:
        """Take in one more item."""
        name = item.benchmark
        of = self._names.setdefault(name, len(self._names))
        if of == _MOST_BENCHMARKS:
            raise ConfigError(f"more than {_MOST_BENCHMARKS} benchmarks; make two indexes")
        if item.asked:
            self._count(name, "questions")
            if not item.runs:
                self._count(name, "short")
        self._tables["pictures"].add(item.picture, of)
        if item.look is None:
            self._plain.add(item.picture, of)
        else:
            self._tables["looks"].add(item.look, of)
        for run in dict.fromkeys(item.runs):
            self._tables["runs"].add(run, of)

    def _count(self, name: str, what: str) -> None:
        self._counts[name, what] = self._counts.get((name, what), 0) + 1

    def build(self) -> bytes:
        """The whole file."""
        laid = {kind: table.laid_out() for kind, table in self._tables.items()}
        keys, of, times = laid["runs"]
        rare = times <= self._common_above
        laid["runs"] = keys[rare], of[rare], times[rare]
        body = b"".join(
            part
            for keys, of, _ in laid.values()
            for part in (keys.tobytes(), _filled(of.tobytes()))
        )
        _, plain, _ = self._plain.laid_out()
        counted = laid["pictures"][1], plain, of[~rare]
        entries = tuple(self._entry(name, *counted) for name in self._names)
        sizes = {kind: len(keys) for kind, (keys, _, _) in laid.items()}
        head = _filled(encode_row(_Header(self._words, entries, sizes)), b" ")
        rest = len(head).to_bytes(8, "little") + head + body
        return _MAGIC + bytes([FORMAT]) + xxhash.xxh3_128_digest(rest) + rest

    def _entry(self, name: str, pictures: Array, plain: Array, common: Array) -> BenchmarkEntry:
        number = self._names[name]
        return BenchmarkEntry(
            name,
            pictures=int((pictures == number).sum()),
            plain=int((plain == number).sum()),
            questions=self._counts.get((name, "questions"), 0),
            short=self._counts.get((name, "short"), 0),
            common=int((common == number).sum()),
        )


class _Table:
    """Keys and the number of the benchmark each belongs to."""

    def __init__(self) -> None:
        self._keys, self._of = array("Q"), array("H")

    def add(self, key: int, of: int) -> None:
        self._keys.append(key)
        self._of.append(of)

    def laid_out(self) -> tuple[Array, Array, Array]:
        """Different pairs in order, and how often each came."""
        import numpy as np

        keys = np.array(self._keys, dtype="<u8")
        of = np.array(self._of, dtype="<u2")
        order = np.lexsort((of, keys))
        keys, of = keys[order], of[order]
        new = np.ones(len(keys), dtype=bool)
        new[1:] = (keys[1:] != keys[:-1]) | (of[1:] != of[:-1])
        times = np.diff(np.append(np.flatnonzero(new), len(keys)))
        return keys[new], of[new], times


def _filled(data: bytes, sign: bytes = b"\0") -> bytes:
    return data + sign * (-len(data) % 8)


class LeakIndex:
    """An index file, mapped into memory and proved whole by its digest."""

    def __init__(self, path: Path) -> None:
        """Open `path`; raises `ConfigError` for what is no index, `StoreError` if it is damaged."""
        import numpy as np

        self.path = path
        try:
            data: Array = np.memmap(path, dtype=np.uint8, mode="r")
        except (OSError, ValueError) as error:  # ValueError: a file without bytes
            raise ConfigError(f"{path}: no leak index ({error}); {_WAY_OUT}") from error
        header, body, self.digest = _opened(path, data)
        self.words, self.benchmarks = header.words, header.benchmarks
        self._tables: dict[Kind, tuple[Array, Array]] = {}
        at = 0
        for kind in _KINDS:
            size = header.sizes[kind]
            keys, at = body[at : at + 8 * size].view("<u8"), at + 8 * size
            of, at = body[at : at + 2 * size].view("<u2"), at + 2 * size + (-2 * size % 8)
            self._tables[kind] = keys, of
        self._looks = HammingIndex(np.asarray(self._tables["looks"][0]))

    def find(self, kind: Kind, keys: Array) -> tuple[Array, Array]:
        """Place in `keys` and number of the benchmark for every key that is known."""
        import numpy as np

        known, of = self._tables[kind]
        starts = np.searchsorted(known, keys, "left")
        owners, places = spread(starts, np.searchsorted(known, keys, "right") - starts)
        return owners, of[places]

    def near(self, looks: Array, distance: int) -> tuple[Array, Array, Array]:
        """Place in `looks`, number of the benchmark, bits for every look at most `distance` off."""
        asked, places, bits = self._looks.near(looks, distance)
        return asked, self._tables["looks"][1][places], bits


_WAY_OUT = "make one with a step of the stage leak_index and name @STEP/benchmarks.leaks"


def _opened(path: Path, data: Array) -> tuple[_Header, Array, str]:
    """Header, tables and digest of the file; checks that it is what it was."""
    if data[: len(_MAGIC)].tobytes() != _MAGIC:
        raise ConfigError(f"{path}: not a leak index; {_WAY_OUT}")
    format = int(data[len(_MAGIC)]) if len(data) > len(_MAGIC) else FORMAT
    if format != FORMAT:
        raise ConfigError(f"{path}: format {format}, this version reads {FORMAT}; {_WAY_OUT}")
    promised = data[_HEAD - 16 : _HEAD].tobytes().hex()
    digest = xxhash.xxh3_128_hexdigest(data[_HEAD:].data)
    if promised != digest:
        raise StoreError(f"{path}: its digest is {digest} instead of {promised}; make it again")
    end = _HEAD + 8 + int.from_bytes(data[_HEAD : _HEAD + 8].tobytes(), "little")
    return decode_row(data[_HEAD + 8 : end].tobytes(), _Header), data[end:], digest
