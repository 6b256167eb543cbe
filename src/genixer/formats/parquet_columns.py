"""Columns of the tables we write and read, in Arrow's terms and in those of `datasets`.

pyarrow comes with the extra `data` and is imported when a table is opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from genixer.data import encode_row
from genixer.errors import ConfigError
from genixer.formats.packed import PackedRow

__all__ = ["arrow", "as_columns", "readable_columns", "rows_of", "schema"]

# As `datasets` spells its features; a list in the notation that all its versions read.
_TEXT = {"dtype": "string", "_type": "Value"}
_WHOLE = {"dtype": "int32", "_type": "Value"}
_NUMBERS = {
    "_type": "Sequence",
    "feature": {"_type": "Sequence", "feature": {"dtype": "float64", "_type": "Value"}},
}
FEATURES: dict[str, Any] = {
    "id": _TEXT,
    "task": _TEXT,
    "image": {"_type": "Image"},
    "width": _WHOLE,
    "height": _WHOLE,
    "sha256": _TEXT,
    "messages": [{"role": _TEXT, "content": _TEXT}],
    "boxes": _NUMBERS,
    "points": _NUMBERS,
    "frame": _TEXT,
    "decimals": _WHOLE,
    "origin": _TEXT,
}


def arrow() -> Any:
    """The package pyarrow, its Parquet part loaded; raises `ConfigError` where it is missing."""
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(
            "Parquet needs the package pyarrow: pip install 'genixer[data]'"
        ) from error
    return pa


def schema() -> Any:
    """Arrow schema of our tables; its metadata tells `datasets` which column holds images."""
    pa = arrow()
    numbers = pa.list_(pa.list_(pa.float64()))
    kinds = {
        "image": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        "messages": pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
        "boxes": numbers,
        "points": numbers,
        "width": pa.int32(),
        "height": pa.int32(),
        "decimals": pa.int32(),
    }
    fields = [(name, kinds.get(name, pa.string())) for name in FEATURES]
    told = json.dumps({"info": {"features": FEATURES}})
    return pa.schema(fields, metadata={"huggingface": told})


def as_columns(rows: Sequence[PackedRow], pictures: Sequence[bytes]) -> dict[str, Any]:
    """Values of each column; an empty picture leaves the image where its path says."""
    columns: dict[str, Any] = {name: [] for name in FEATURES}
    for row, picture in zip(rows, pictures, strict=True):
        values = {name: getattr(row, name) for name in FEATURES}
        values["image"] = {"bytes": picture or None, "path": row.image}
        values["messages"] = msgspec.to_builtins(row.messages)
        values["origin"] = encode_row(row.origin).decode()
        for name, value in values.items():
            columns[name].append(value)
    return columns


def readable_columns(path: Path, found: Any) -> list[str]:
    """Names of the columns of an Arrow schema that are read.

    Raises `ConfigError` when there are no conversations, or no images, in the table.
    """
    for name in ("messages", "image"):
        if name not in found.names:
            raise ConfigError(
                f"{path}: no column {name!r} in it (it has {', '.join(found.names[:20])}); rename "
                "the column that holds it"
            )
    return [name for name in FEATURES if name in found.names]


def rows_of(batch: Any) -> Iterator[dict[str, Any] | None]:
    """Rows of a record batch as plain values without what is null; None for text not in UTF-8."""
    try:
        rows: list[dict[str, Any] | None] = batch.to_pylist()
    except UnicodeDecodeError:
        rows = [_row_at(batch, at) for at in range(batch.num_rows)]
    for row in rows:
        yield row and {name: value for name, value in row.items() if value is not None}


def _row_at(batch: Any, at: int) -> dict[str, Any] | None:
    try:
        (row,) = batch.slice(at, 1).to_pylist()
    except UnicodeDecodeError:
        return None
    return row  # type: ignore[no-any-return]
