"""TextVQA: what is written in the picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import msgspec
from pydantic import field_validator

from genixer.data import Sample
from genixer.sources.base import EntrySource, SourceSettings
from genixer.sources.pairs import answered
from genixer.sources.patterns import check_text_pattern, image_path
from genixer.store.entries import AnyEntries, EntryError, json_array

__all__ = ["TextVqa", "TextVqaSettings", "majority"]

_REFUSALS = (
    "unanswerable",
    "not a question",
    "no text in image",
    "answering does not require reading text in the image",
)
"""What the people who answered could choose instead of an answer."""


class TextVqaSettings(SourceSettings):
    """Where TextVQA lies."""

    questions: Path
    """`TextVQA_0.5.1_train.json`: an object whose `data` has question_id, image_id, question,
    answers (of ten people)."""
    image_pattern: str = "train_images/{image_id}.jpg"
    """Path of an image under the image root, from its id; train and val share `train_images`."""

    _pattern = field_validator("image_pattern")(check_text_pattern)


class _Asked(msgspec.Struct):
    question_id: int | str
    image_id: str
    question: str
    answers: list[str] = []


class TextVqa(EntrySource):
    """Questions about writing with the answer most people gave, as common VQA.

    The image sizes in the file are left alone: some are swapped. The test file has no answers: its
    rows are `no_answer`, as are those that most people refused to answer.
    """

    name: ClassVar[str] = "textvqa"
    licence: ClassVar[str] = "CC BY 4.0"
    tasks: ClassVar[tuple[str, ...]] = ("common_vqa",)
    Settings: ClassVar[type[TextVqaSettings]] = TextVqaSettings
    key: ClassVar[str] = "question_id"
    settings: TextVqaSettings

    def files(self) -> list[Path]:
        """The questions."""
        return [self.settings.questions]

    def _open(self) -> AnyEntries:
        return json_array(self.settings.questions, "data")

    def _sample(self, index: int) -> Sample:
        asked = self._entries.file.read(index, _Asked)
        answer = majority(asked.answers)
        if not answer:
            raise EntryError("no_answer", "the entry has no answers: is it the test set?")
        if answer in _REFUSALS:
            raise EntryError("no_answer", f"most people said {answer!r}")
        image = self.catalog.ref(image_path(self.settings.image_pattern, asked.image_id))
        turns = answered(asked.question, answer)
        return Sample.of("common_vqa", image, turns, self._origin())


def majority(answers: Sequence[str]) -> str:
    """The answer given most often, case and outer space aside; of equals the one given first.

    It comes as it was first written; empty answers do not count.

    >>> majority(["Coca cola", "coke", "coca Cola ", ""])
    'Coca cola'
    """
    said = [answer.strip() for answer in answers if answer.strip()]
    votes = Counter(answer.casefold() for answer in said)
    most = max(votes.values(), default=0)
    return next((answer for answer in said if votes[answer.casefold()] == most), "")
