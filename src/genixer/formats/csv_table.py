"""CSV for spreadsheets: one row a sample, and no cell that a spreadsheet would run as a formula.

A cell that begins with `=`, `+`, `-`, `@`, a tab or a line end gets an apostrophe before it, and so
does one that begins with apostrophes and then such a sign; reading takes one off again.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from array import array
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

import msgspec

from genixer.data import Origin, Quarantined, Sample, encode_row
from genixer.errors import CannotEncodeError, ConfigError, DataError
from genixer.formats.packed import (
    PackedRow,
    PackedSettings,
    Said,
    one_row,
    pack,
    unpack,
)
from genixer.formats.sidecars import Sidecars, whole_file
from genixer.formats.tally import Tally, Written
from genixer.store.entries import EntryError
from genixer.store.entry_files import decode_entry
from genixer.store.images import ImageCatalog

__all__ = ["COLUMNS", "CsvFormat", "CsvSettings", "neutral", "original"]

COLUMNS = (
    *("id", "task", "image", "question", "answer", "more"),
    *("source", "licence", "generator", "frame", "decimals", "boxes", "points"),
    *("width", "height", "sha256", "origin"),
)
"""What is in a row; `more` holds the turns after the first two, `origin` what else is known of its
origin, both as JSON."""
_NEEDED = ("image", "question", "answer")
_AS_JSON = ("decimals", "boxes", "points", "width", "height")
_NAMED = ("source", "licence", "generator")

# The full-width signs work as formulas in some East Asian spreadsheets.
_SIGNS = "=+\\-@\t\r\n＝＋－＠"  # noqa: RUF001
_DANGEROUS = re.compile(f"'*[{_SIGNS}]")
_NEUTRALISED = re.compile(f"'+[{_SIGNS}]")

_MOST_IN_CELL = 32_767
"""Characters that spreadsheets keep of a cell; they cut off the rest without a word."""
_PIECE_BYTES = 1 << 20
"""A line is read in pieces of this size, so that one without end cannot fill the memory."""


class CsvSettings(PackedSettings):
    """How coordinates stand in the text, and how the file begins."""

    bom: bool = True
    """Begin the file with the mark by which Excel knows UTF-8; reading takes either."""


def neutral(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula.

    >>> neutral("=1+1"), neutral("'=1"), neutral("a=b"), neutral("'tis")
    ("'=1+1", "''=1", 'a=b', "'tis")
    """
    return f"'{cell}" if _DANGEROUS.match(cell) else cell


def original(cell: str) -> str:
    """The inverse of `neutral`.

    >>> original("'=1+1"), original("'tis")
    ('=1+1', "'tis")
    """
    return cell[1:] if _NEUTRALISED.match(cell) else cell


class CsvFormat:
    """Comma-separated, every cell quoted, lines ended CR LF, as spreadsheets read it.

    Not written: `not_pairs`, `bad_score`, what `write_turn` refuses (`image_mark`,
    `box_look_alike`, ..) and rows with a cell of more than 32767 characters (`cell_too_long`).
    """

    name: ClassVar[str] = "csv"
    Settings: ClassVar[type[CsvSettings]] = CsvSettings
    endings: ClassVar[tuple[str, ...]] = ("csv",)

    def __init__(self, settings: CsvSettings | None = None) -> None:
        """Keep `settings`."""
        self.settings = settings or CsvSettings()
        self._places: tuple[tuple[Path, int, int], _Places] | None = None

    def write(self, samples: Iterable[Sample], out: Path, images: Path) -> Written:
        """Write `samples` in order, and the sidecars; image files are not touched."""
        tally = Tally(self.name, self.settings.strict)
        with whole_file(out) as file, Sidecars.beside(out) as sidecars:
            file.write(codecs.BOM_UTF8 if self.settings.bom else b"")
            text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
            rows = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
            rows.writerow(COLUMNS)
            for sample in samples:
                try:
                    rows.writerow(_cells(pack(sample, self.settings)))
                except CannotEncodeError as error:
                    tally.left_out(sample, error)
                    continue
                sidecars.add(sample)
                tally.wrote()
            text.detach()
            return tally.settle()

    def read(self, path: Path, images: Path) -> Iterator[Sample | Quarantined]:
        """Samples in row order; `where` is the line a row begins on.

        Raises `ConfigError` when there is no header with `image`, `question` and `answer`.
        """
        yield from self._samples(path, images, None, None)

    def count(self, path: Path) -> int:
        """How many rows there are, broken ones included; opens no image."""
        return len(self._rows(path).bytes)

    def part(
        self, path: Path, images: Path, first: int, count: int
    ) -> Iterator[Sample | Quarantined]:
        """Rows `first` to `first + count`; what is before and after is not read again."""
        places = self._rows(path)
        if first < len(places.bytes) and count > 0:
            begin = places.bytes[first], places.lines[first]
            yield from self._samples(path, images, begin, count)

    def _samples(
        self, path: Path, images: Path, begin: tuple[int, int] | None, count: int | None
    ) -> Iterator[Sample | Quarantined]:
        """Rows from byte and line `begin` on, by default the first ones."""
        with _opened(path) as file:
            header, line = _header(path, file)
            if begin is not None:
                file.seek(begin[0])
                line = begin[1]
            sample = partial(_sample, header, ImageCatalog(images), self.settings)
            for row in islice(_rows(file, line), count):
                make = partial(_refuse, row.problem) if row.problem else partial(sample, row.cells)
                yield one_row(f"{path.name}:{row.line + 1}", row.raw, make)

    def _rows(self, path: Path) -> _Places:
        """Where each row begins; looked for once as long as the file stays."""
        with _opened(path) as file:
            status = path.stat()
            as_it_is = path, status.st_mtime_ns, status.st_size
            if self._places is None or self._places[0] != as_it_is:
                places = _Places(array("Q"), array("Q"))
                for row in _rows(file, _header(path, file)[1]):
                    places.bytes.append(row.byte)
                    places.lines.append(row.line)
                self._places = as_it_is, places
            return self._places[1]


