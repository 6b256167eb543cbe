"""An entry as the checks see it, whatever file it came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from genixer.frames import Frame
from genixer.store.entries import EntryError
from genixer.store.entry_files import decode_entry

__all__ = ["Row", "decode"]


class Row(msgspec.Struct, frozen=True):
    """An entry as the checks see it.

    `turns` are pairs of role and text, roles other than user and assistant as they stand; `boxes`
    are coordinates that are not in the text, as fractions. `frame`, `decimals` and `size` are what
    the row itself says of the coordinates in its text, where it does.
    """

    id: int | str | None
    image: str | None
    turns: Sequence[tuple[str, str]]
    sha256: str = ""
    boxes: Sequence[Sequence[float]] = ()
    frame: Frame | None = None
    decimals: int | None = None
    size: tuple[int, int] | None = None


def decode(raw: bytes, kind: Any) -> Any:
    """Entry as a `kind`; raises `EntryError` (`not_utf8`, `not_json`, `bad_entry`)."""
    try:
        raw.decode("utf-8")  # of fields that `kind` does not have, too
    except UnicodeDecodeError as error:
        raise EntryError("not_utf8", str(error)) from error
    return decode_entry(raw, kind)
