"""Dialogues out of VQAv2: the questions about one image, one after the other."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import msgspec
from pydantic import Field

from genixer.data import Origin, Quarantined, Sample, Turn
from genixer.sources.pairs import answered
from genixer.sources.patterns import image_path
from genixer.sources.vqa import VqaFiles, VqaV2Settings
from genixer.store.entries import EntryError, read_part
from genixer.store.images import ImageCatalog

__all__ = ["VqaV2Dialogue", "VqaV2DialogueSettings"]


class VqaV2DialogueSettings(VqaV2Settings):
    """Where VQAv2 lies, and how long a dialogue may become."""

    fewest_questions: int = Field(2, ge=2)
    """Images with fewer questions give no dialogue: `too_few_questions`."""
    most_questions: int = Field(8, ge=2)
    """Of an image with more questions the first so many are taken."""


class _Asked(msgspec.Struct):
    image_id: int


class VqaV2Dialogue:
    """All questions of an image in file order, with their majority answers, as one dialogue.

    A row an image, in the order in which the file first names them. A question that breaks a rule
    costs its dialogue; one whose image cannot be read is a row of its own.
    """

    name: ClassVar[str] = "vqav2_dialogue"
    licence: ClassVar[str] = "CC BY 4.0"
    tasks: ClassVar[tuple[str, ...]] = ("md",)
    Settings: ClassVar[type[VqaV2DialogueSettings]] = VqaV2DialogueSettings

    def __init__(self, settings: VqaV2DialogueSettings) -> None:
        """Keep `settings`; open nothing yet."""
        self.settings = settings
        self.catalog = ImageCatalog(settings.images)
        self._pairs = VqaFiles(settings)

    def files(self) -> list[Path]:
        """Questions, annotations."""
        return [self.settings.questions, self.settings.annotations]

    def count(self) -> int:
        """One row an image."""
        return len(self._groups)

    def read(self, first: int = 0, count: int | None = None) -> Iterator[Sample | Quarantined]:
        """Dialogues `first` to `first + count`."""
        last = self.count() if count is None else min(first + count, self.count())
        for number in range(first, last):
            yield self._row(self._groups[number])

    @cached_property
    def _groups(self) -> list[array[int]]:
        """Entries of each image's questions; 8 bytes a question and 150 an image."""
        file, groups = self._pairs.questions, []
        of_image: dict[int, array[int]] = {}
        for index in range(len(file)):
            try:
                image = file.read(index, _Asked).image_id
            except EntryError:
                groups.append(array("Q", [index]))  # read again, and refused, when its turn comes
                continue
            if image not in of_image:
                of_image[image] = array("Q")
                groups.append(of_image[image])
            of_image[image].append(index)
        return groups

    @cached_property
    def _repeated(self) -> frozenset[int]:
        return self._pairs.questions.repeated("question_id")

    def _row(self, group: array[int]) -> Sample | Quarantined:
        at = group[0]

        def make() -> Sample:
            nonlocal at
            turns: list[Turn] = []
            image_id = 0
            for at in group[: self.settings.most_questions]:
                if at in self._repeated:
                    raise EntryError("duplicate_id", "an earlier entry has the same id")
                asked, found = self._pairs.read(at)
                image_id = asked.image_id
                turns += answered(asked.question, found.multiple_choice_answer)
            if len(group) < self.settings.fewest_questions:
                raise EntryError("too_few_questions", f"{len(group)} of image {image_id}")
            image = self.catalog.ref(image_path(self.settings.image_pattern, image_id))
            licence = self.settings.licence or self.licence
            origin = Origin(self.name, licence, question_type="dialogue")
            return Sample.of("md", image, tuple(turns), origin)

        file = self._pairs.questions
        return read_part(make, lambda: (file.places[at], file.raw(at)))