class _Places(NamedTuple):
    """Where rows begin, 16 bytes each."""

    bytes: array[int]
    lines: array[int]
    """How many lines are before the row."""


class _Row(NamedTuple):
    byte: int
    line: int
    raw: bytes
    cells: list[str]
    problem: str


def _cells(row: PackedRow) -> list[str]:
    """Cells of one sample in the order of `COLUMNS`."""
    plain = msgspec.to_builtins(row)
    origin = plain.pop("origin", {})
    values: dict[str, Any] = {name: origin.pop(name, "") for name in _NAMED}
    values |= {name: encode_row(plain[name]).decode() for name in _AS_JSON if plain.get(name)}
    values |= {name: plain.get(name, "") for name in ("id", "task", "image", "frame", "sha256")}
    values["decimals"] = str(row.decimals)
    values["question"], values["answer"] = (said.content for said in row.messages[:2])
    values["more"] = encode_row(row.messages[2:]).decode() if row.messages[2:] else ""
    values["origin"] = encode_row(origin).decode() if origin else ""
    cells = [neutral(values.get(name, "")) for name in COLUMNS]
    longest = max(map(len, cells))
    if longest > _MOST_IN_CELL:
        raise CannotEncodeError("cell_too_long", f"{longest} characters in a cell")
    return cells


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error


def _rows(file: BinaryIO, line: int) -> Iterator[_Row]:
    """Rows from where `file` stands, after `line` lines; empty lines are none."""
    raw: list[bytes] = []
    reader = csv.reader(_lines(file, raw), strict=True)
    while True:
        raw.clear()
        begin, before, problem, cells = file.tell(), line + reader.line_num, "", list[str]()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = str(error)
        if cells or problem:
            yield _Row(begin, before, b"".join(raw), cells, problem)


def _lines(file: BinaryIO, raw: list[bytes]) -> Iterator[str]:
    """Lines of `file`, also kept in `raw`; bytes that are not UTF-8 come as lone surrogates."""
    while piece := file.readline(_PIECE_BYTES):
        raw.append(piece)
        yield piece.decode("utf-8", "surrogateescape")


def _header(path: Path, file: BinaryIO) -> tuple[list[str], int]:
    """Names of the columns, and how many lines they take; `file` stands behind them."""
    if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
        file.seek(0)
    reader = csv.reader(_lines(file, []), strict=True)
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise ConfigError(f"{path}: no CSV: {error}") from error
    missing = [name for name in _NEEDED if name not in header]
    if missing:
        raise ConfigError(
            f"{path}: the first line names no column {', '.join(missing)}; it is {header[:20]!a}"
        )
    return header, reader.line_num


def _refuse(detail: str) -> Sample:
    raise EntryError("bad_csv", detail)


def _sample(
    header: list[str], catalog: ImageCatalog, settings: PackedSettings, cells: list[str]
) -> Sample:
    """Sample of one row; raises `EntryError` or `ImageError`."""
    if len(cells) != len(header):
        raise EntryError("bad_columns", f"{len(cells)} cells under {len(header)} names")
    try:
        "".join(cells).encode()
    except UnicodeEncodeError as error:
        raise EntryError("not_utf8", str(error)) from error
    named = {name: original(cell) for name, cell in zip(header, cells, strict=True)}
    row = _packed({"source": "csv", "licence": settings.licence, **named})
    image = catalog.ref(row.image)
    if row.sha256 and row.sha256 != image.sha256:
        raise EntryError("image_differs", f"{row.image}: not the file the row was written about")
    return unpack(row, image, settings, "csv")


def _packed(cells: dict[str, str]) -> PackedRow:
    values: dict[str, Any] = {
        name: decode_entry(cells[name].encode(), Any) for name in _AS_JSON if cells.get(name)
    }
    values |= {name: cells[name] for name in ("task", "image", "sha256") if cells.get(name)}
    values |= {"frame": cells["frame"]} if cells.get("frame") else {}
    more = decode_entry(cells["more"].encode(), list[Said]) if cells.get("more") else []
    origin = decode_entry((cells.get("origin") or "{}").encode(), dict[str, Any])
    origin |= {name: cells[name] for name in _NAMED if name in cells}
    said = [Said("user", cells["question"]), Said("assistant", cells["answer"]), *more]
    try:
        known = msgspec.convert(origin, Origin)
        return msgspec.convert({**values, "messages": said, "origin": known}, PackedRow)
    except (msgspec.ValidationError, DataError) as error:
        raise EntryError("bad_entry", str(error)) from error
