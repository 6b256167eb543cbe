"""Llama's tokenizer out of its `tokenizer.model`, without the library that wrote it.

The file is a protocol buffer: a list of pieces, each with a text, a score and a kind. Better scores
are merged first, and that is all that the fast tokenizer needs to know.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from genixer.errors import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Piece", "llama_backend", "read_pieces"]

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Piece(NamedTuple):
    """One entry of the vocabulary; its id is its place in the list."""

    text: str
    score: float
    kind: int


def read_pieces(path: Path) -> list[Piece]:
    """Pieces of the sentencepiece model at `path`, in the order of their ids.

    Raises `ConfigError` for a file that is no such model.
    """
    data = path.read_bytes()
    try:
        found = [_piece(value) for field, value in _fields(data) if field == 1]
    except (IndexError, ValueError, struct.error) as error:
        raise ConfigError(f"{path}: not a sentencepiece model: {error}") from error
    if not found:
        raise ConfigError(f"{path}: not a sentencepiece model: it has no pieces")
    return found


def _piece(data: bytes | int) -> Piece:
    if isinstance(data, int):
        raise ValueError("a piece is a number")
    text, score, kind = "", 0.0, NORMAL
    for field, value in _fields(data):
        if field == 1 and isinstance(value, bytes):
            text = value.decode()
        elif field == 2 and isinstance(value, bytes):
            (score,) = struct.unpack("<f", value)
        elif field == 3 and isinstance(value, int):
            kind = value
    return Piece(text, score, kind)


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Number and value of each field of a message."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        field, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield field, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at + size > len(data):
            raise ValueError(f"cut short at byte {at}")
        yield field, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def llama_backend(pieces: Sequence[Piece]) -> Tokenizer:
    """A fast tokenizer that cuts text as Llama's slow one does.

    Every text begins with a space of its own, spaces are `▁`, what no piece covers is bytes.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    ids = {piece.text: i for i, piece in enumerate(pieces)}
    model = models.BPE(
        vocab=ids,
        merges=_merges(pieces, ids),
        unk_token=next((p.text for p in pieces if p.kind == UNKNOWN), None),
        fuse_unk=True,
        byte_fallback=True,
    )
    backend = Tokenizer(model)
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    backend.add_special_tokens(
        [
            AddedToken(piece.text, normalized=False, special=True)
            for piece in pieces
            if piece.kind in (UNKNOWN, CONTROL)
        ]
    )
    return backend


def _merges(pieces: Sequence[Piece], ids: dict[str, int]) -> list[tuple[str, str]]:
    """Pairs that make a piece, best piece first."""
    normal = {piece.text for piece in pieces if piece.kind == NORMAL}
    found = []
    for piece in pieces:
        if piece.kind != NORMAL:
            continue
        for cut in range(1, len(piece.text)):
            left, right = piece.text[:cut], piece.text[cut:]
            if left in normal and right in normal:
                found.append((-piece.score, ids[left], ids[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]
