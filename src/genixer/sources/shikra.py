"""The JSONL files of Shikra: expressions with boxes, questions about a point or box, dialogues.

Their boxes are corners in px of the image as it is, not of the padded square that Shikra itself
prints them in.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Literal

import msgspec
from pydantic import Field

from genixer.data import Box, ImageRef, Role, Sample, Turn, escape_marks, random_for
from genixer.errors import ConfigError
from genixer.sources.base import SourceSettings
from genixer.sources.planned import PlannedSource
from genixer.sources.regions import (
    check_size,
    choice_turns,
    corner_box,
    grouped,
    pixel_point,
    region_turns,
)
from genixer.store.entries import EntryError, EntryFile, clean, join_path, json_lines

__all__ = [
    "PointQaLocal",
    "PointQaLocalSettings",
    "RefCocoJsonl",
    "RefCocoJsonlSettings",
    "ShikraQcboxa",
    "ShikraRd",
    "ShikraTalkSettings",
    "Visual7WJsonl",
    "Visual7WJsonlSettings",
]

Corners = tuple[float, float, float, float]


class _ShikraSettings(SourceSettings):
    image_prefix: str = ""
    """Folder of the images under the image root."""
    slack_px: float = Field(1.0, ge=0.0)
    """How far outside the image a box or point may reach and be moved to its edge."""


class _Lines(PlannedSource):
    """One file of lines; each gives as many rows as `_forms`."""

    _entry: ClassVar[type[msgspec.Struct]]
    settings: _ShikraSettings
    _path: Path
    _forms: tuple[str, ...]

    def files(self) -> list[Path]:
        """The lines."""
        return [self._path]

    def _open(self) -> EntryFile:
        """The lines, once one of them is of this layout."""
        file, problem = json_lines(self._path), ""
        for index in range(len(file)):
            try:
                file.read(index, self._entry)
            except EntryError as error:
                problem = problem or f"{file.places[index]}: {error}"
            else:
                return file
        raise ConfigError(f"{self._path}: no line is of this layout: is it another file? {problem}")

    def _rows(self, index: int) -> int:
        return len(self._forms)

    def _picture(self, path: str, width: int | None, height: int | None) -> ImageRef:
        picture = self.catalog.ref(join_path(self.settings.image_prefix, path))
        check_size(picture, width, height)
        return picture

    def _box(self, corners: Corners, picture: ImageRef) -> Box:
        return corner_box(corners, picture, self.settings.slack_px)


class RefCocoJsonlSettings(_ShikraSettings):
    """Where the expressions lie."""

    expressions: Path
    """JSONL of img_path, expression, bbox (corners in px), width, height: `REC_*.jsonl` of
    RefCOCO, RefCOCO+ and RefCOCOg (a file a split), `GC_genome196_train.jsonl`."""
    tasks: tuple[Literal["rec", "reg"], ...] = Field(("rec", "reg"), min_length=1)
    """What to make of each expression: `rec` (words to a box), `reg` (a box to words)."""


class _Expression(msgspec.Struct):
    img_path: str
    expression: str
    bbox: Corners
    width: int | None = None
    height: int | None = None


class RefCocoJsonl(_Lines):
    """Expressions with the box they mean: a REC and a REG sample of each, as the settings say."""

    name: ClassVar[str] = "refcoco_jsonl"
    licence: ClassVar[str] = "CC BY-NC 4.0 (Shikra's files), Apache-2.0 (RefCOCO expressions)"
    tasks: ClassVar[tuple[str, ...]] = ("rec", "reg")
    Settings: ClassVar[type[RefCocoJsonlSettings]] = RefCocoJsonlSettings
    _entry: ClassVar[type[msgspec.Struct]] = _Expression

    def __init__(self, settings: RefCocoJsonlSettings) -> None:
        """Keep `settings`; open nothing yet."""
        super().__init__(settings)
        self._path, self._forms = settings.expressions, settings.tasks

    def _sample(self, index: int, row: int) -> Sample:
        said = self._file.read(index, _Expression)
        task, words = self._forms[row], clean(said.expression)
        picture = self._picture(said.img_path, said.width, said.height)
        key = f"{said.img_path}/{said.bbox}/{said.expression}"
        turns = region_turns(self.name, task, words, self._box(said.bbox, picture), key)
        return Sample.of(task, picture, turns, self._origin())


class PointQaLocalSettings(_ShikraSettings):
    """Where PointQA-Local lies, as Shikra converted it."""

    questions: Path
    """JSONL of file_path, question, answer, bbox (corners in px), point (x, y in px), img_w,
    img_h: `pointQA_local_train.jsonl`, a file a split."""
    places: tuple[Literal["box", "point"], ...] = Field(("box", "point"), min_length=1)
    """What a question ends with, one sample of each."""


class _Pointed(msgspec.Struct):
    file_path: str
    question: str
    answer: str
    bbox: Corners
    point: tuple[float, float]
    img_w: int
    img_h: int


class PointQaLocal(_Lines):
    """Questions about the object at a point or in a box, answered in words."""

    name: ClassVar[str] = "point_qa_local"
    licence: ClassVar[str] = "CC BY-NC 4.0 (Shikra's files), CC BY 4.0 (Visual Genome)"
    tasks: ClassVar[tuple[str, ...]] = ("point_qa",)
    Settings: ClassVar[type[PointQaLocalSettings]] = PointQaLocalSettings
    _entry: ClassVar[type[msgspec.Struct]] = _Pointed

    def __init__(self, settings: PointQaLocalSettings) -> None:
        """Keep `settings`; open nothing yet."""
        super().__init__(settings)
        self._path, self._forms = settings.questions, settings.places

    def _sample(self, index: int, row: int) -> Sample:
        asked = self._file.read(index, _Pointed)
        question, answer = clean(asked.question), Turn("assistant", clean(asked.answer))
        picture = self._picture(asked.file_path, asked.img_w, asked.img_h)
        if self._forms[row] == "box":
            box = self._box(asked.bbox, picture)
            turns = Turn("user", f"{question} <box>", (box,)), answer
        else:
            point = pixel_point(asked.point, picture, self.settings.slack_px)
            turns = Turn("user", f"{question} <point>", (), (point,)), answer
        return Sample.of("point_qa", picture, turns, self._origin(f"local_{self._forms[row]}"))


class Visual7WJsonlSettings(_ShikraSettings):
    """Where Visual7W pointing lies, as Shikra converted it."""

    questions: Path
    """JSONL of file_path, question, candidates (corners in px), answer (one of them), point (x, y
    in px, inside the answer), img_w, img_h: `v7w_pointing_train.jsonl`, a file a split."""
    answers: tuple[Literal["box", "point"], ...] = Field(("box", "point"), min_length=1)
    """What the answer is, one sample of each."""


class _Choice(msgspec.Struct):
    file_path: str
    question: str
    candidates: list[Corners]
    answer: Corners
    point: tuple[float, float]
    img_w: int
    img_h: int


class Visual7WJsonl(_Lines):
    """`Which` questions with their candidates in an order of their own, as PointQA."""

    name: ClassVar[str] = "visual7w_jsonl"
    licence: ClassVar[str] = "CC BY-NC 4.0 (Shikra's files; Visual7W states none)"
    tasks: ClassVar[tuple[str, ...]] = ("point_qa",)
    Settings: ClassVar[type[Visual7WJsonlSettings]] = Visual7WJsonlSettings
    _entry: ClassVar[type[msgspec.Struct]] = _Choice

    def __init__(self, settings: Visual7WJsonlSettings) -> None:
        """Keep `settings`; open nothing yet."""
        super().__init__(settings)
        self._path, self._forms = settings.questions, settings.answers

    def _sample(self, index: int, row: int) -> Sample:
        asked = self._file.read(index, _Choice)
        question, order = clean(asked.question), list(asked.candidates)
        if len(order) < 2 or len(set(order)) < len(order) or asked.answer not in order:
            raise EntryError("bad_choices", f"answer {asked.answer} of {order}"[:200])
        picture = self._picture(asked.file_path, asked.img_w, asked.img_h)
        # The place of the answer in the file may tell it: an order is drawn for each line.
        random_for(0, self.name, f"{asked.file_path}/{asked.question}/{order}").shuffle(order)
        boxes = {corners: self._box(corners, picture) for corners in order}
        kind, answer = self._forms[row], boxes[asked.answer]
        point = pixel_point(asked.point, picture, self.settings.slack_px)
        meant = answer if kind == "box" else point
        turns = choice_turns(question, tuple(boxes.values()), meant)
        return Sample.of("point_qa", picture, turns, self._origin(f"which_{kind}"))


class ShikraTalkSettings(_ShikraSettings):
    """Where the text that GPT-4 wrote for Shikra lies."""

    talk: Path
    """JSONL of img_path, width, height, boxes (corners in px), question, question_boxes_seq,
    cot_with_ans, answer_boxes_seq; `<ph_ed>` in a text ends a phrase that has boxes."""


class _Talk(msgspec.Struct):
    img_path: str
    boxes: list[Corners]
    question: str
    cot_with_ans: str
    question_boxes_seq: list[list[int]] = []
    answer_boxes_seq: list[list[int]] = []
    width: int | None = None
    height: int | None = None


class _ShikraTalk(_Lines):
    """A question and an answer whose phrases carry boxes."""

    licence: ClassVar[str] = "CC BY-NC 4.0"
    tasks: ClassVar[tuple[str, ...]]
    Settings: ClassVar[type[ShikraTalkSettings]] = ShikraTalkSettings
    _entry: ClassVar[type[msgspec.Struct]] = _Talk

    def __init__(self, settings: ShikraTalkSettings) -> None:
        """Keep `settings`; open nothing yet."""
        super().__init__(settings)
        self._path, self._forms = settings.talk, self.tasks

    def _sample(self, index: int, row: int) -> Sample:
        talk = self._file.read(index, _Talk)
        picture = self._picture(talk.img_path, talk.width, talk.height)
        boxes = [self._box(corners, picture) for corners in talk.boxes]
        turns = (
            marked_turn("user", talk.question, talk.question_boxes_seq, boxes),
            marked_turn("assistant", talk.cot_with_ans, talk.answer_boxes_seq, boxes),
        )
        return Sample.of(self._forms[row], picture, turns, self._origin())


class ShikraRd(_ShikraTalk):
    """Referential dialogue: `GPT4GEN_RD_BoxCoT_train.jsonl`."""

    name: ClassVar[str] = "shikra_rd"
    tasks: ClassVar[tuple[str, ...]] = ("rd",)


class ShikraQcboxa(_ShikraTalk):
    """A question and a chain of thought with boxes that ends in the answer: `GPT4GEN_BoxCoT_*`."""

    name: ClassVar[str] = "shikra_qcboxa"
    tasks: ClassVar[tuple[str, ...]] = ("qcboxa",)


_PHRASE_END = re.compile(r"\s*<ph_ed>")


def marked_turn(role: Role, text: str, sequence: list[list[int]], boxes: list[Box]) -> Turn:
    """Turn whose i-th `<ph_ed>` becomes the boxes numbered in `sequence[i]`; `<ph_st>` goes.

    Raises `EntryError` (`phrases_differ`, `empty_group`, `unknown_box`).

    >>> one, two = Box(0.0, 0.0, 0.5, 0.5), Box(0.5, 0.5, 1.0, 1.0)
    >>> marked_turn("user", "<ph_st>Two dogs<ph_ed> run.", [[1, 0]], [one, two]).text
    'Two dogs <box><box> run.'
    """
    pieces = _PHRASE_END.split(text.replace("<ph_st>", "").strip())
    if len(pieces) != len(sequence) + 1:
        raise EntryError(
            "phrases_differ", f"{len(pieces) - 1} phrases, boxes for {len(sequence)}: {text[:100]}"
        )
    if not all(sequence):
        raise EntryError("empty_group", f"a phrase without boxes: {text[:100]}")
    numbers = [number for group in sequence for number in group]
    if any(not 0 <= number < len(boxes) for number in numbers):
        raise EntryError("unknown_box", f"{numbers} of {len(boxes)} boxes")
    marks = ["<box>" * len(group) for group in sequence]
    words = clean(pieces[0]) if len(pieces) == 1 else escape_marks(pieces[0])
    for mark, piece in zip(marks, pieces[1:], strict=True):
        words += f"{' ' if words else ''}{mark}{escape_marks(piece)}"
    sizes = [len(group) for group in sequence]
    return Turn(role, words, tuple(boxes[number] for number in numbers), (), grouped(sizes))
