"""Entries whose bytes lie in many small files, or came out of a file that is not JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from genixer.store.entry_files import EntryError, decode_entry

__all__ = ["HeldEntries"]

T = TypeVar("T")


class HeldEntries:
    """Entries as bytes, by number; `places[i]` is where entry i stands.

    >>> HeldEntries([b'{"id": 7}', b"{"], ["a[0]", "a[1]"]).read(0, dict)
    {'id': 7}
    """

    def __init__(self, raws: Sequence[bytes], places: Sequence[str]) -> None:
        """Keep both; `raws` may read its bytes when it is asked."""
        self.places, self._raws = places, raws

    def __len__(self) -> int:
        """How many entries there are, broken ones included."""
        return len(self._raws)

    def raw(self, index: int) -> bytes:
        """Bytes of an entry."""
        return self._raws[index]

    def read(self, index: int, kind: type[T]) -> T:
        """Entry as a `kind`; raises `EntryError` (`not_utf8`, `not_json`, `bad_entry`)."""
        return decode_entry(self._raws[index], kind)

    def repeated(self, key: str) -> frozenset[int]:
        """Entries whose id at `key` an earlier one has; one without a readable id has none."""
        kind = msgspec.defstruct("WithId", [("id", int | str)], rename={"id": key})
        seen: set[int | str] = set()
        repeated = set()
        for index in range(len(self)):
            try:
                found: int | str = self.read(index, kind).id  # type: ignore[attr-defined]
            except EntryError:
                continue
            if found in seen:
                repeated.add(index)
            seen.add(found)
        return frozenset(repeated)
