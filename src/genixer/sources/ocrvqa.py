"""OCR-VQA: what stands on the covers of books."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

import msgspec
from pydantic import field_validator

from genixer.data import Origin, Quarantined, Sample
from genixer.sources.base import SourceSettings
from genixer.sources.pairs import answered
from genixer.sources.patterns import check_text_pattern, image_path
from genixer.store.entries import EntryError, EntryFile, json_object, read_entry
from genixer.store.images import ImageCatalog

__all__ = ["OcrVqa", "OcrVqaSettings"]

_SPLITS = {"train": 1, "val": 2, "test": 3}


class OcrVqaSettings(SourceSettings):
    """Where OCR-VQA lies."""

    dataset: Path
    """`dataset.json`: a dictionary of imageURL, questions, answers, split (1, 2 or 3)."""
    split: Literal["train", "val", "test", ""] = "train"
    """Only books of this split; empty takes all."""
    image_pattern: str = "images/{image_id}{suffix}"
    """Path of an image under the image root, from its id and the ending of its address (some are
    .gif); `images/{image_id}.jpg` for copies in which all are renamed."""

    _pattern = field_validator("image_pattern")(check_text_pattern)


class _Book(msgspec.Struct):
    image_url: str = msgspec.field(name="imageURL")
    questions: list[str]
    answers: list[str]
    split: int


class OcrVqa:
    """Questions about book covers, several of each, as common VQA."""

    name: ClassVar[str] = "ocrvqa"
    licence: ClassVar[str] = "not stated"
    tasks: ClassVar[tuple[str, ...]] = ("common_vqa",)
    Settings: ClassVar[type[OcrVqaSettings]] = OcrVqaSettings

    def __init__(self, settings: OcrVqaSettings) -> None:
        """Keep `settings`; open nothing yet."""
        self.settings = settings
        self.catalog = ImageCatalog(settings.images)

    def files(self) -> list[Path]:
        """The dictionary."""
        return [self.settings.dataset]

    def count(self) -> int:
        """Questions of the split; a book that cannot be read counts once."""
        ends = self._plan[1]
        return ends[-1] if ends else 0

    def read(self, first: int = 0, count: int | None = None) -> Iterator[Sample | Quarantined]:
        """Rows `first` to `first + count`: by book, then question."""
        entries, ends = self._plan
        last = self.count() if count is None else min(first + count, self.count())
        for number in range(first, last):
            at = bisect_right(ends, number)
            row = number - (ends[at - 1] if at else 0)
            yield read_entry(self._file, entries[at], partial(self._sample, entries[at], row))

    @cached_property
    def _file(self) -> EntryFile:
        return json_object(self.settings.dataset, _Book)

    @cached_property
    def _repeated(self) -> frozenset[int]:
        return self._file.repeated("")

    @cached_property
    def _plan(self) -> tuple[array[int], array[int]]:
        """Entries of the split, and the number of rows up to the end of each."""
        entries, ends, total = array("Q"), array("Q"), 0
        wanted = _SPLITS.get(self.settings.split)
        for index in range(len(self._file)):
            try:
                book = self._file.read(index, _Book)
            except EntryError:
                rows = 1  # read again, and refused, when its turn comes
            else:
                if wanted not in (None, book.split):
                    continue
                broken = index in self._repeated or not _fit(book)
                rows = 1 if broken else len(book.questions)
            total += rows
            entries.append(index)
            ends.append(total)
        return entries, ends

    def _sample(self, index: int, row: int) -> Sample:
        if index in self._repeated:
            raise EntryError("duplicate_id", "an earlier entry has the same id")
        book = self._file.read(index, _Book)
        if not _fit(book):
            counts = f"{len(book.questions)} questions, {len(book.answers)} answers"
            raise EntryError("answers_differ", counts)
        turns = answered(book.questions[row], book.answers[row])
        suffix = PurePosixPath(book.image_url).suffix
        path = image_path(self.settings.image_pattern, self._file.key(index), suffix)
        image = self.catalog.ref(path)
        origin = Origin(self.name, self.settings.licence or self.licence)
        return Sample.of("common_vqa", image, turns, origin)


def _fit(book: _Book) -> bool:
    """Whether every question has an answer."""
    return 0 < len(book.questions) == len(book.answers)
