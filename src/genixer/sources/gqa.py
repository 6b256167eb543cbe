"""GQA: questions about scenes, a dictionary of a million entries or ten files of more."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import msgspec
from pydantic import field_validator

from genixer.data import Sample
from genixer.errors import ConfigError
from genixer.sources.base import EntrySource, SourceSettings
from genixer.sources.pairs import answered
from genixer.sources.patterns import check_text_pattern, image_path
from genixer.store.entries import AnyEntries, EntryError, JoinedFiles, json_object

__all__ = ["Gqa", "GqaSettings"]


class GqaSettings(SourceSettings):
    """Where GQA lies."""

    questions: Path
    """`train_balanced_questions.json` or another file of this layout, or the folder of the ten
    files of `train_all_questions`: a dictionary of question, imageId, answer, types."""
    image_pattern: str = "images/{image_id}.jpg"
    """Path of an image under the image root, from its id."""

    _pattern = field_validator("image_pattern")(check_text_pattern)


class _Types(msgspec.Struct):
    structural: str = ""


class _Asked(msgspec.Struct, rename="camel"):
    question: str
    image_id: str
    answer: str | None = None
    types: _Types | None = None


class Gqa(EntrySource):
    """Questions about what is where, with their short answer, as common VQA.

    The published test and challenge files have no answers: their rows are `no_answer`.
    """

    name: ClassVar[str] = "gqa"
    licence: ClassVar[str] = "CC BY 4.0"
    tasks: ClassVar[tuple[str, ...]] = ("common_vqa",)
    Settings: ClassVar[type[GqaSettings]] = GqaSettings
    key: ClassVar[str] = ""
    settings: GqaSettings

    def files(self) -> list[Path]:
        """The questions, in the order of the names when they are several."""
        path = self.settings.questions
        return sorted(path.glob("*.json")) if path.is_dir() else [path]

    def _open(self) -> AnyEntries:
        files = self.files()
        if not files:
            raise ConfigError(f"{self.settings.questions}: no *.json in this folder")
        return JoinedFiles([json_object(path, _Asked) for path in files])

    def _sample(self, index: int) -> Sample:
        asked = self._entries.file.read(index, _Asked)
        if asked.answer is None:
            raise EntryError("no_answer", "the entry has no answer: is it a test set?")
        turns = answered(asked.question, asked.answer)
        image = self.catalog.ref(image_path(self.settings.image_pattern, asked.image_id))
        origin = self._origin(asked.types.structural if asked.types else "")
        return Sample.of("common_vqa", image, turns, origin)
