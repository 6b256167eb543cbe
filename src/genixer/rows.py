"""Rows as bytes, ids and luck: what makes equal content equal everywhere."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

import msgspec
import xxhash

from genixer.errors import DataError

__all__ = ["content_id", "decode_row", "encode_row", "encode_rows", "random_for"]

R = TypeVar("R")
_ENCODER = msgspec.json.Encoder(order="sorted")


def content_id(*parts: object) -> str:
    """32 hex digits that depend on the content of `parts` alone (xxh3-128 of their canonical JSON).

    >>> content_id("rec", 1) == content_id("rec", 1) != content_id("rec", 2)
    True
    """
    return xxhash.xxh3_128_hexdigest(_ENCODER.encode(parts))


def random_for(seed: int, stage: str, key: str) -> random.Random:
    """Random source that depends on its three arguments alone.

    So results do not depend on the order of the work, on shards or on workers.

    >>> random_for(7, "instruct", "a").random() == random_for(7, "instruct", "a").random()
    True
    """
    return random.Random(xxhash.xxh3_64_intdigest(f"{seed}\0{stage}\0{key}".encode()))


def encode_row(row: object) -> bytes:
    """Canonical JSON of a record, sorted keys, no newline: equal records are equal bytes."""
    return _ENCODER.encode(row)


def encode_rows(rows: Sequence[object]) -> bytes:
    """What `encode_row` gives for each of `rows`, a newline after each."""
    return _ENCODER.encode_lines(rows)


def decode_row(line: bytes, kind: type[R]) -> R:
    """Record of type `kind` from one JSON line; raises `DataError` with the field that is wrong."""
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.ValidationError as error:
        raise DataError(f"not a {kind.__name__}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"not JSON in UTF-8: {error}") from error
