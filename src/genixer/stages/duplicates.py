"""Which samples of a set are the same: found in one pass, settled at its end."""

from __future__ import annotations

from array import array
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from genixer.data import Record, Sample
from genixer.filters.dedup import (
    SameBy,
    first_alike,
    first_looks,
    first_positions,
    keys_in,
    marks_key,
    said_key,
    text_of,
)
from genixer.filters.near_texts import NearTexts, TextSearch
from genixer.store.images import ImageError
from genixer.store.perceptual import picture_hash_of_file

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

__all__ = ["REASONS", "Duplicates", "Group", "GroupRow"]

REASONS = ("", "duplicate", "near_duplicate")
"""What may become of a sample; it stays without a reason."""
_ID_BYTES = 32
_TOGETHER = 1024
"""Texts laid out at once."""


class GroupRow(Record, frozen=True):
    """One dropped sample: `overlap` with the kept text, `bits` from the first picture, if not 0."""

    id: str
    reason: Literal["duplicate", "near_duplicate"]
    overlap: float | None = None
    bits: int | None = None


class Group(Record, frozen=True):
    """Samples that count as one: the id of the one `kept`, the others in input order."""

    kept: str
    dropped: tuple[GroupRow, ...]


class Duplicates:
    """What must be known of all samples at once, and what becomes of each."""

    first: Array
    """For each sample the one that stays for it."""
    fates: Array
    kept_ones: list[int]
    """Samples that others went for, in order."""

    def __init__(
        self,
        by: SameBy,
        picture_distance: int | None = None,
        texts: NearTexts | None = None,
        across_pictures: bool = False,
    ) -> None:
        """Start without samples; `texts`, still empty, is asked for near ones where given."""
        self._by, self._distance, self._across = by, picture_distance, across_pictures
        self.unseen: Counter[str] = Counter()
        """How many pictures could not be looked at, by reason."""
        self._ids, self._said = bytearray(), bytearray()
        self._marks, self._pictures = array("Q"), array("I")
        self._numbers: dict[str, int] = {}
        self._looks, self._plain = array("Q"), bytearray()
        self._waiting: list[str] = []
        self._texts = texts
        self._search: TextSearch | None = None

    def add(self, sample: Sample, images: Path) -> None:
        """Take note of one more sample; looks at its picture if it is a new one."""
        self._ids += sample.id.encode()[:_ID_BYTES].ljust(_ID_BYTES, b"\0")
        number = self._numbers.setdefault(sample.image_sha256, len(self._numbers))
        self._pictures.append(number)
        if self._distance is not None and number == len(self._looks):
            self._look(sample, images)
        self._said += said_key(sample, self._by)
        if self._texts is not None:
            self._marks.append(marks_key(sample, self._by))
            self._waiting.append(text_of(sample, self._by))
            if len(self._waiting) == _TOGETHER:
                self._lay_out(self._texts)

    def _look(self, sample: Sample, images: Path) -> None:
        look = None
        try:
            if sample.image is not None:
                look = picture_hash_of_file(images, sample.image.path)
        except ImageError as error:
            self.unseen[error.reason] += 1
        self._looks.append(look or 0)
        self._plain.append(look is None)

    def _lay_out(self, texts: NearTexts) -> None:
        texts.add(self._waiting)
        self._waiting = []

    def settle(self) -> None:
        """Decide what becomes of each sample."""
        import numpy as np

        self._pictures_of = np.array(self._pictures, dtype=np.int64)
        said = np.frombuffer(self._said, dtype="<u8").reshape(-1, 2)
        same = self._same_pictures()
        if self._by == "image":
            self.first = self._first_about(same)
        else:
            place = np.zeros_like(same) if self._across else same
            self.first = first_positions(keys_in(place, said))
            if self._texts is not None:
                self._join_near(self._texts, place)
        gone = self.first != np.arange(len(self.first))
        equal = (said == said[self.first]).all(axis=1)
        equal &= self._pictures_of == self._pictures_of[self.first]
        self.fates = np.where(gone, np.where(equal, 1, 2), 0).astype(np.uint8)
        self._gone = np.flatnonzero(gone)
        self._gone = self._gone[np.argsort(self.first[self._gone], kind="stable")]
        self._gone_for = self.first[self._gone]
        self.kept_ones = np.unique(self._gone_for).tolist()

    def _same_pictures(self) -> Array:
        """For each sample the number of the picture that stands for its own."""
        import numpy as np

        stands = np.arange(len(self._numbers))
        distance = self._distance
        if distance is not None:
            seen = np.flatnonzero(np.frombuffer(self._plain, dtype=np.uint8) == 0)
            looks = np.frombuffer(self._looks, dtype="<u8")[seen]
            stands[seen] = seen[first_looks(looks, distance)]
        self._stands = stands
        return stands[self._pictures_of]

    def _first_about(self, same: Array) -> Array:
        """Samples about a picture that stands for itself stay; others go for the first of them."""
        import numpy as np

        _, first = np.unique(self._pictures_of, return_index=True)
        return np.where(same == self._pictures_of, np.arange(len(same)), first[same])

    def _join_near(self, texts: NearTexts, place: Array) -> None:
        import numpy as np

        if self._waiting:
            self._lay_out(texts)
        places = keys_in(place, np.array(self._marks, dtype=np.uint64))
        alone = self.first == np.arange(len(self.first))
        self._search = texts.search(places, alone)
        self.first = first_alike(len(self.first), self._search.alike)[self.first]

    def group(self, kept: int) -> Group:
        """The samples that went for `kept`."""
        import numpy as np

        begin, end = np.searchsorted(self._gone_for, [kept, kept + 1])
        gone = self._gone[begin:end]
        overlaps = np.ones(len(gone))
        if self._search is not None:
            overlaps = self._search.overlaps(gone, np.full(len(gone), kept))
        dropped = [
            self._row(int(row), float(share)) for row, share in zip(gone, overlaps, strict=True)
        ]
        return Group(self._id(kept), tuple(dropped))

    def _row(self, row: int, overlap: float) -> GroupRow:
        reason: Any = REASONS[self.fates[row]]
        near = reason == "near_duplicate"
        picture = self._pictures_of[row]
        bits = None
        if near and self._stands[picture] != picture:
            bits = (self._looks[picture] ^ self._looks[self._stands[picture]]).bit_count()
        # Equal texts without a word share no run, and have nothing to say of it.
        share = round(overlap, 3) or None if near and self._search is not None else None
        return GroupRow(self._id(row), reason, share, bits)

    def _id(self, row: int) -> str:
        return self._ids[row * _ID_BYTES : (row + 1) * _ID_BYTES].rstrip(b"\0").decode()
