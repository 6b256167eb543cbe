"""PointQA-Local as published: a dictionary of questions by image, each about several objects."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from pydantic import Field

from genixer.data import Sample, Turn
from genixer.errors import ConfigError
from genixer.sources.genome import Genome, GenomeSettings
from genixer.sources.regions import pixel_point, wide_box
from genixer.store.entries import (
    EntryError,
    EntryFile,
    clean,
    decode_entry,
    json_array,
    json_object,
)

__all__ = ["LocalQa", "LocalQaSettings"]


class LocalQaSettings(GenomeSettings):
    """Where PointQA-Local lies."""

    dataset: Path
    """`localqa_dataset.json`: by image id a list of question, all_objs (x, y, w, h in px), points
    (x, y in px, ans), all_ans."""
    split: Path | None = None
    """JSON array of image ids, such as `localqa_train_imgs.json`; empty takes all images."""
    places: tuple[Literal["box", "point"], ...] = Field(("box", "point"), min_length=1)
    """What a question ends with, one sample of each."""


class _Object(msgspec.Struct):
    x: float
    y: float
    w: float
    h: float


class _Point(msgspec.Struct):
    x: float
    y: float
    ans: str | None = None


class _Question(msgspec.Struct):
    question: str
    all_objs: list[_Object]
    points: list[_Point]
    all_ans: list[str] = []


class _Shape(msgspec.Struct):
    all_objs: list[Any]


_QUESTIONS: Any = Annotated[list[_Shape], msgspec.Meta(min_length=1)]
"""What shows that a file is of this layout."""


class LocalQa(Genome):
    """Each question once for each of its objects, answered for the one at the point or in the box.

    The answer is the point's own; `all_ans` counts only where points have none and it is as long as
    the list of objects, since the published one may be a set in no order.
    """

    name: ClassVar[str] = "localqa"
    licence: ClassVar[str] = "not stated"
    tasks: ClassVar[tuple[str, ...]] = ("point_qa",)
    Settings: ClassVar[type[LocalQaSettings]] = LocalQaSettings
    settings: LocalQaSettings

    @property
    def _annotations(self) -> Path:
        return self.settings.dataset

    def files(self) -> list[Path]:
        """The dictionary; the split, sizes and ids if there are any."""
        split = self.settings.split
        return [*super().files(), *([split] if split is not None else [])]

    def _open(self) -> EntryFile:
        return json_object(self.settings.dataset, _QUESTIONS)

    @cached_property
    def _file(self) -> EntryFile:
        return self._open()

    @cached_property
    def _repeated(self) -> frozenset[int]:
        return self._file.repeated("")

    @cached_property
    def _split(self) -> frozenset[str] | None:
        if self.settings.split is None:
            return None
        file = json_array(self.settings.split)
        try:
            return frozenset(str(file.read(index, int | str)) for index in range(len(file)))  # type: ignore[arg-type]
        except EntryError as error:
            raise ConfigError(f"{self.settings.split}: expected image ids: {error}") from error

    def _rows(self, index: int) -> int:
        image_id = self._image_id(index)
        if not self._chosen(image_id) or not (self._split is None or str(image_id) in self._split):
            return 0
        return sum(map(self._rows_of, self._file.read(index, list[msgspec.Raw])))

    def _rows_of(self, question: msgspec.Raw) -> int:
        """Rows of a question; one where it cannot be read."""
        try:
            return max(1, len(decode_entry(question, _Shape).all_objs) * len(self.settings.places))
        except EntryError:
            return 1

    def _image_id(self, index: int) -> int:
        key = self._file.key(index)
        if not (key.isascii() and key.isdigit() and len(key) < 18):
            raise EntryError("bad_entry", f"{key[:40]!r} is no image id")
        return int(key)

    def _sample(self, index: int, row: int) -> Sample:
        image_id = self._image_id(index)
        raws = self._file.read(index, list[msgspec.Raw])
        for question in raws:
            rows = self._rows_of(question)
            if row < rows:
                break
            row -= rows
        asked = decode_entry(question, _Question)
        at, choice = divmod(row, len(self.settings.places))
        words, answer = clean(asked.question), Turn("assistant", clean(_answer(asked, at)))
        picture, place = self._picture(image_id), asked.all_objs[at]
        slack, kind = self.settings.slack_px, self.settings.places[choice]
        if kind == "box":
            box = wide_box((place.x, place.y, place.w, place.h), picture, slack)
            asked_turn = Turn("user", f"{words} <box>", (box,))
        else:
            point = pixel_point((asked.points[at].x, asked.points[at].y), picture, slack)
            asked_turn = Turn("user", f"{words} <point>", (), (point,))
        return Sample.of("point_qa", picture, (asked_turn, answer), self._origin(f"local_{kind}"))


def _answer(asked: _Question, at: int) -> str:
    """Answer for object `at`; raises `EntryError` (`no_objects`, `points_differ`, `no_answer`)."""
    if not asked.all_objs:
        raise EntryError("no_objects", "a question about nothing")
    if len(asked.points) != len(asked.all_objs):
        raise EntryError(
            "points_differ", f"{len(asked.points)} points for {len(asked.all_objs)} objects"
        )
    own = asked.points[at].ans
    if own is not None:
        return own
    if len(asked.all_ans) != len(asked.all_objs):
        raise EntryError("no_answer", f"{len(asked.all_ans)} answers for {len(asked.all_objs)}")
    return asked.all_ans[at]
