"""What can be wrong with a row by itself, and with all ids together; no image is opened."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

import xxhash

from genixer.doctor.row import Row
from genixer.tasks.grammar import IMAGE_MARK

__all__ = ["Ids", "row_faults", "without_mark"]

_LONGEST_DETAIL = 200


def row_faults(row: Row, marks: bool) -> Iterator[tuple[str, str]]:
    """Findings and details for one row; `marks`: whether `<image>` stands for the image."""
    if row.id is None:
        yield "no_id", ""
    for box in row.boxes:
        fault = _fault_of_fractions(box)
        if fault:
            yield fault, f"{list(box)}"
    if row.boxes:
        return
    roles = [role for role, _ in row.turns]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        yield "bad_turns", f"roles are {', '.join(roles) or 'none'}"[:_LONGEST_DETAIL]
    for number, (_, text) in enumerate(row.turns):
        words = text.replace(IMAGE_MARK, "") if marks else text
        if not words.strip():
            yield "empty_turn", f"turn {number + 1} of {len(row.turns)}"
    if marks:
        yield from _mark_faults(row)


def _mark_faults(row: Row) -> Iterator[tuple[str, str]]:
    images = 1 if row.image else 0
    found = sum(text.count(IMAGE_MARK) for _, text in row.turns)
    if found != images:
        yield "image_mark_count", f"{found} marks for {images} images"
    elif images and without_mark(row.turns[0][1]) is None:
        yield "image_mark_place", "it belongs at the start or the end of the first turn"


def without_mark(text: str) -> str | None:
    r"""First turn without the mark at its start or end; None where it stands elsewhere.

    >>> without_mark("<image>\nWhat?"), without_mark("What?\n<image>"), without_mark("<image> ?")
    ('What?', 'What?', ' ?')
    """
    if text.startswith(IMAGE_MARK):
        return text.removeprefix(IMAGE_MARK).removeprefix("\n")
    ending = f"\n{IMAGE_MARK}"
    return text.removesuffix(ending) if text.endswith(ending) else None


def _fault_of_fractions(box: object) -> str:
    """What is wrong with coordinates of a record, which are fractions of the image."""
    if not isinstance(box, list) or len(box) != 4:
        return "bad_box"
    if max(map(abs, box)) > 2:
        return "frame_contradicted"
    if not all(0 <= value <= 1 for value in box):
        return "box_outside"
    return "" if box[0] <= box[2] and box[1] <= box[3] else "box_inverted"


class Ids:
    """Ids of all rows as 16 bytes each, so that millions fit: hash and number of the row.

    Ids are the same when they are as texts: 7 and "7" would meet in any table of texts.
    """

    def __init__(self) -> None:
        """No row was seen."""
        self._hashes, self._numbers = array("Q"), array("Q")
        self._known: Sequence[int] | None = None
        self._first: dict[str, tuple[int, int | str]] = {}
        self.kinds = {"number": 0, "text": 0}
        self.largest = 0
        """Largest id that is a number."""

    def add(self, number: int, id: int | str) -> None:
        """Note the id of row `number`."""
        self._hashes.append(hash_of(str(id)))
        self._numbers.append(number)
        kind = "text" if isinstance(id, str) else "number"
        self.kinds[kind] += 1
        if isinstance(id, int):
            self.largest = max(self.largest, id)
        self._first.setdefault(kind, (number, id))

    def has(self, text: str) -> bool:
        """Whether a row has this id, or one that is it as a text."""
        if self._known is None:
            self._known = array("Q", sorted(self._hashes))
        wanted = hash_of(text)
        at = bisect_left(self._known, wanted)
        return at < len(self._known) and self._known[at] == wanted

    @property
    def mixed(self) -> bool:
        """Whether there are numbers and texts."""
        return all(self.kinds.values())

    def repeated(self) -> list[tuple[int, int]]:
        """Rows whose id came before, and the rows where it came first, in order of the rows."""
        import numpy as np

        hashes = np.frombuffer(self._hashes, dtype=np.uint64)
        numbers = np.frombuffer(self._numbers, dtype=np.uint64)
        # Stable: of the same ids, the first row comes first.
        order = np.argsort(hashes, kind="stable")
        fresh = np.append(True, hashes[order][1:] != hashes[order][:-1])[: len(order)]
        first = np.maximum.accumulate(np.where(fresh, np.arange(len(order)), 0))
        again = numbers[order[~fresh]].tolist()
        return sorted(zip(again, numbers[order[first[~fresh]]].tolist(), strict=True))

    def told(self, where: Callable[[int], str]) -> str:
        """How many ids are of which type, with the first of each."""
        return ", ".join(
            f"{self.kinds[kind]} are {kind}s ({id!r} in {where(number)})"
            for kind, (number, id) in sorted(self._first.items())
        )


def hash_of(text: str) -> int:
    """64 bits that stand for a text; two of ten million texts share one once in 400,000 times."""
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))
