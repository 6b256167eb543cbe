"""Parquet files by row: one group of rows of one column in memory at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from genixer.errors import ConfigError, near
from genixer.store.archives import MemberError

__all__ = ["names", "read"]

_MOST_GROUP_BYTES = 1 << 30
"""Bytes of a column, unpacked, above which a group of rows is not read: it would fill the memory.
Writers that hold images put 100 to 10 000 rows in a group."""


def names(archive: Path, column: str = "") -> tuple[Iterable[str], str]:
    """`column/row` for every row; what is wrong with the file.

    Raises `ConfigError` for a column that holds no images, or no column where several do.
    """
    try:
        opened = _opened(archive)
    except MemberError as error:
        return (), error.detail
    known = opened.columns
    if column and column not in known:
        raise ConfigError(f"{archive}: column {column!r} holds no images; {near(column, known)}")
    if not column and len(known) != 1:
        raise ConfigError(
            f"{archive}: {len(known)} columns may hold images ({', '.join(known) or 'none does'}); "
            f"name one: {archive.name}/COLUMN"
        )
    chosen = column or known[0]
    return (f"{chosen}/{row}" for row in range(opened.ends[-1] if opened.ends else 0)), ""


def read(archive: Path, member: str, max_bytes: int) -> bytes:
    """Bytes of the image in `column/row`; raises `MemberError`."""
    column, _, number = member.rpartition("/")
    if not (number.isascii() and number.isdecimal()) or len(number) > 18:
        raise MemberError("missing_image", "not COLUMN/ROW")
    opened = _opened(archive)
    if column not in opened.columns:
        raise MemberError("missing_image", f"no column {column!r} of images")
    group = bisect_right(opened.ends, int(number))
    if group == len(opened.ends):
        raise MemberError("missing_image", f"the file has no row {number}")
    status = archive.stat()
    values = _column(archive, status.st_size, status.st_mtime_ns, column, group)
    return _bytes(values[int(number) - opened.ends[group] + len(values)], max_bytes)


def _bytes(value: Any, max_bytes: int) -> bytes:
    """Bytes of one value: its own, or those of the field `bytes` that an image feature has."""
    if hasattr(value, "keys") and value.is_valid:
        value = value["bytes"]
    if not value.is_valid:
        raise MemberError("missing_image", "the row holds no bytes")
    buffer = value.as_buffer()
    if buffer.size == 0:
        raise MemberError("empty_image", "the row holds an empty image")
    if buffer.size > max_bytes:
        raise MemberError("image_bomb", f"{buffer.size} bytes > {max_bytes} bytes")
    return bytes(buffer.to_pybytes())


class _Opened(NamedTuple):
    """A file with its columns of images and the number of rows up to the end of each group."""

    file: Any
    columns: list[str]
    ends: list[int]


def _opened(archive: Path) -> _Opened:
    status = archive.stat()
    return _open(archive, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4)
def _open(archive: Path, size: int, changed_ns: int) -> _Opened:
    """The file's footer; read again when it changes. Raises `MemberError`."""
    pyarrow, parquet = _library()
    try:
        file = parquet.ParquetFile(archive)
        known = file.metadata
        rows = (known.row_group(group).num_rows for group in range(known.num_row_groups))
        return _Opened(file, _image_columns(file.schema_arrow), list(accumulate(rows)))
    except (pyarrow.ArrowException, OSError) as error:
        detail = str(error).partition("\n")[0].replace(f"{archive}", archive.name)
        raise MemberError("corrupt_archive", f"not a Parquet file: {detail}"[:300]) from error


@lru_cache(maxsize=1)
def _column(archive: Path, size: int, changed_ns: int, column: str, group: int) -> Any:
    """Values of one column in one group of rows. Raises `MemberError`."""
    pyarrow, _ = _library()
    file = _open(archive, size, changed_ns).file
    known = file.metadata.row_group(group)
    parts = (known.column(at) for at in range(known.num_columns))
    # A column of structs is stored as its fields: `image.bytes`, `image.path`.
    unpacked = sum(
        part.total_uncompressed_size
        for part in parts
        if part.path_in_schema.partition(".")[0] == column
    )
    if unpacked > _MOST_GROUP_BYTES:
        raise MemberError("corrupt_archive", f"a group of rows of {unpacked} bytes: write smaller")
    try:
        return file.read_row_group(group, columns=[column]).column(0)
    except (pyarrow.ArrowException, OSError) as error:
        raise MemberError("corrupt_archive", str(error).partition("\n")[0][:300]) from error


def _image_columns(schema: Any) -> list[str]:
    """Columns of bytes, or of structs with a field `bytes` (the image feature of `datasets`)."""
    pyarrow, _ = _library()
    types = pyarrow.types

    def holds_bytes(kind: Any) -> bool:
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    return [
        field.name
        for field in schema
        if holds_bytes(field.type)
        or (
            types.is_struct(field.type)
            and any(part.name == "bytes" and holds_bytes(part.type) for part in field.type)
        )
    ]


def _library() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise ConfigError(
            "images in Parquet files need pyarrow: pip install 'genixer[data]'"
        ) from error
