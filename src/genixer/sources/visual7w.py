"""Visual7W pointing: a `which` question, four boxes, one of them the answer."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import msgspec
from pydantic import Field

from genixer.data import Box, ImageRef, Sample, random_for
from genixer.sources.base import SourceSettings
from genixer.sources.planned import PlannedSource
from genixer.sources.regions import centre, choice_turns, wide_box
from genixer.store.entries import EntryError, EntryFile, clean, decode_entry, join_path, json_array

__all__ = ["Visual7W", "Visual7WSettings"]


class Visual7WSettings(SourceSettings):
    """Where Visual7W lies."""

    questions: Path
    """`dataset_v7w_pointing.json`: images (filename, split, qa_pairs), boxes (box_id, x, y, width,
    height in px)."""
    split: Literal["", "train", "val", "test"] = ""
    """Only images of this split; empty takes all."""
    answers: tuple[Literal["box", "point"], ...] = Field(("box", "point"), min_length=1)
    """What the answer is, one sample of each: the box, or its centre."""
    image_prefix: str = ""
    """Folder of the images under the image root."""
    slack_px: float = Field(1.0, ge=0.0)
    """How far outside the image a box may reach and be cut off; further out it is refused."""


class _Image(msgspec.Struct):
    image_id: int
    filename: str
    split: str
    qa_pairs: list[msgspec.Raw]


class _Pair(msgspec.Struct):
    qa_id: int
    question: str
    answer: int
    multiple_choices: list[int]
    type: str = "which"


class _BoxEntry(msgspec.Struct):
    x: float
    y: float
    width: float
    height: float


class Visual7W(PlannedSource):
    """`Which` questions with their candidates in an order of their own, as PointQA.

    The file does not tell the size of an image, so that a resized copy is found out only where
    boxes leave it.
    """

    name: ClassVar[str] = "visual7w"
    licence: ClassVar[str] = "not stated"
    tasks: ClassVar[tuple[str, ...]] = ("point_qa",)
    Settings: ClassVar[type[Visual7WSettings]] = Visual7WSettings
    key: ClassVar[str] = "image_id"
    settings: Visual7WSettings

    def files(self) -> list[Path]:
        """Images and boxes in one file."""
        return [self.settings.questions]

    def _open(self) -> EntryFile:
        return json_array(self.settings.questions, "images")

    @cached_property
    def _boxes(self) -> tuple[EntryFile, dict[int | str, int]]:
        file = json_array(self.settings.questions, "boxes")
        return file, file.by_id("box_id")[0]

    def _rows(self, index: int) -> int:
        image = self._file.read(index, _Image)
        if self.settings.split not in ("", image.split):
            return 0
        return len(image.qa_pairs) * len(self.settings.answers)

    def _sample(self, index: int, row: int) -> Sample:
        image = self._file.read(index, _Image)
        at, choice = divmod(row, len(self.settings.answers))
        pair = decode_entry(image.qa_pairs[at], _Pair)
        question, kind = clean(pair.question), self.settings.answers[choice]
        picture = self.catalog.ref(join_path(self.settings.image_prefix, image.filename))
        order = [pair.answer, *pair.multiple_choices]
        if len(order) < 2 or len(set(order)) < len(order):
            raise EntryError("bad_choices", f"answer {pair.answer} of {pair.multiple_choices}")
        random_for(0, self.name, str(pair.qa_id)).shuffle(order)
        boxes = {number: self._box(number, picture) for number in order}
        answer = boxes[pair.answer] if kind == "box" else centre(boxes[pair.answer])
        turns = choice_turns(question, tuple(boxes.values()), answer)
        return Sample.of("point_qa", picture, turns, self._origin(f"{pair.type}_{kind}"))

    def _box(self, number: int, picture: ImageRef) -> Box:
        file, at = self._boxes
        if number not in at:
            raise EntryError("unknown_box", f"no box {number} in {file.path.name}")
        try:
            one = file.read(at[number], _BoxEntry)
        except EntryError as error:
            raise EntryError("unknown_box", f"{file.places[at[number]]}: {error}") from error
        return wide_box((one.x, one.y, one.width, one.height), picture, self.settings.slack_px)

    def _part(self, index: int, row: int) -> tuple[str, bytes]:
        where, raw = super()._part(index, row)
        if index in self._repeated:
            return where, raw
        try:
            pairs = self._file.read(index, _Image).qa_pairs
        except EntryError:
            return where, raw
        at = row // len(self.settings.answers)
        return f"{where}.qa_pairs[{at}]", bytes(pairs[at])
