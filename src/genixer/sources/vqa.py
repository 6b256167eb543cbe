"""Questions and answers: VQAv2, POPE, A-OKVQA."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

import msgspec
from pydantic import field_validator

from genixer.data import Sample, Turn
from genixer.sources.base import EntrySource, SourceSettings
from genixer.sources.pairs import answered, lettered
from genixer.sources.patterns import check_pattern, image_path
from genixer.store.entries import (
    AnyEntries,
    EntryError,
    EntryFile,
    clean,
    join_path,
    json_array,
    json_lines,
)

__all__ = [
    "Aokvqa",
    "AokvqaSettings",
    "Pope",
    "PopeSettings",
    "VqaFiles",
    "VqaV2",
    "VqaV2Settings",
]


class VqaV2Settings(SourceSettings):
    """Where VQAv2 lies."""

    questions: Path
    """Questions file of the official layout (`questions`: question_id, image_id, question)."""
    annotations: Path
    """Annotations file (`annotations`: question_id, question_type, multiple_choice_answer)."""
    image_pattern: str = "train2014/COCO_train2014_{image_id:012d}.jpg"
    """Path of an image under the image root, from its id."""

    _pattern = field_validator("image_pattern")(check_pattern)


class _Question(msgspec.Struct):
    question_id: int | str
    image_id: int
    question: str


class _Annotation(msgspec.Struct):
    image_id: int
    multiple_choice_answer: str
    question_type: str = ""


class VqaFiles:
    """Questions and annotations of VQAv2; opened on first use."""

    def __init__(self, settings: VqaV2Settings) -> None:
        """Keep where they are."""
        self._settings = settings

    @cached_property
    def questions(self) -> EntryFile:
        """The questions, split."""
        return json_array(self._settings.questions, "questions")

    @cached_property
    def _annotations(self) -> tuple[EntryFile, dict[int | str, int], frozenset[int | str]]:
        """The file, the entry of each question, and the questions with more than one."""
        file = json_array(self._settings.annotations, "annotations")
        first, repeated = file.by_id("question_id")
        doubted = {file.read(i, _Id).question_id for i in repeated}
        return file, first, frozenset(doubted)

    def read(self, index: int) -> tuple[_Question, _Annotation]:
        """Question `index` and its annotation; raises `EntryError`."""
        asked = self.questions.read(index, _Question)
        file, entry_of, doubted = self._annotations
        if asked.question_id not in entry_of:
            raise EntryError("no_annotation", f"question {asked.question_id} in {file.path.name}")
        if asked.question_id in doubted:
            raise EntryError("duplicate_annotation", f"question {asked.question_id}")
        at = entry_of[asked.question_id]
        try:
            found = file.read(at, _Annotation)
        except EntryError as error:
            raise EntryError("bad_annotation", f"{file.places[at]}: {error}") from error
        if found.image_id != asked.image_id:
            raise EntryError("image_id_differs", f"{file.places[at]}: image {found.image_id}")
        return asked, found


class VqaV2(EntrySource):
    """Open questions with their majority answer, as common VQA."""

    name: ClassVar[str] = "vqav2"
    licence: ClassVar[str] = "CC BY 4.0"
    tasks: ClassVar[tuple[str, ...]] = ("common_vqa",)
    Settings: ClassVar[type[VqaV2Settings]] = VqaV2Settings
    key: ClassVar[str] = "question_id"
    settings: VqaV2Settings

    def __init__(self, settings: VqaV2Settings) -> None:
        """Keep `settings`; open nothing yet."""
        super().__init__(settings)
        self._pairs = VqaFiles(settings)

    def files(self) -> list[Path]:
        """Questions, annotations."""
        return [self.settings.questions, self.settings.annotations]

    def _open(self) -> AnyEntries:
        return self._pairs.questions

    def _sample(self, index: int) -> Sample:
        asked, found = self._pairs.read(index)
        turns = answered(asked.question, found.multiple_choice_answer)
        image = self.catalog.ref(image_path(self.settings.image_pattern, asked.image_id))
        origin = self._origin(found.question_type)
        return Sample.of("common_vqa", image, turns, origin)


class _Id(msgspec.Struct):
    question_id: int | str


class PopeSettings(SourceSettings):
    """Where POPE lies."""

    questions: Path
    """JSONL of question_id, image, text, label."""
    image_prefix: str = ""
    """Folder of the images under the image root."""


class _Probe(msgspec.Struct):
    question_id: int | str
    image: str
    text: str
    label: str
    category: str = "existence"


class Pope(EntrySource):
    """Whether an object is there, as adversarial VQA."""

    name: ClassVar[str] = "pope"
    licence: ClassVar[str] = "MIT"
    tasks: ClassVar[tuple[str, ...]] = ("adv_vqa",)
    Settings: ClassVar[type[PopeSettings]] = PopeSettings
    key: ClassVar[str] = "question_id"
    settings: PopeSettings

    def files(self) -> list[Path]:
        """The questions."""
        return [self.settings.questions]

    def _open(self) -> AnyEntries:
        return json_lines(self.settings.questions)

    def _sample(self, index: int) -> Sample:
        probe = self._entries.file.read(index, _Probe)
        if probe.label not in ("yes", "no"):
            raise EntryError("bad_label", f"{probe.label!r} is neither yes nor no")
        turns = Turn("user", clean(probe.text)), Turn("assistant", probe.label)
        image = self.catalog.ref(join_path(self.settings.image_prefix, probe.image))
        return Sample.of("adv_vqa", image, turns, self._origin(probe.category))


class AokvqaSettings(SourceSettings):
    """Where A-OKVQA lies."""

    questions: Path
    """JSON array of image_id, question_id, question, choices, correct_choice_idx."""
    image_pattern: str = "train2017/{image_id:012d}.jpg"
    """Path of an image under the image root, from its id."""

    _pattern = field_validator("image_pattern")(check_pattern)


class _Choice(msgspec.Struct):
    question_id: int | str
    image_id: int
    question: str
    choices: list[str]
    correct_choice_idx: int


class Aokvqa(EntrySource):
    """Questions with options, as multiple choice; options get letters in the order of the file."""

    name: ClassVar[str] = "aokvqa"
    licence: ClassVar[str] = "Apache-2.0"
    tasks: ClassVar[tuple[str, ...]] = ("mc_vqa",)
    Settings: ClassVar[type[AokvqaSettings]] = AokvqaSettings
    key: ClassVar[str] = "question_id"
    settings: AokvqaSettings

    def files(self) -> list[Path]:
        """The questions."""
        return [self.settings.questions]

    def _open(self) -> AnyEntries:
        return json_array(self.settings.questions)

    def _sample(self, index: int) -> Sample:
        asked = self._entries.file.read(index, _Choice)
        turns = lettered(asked.question, asked.choices, asked.correct_choice_idx)
        image = self.catalog.ref(image_path(self.settings.image_pattern, asked.image_id))
        return Sample.of("mc_vqa", image, turns, self._origin())
