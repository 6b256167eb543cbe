"""Boxes as Qwen2.5-VL and Qwen3-VL answer them: `{"bbox_2d": [x0, y0, x1, y1], "label": "cat"}`.

A list of objects is a JSON array of these; a box anywhere else is one without `label`, in its place
in the text. The rows are those of Qwen's own trainer: LLaVA's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import msgspec
from pydantic import Field

from genixer.data import Box, ImageRef, Role, Sample, Turn
from genixer.errors import CannotEncodeError
from genixer.formats.conversation import (
    ConversationFormat,
    ConversationSettings,
    check_pairs,
    image_of_list,
)
from genixer.formats.grid import Grid
from genixer.formats.llava import Said, say
from genixer.formats.marked import (
    Place,
    boxes_of,
    expect_words,
    find_boxes,
    names_of_list,
    put_together,
    refuse_words,
    take_apart,
    weave,
)
from genixer.formats.tally import Tally
from genixer.formats.text import unmarked
from genixer.frames import Frame, resized_size
from genixer.store.entries import EntryError

__all__ = ["QwenJsonFormat", "QwenJsonSettings"]

_ROLES: tuple[Role, Role] = ("user", "assistant")
_SIDE_PX = 28
_LONGEST = 200
_NUMBER = r"\s*(-?\d{1,9}(?:\.\d{1,9})?)\s*"
_BOX = re.compile(r'\{\s*"bbox_2d"\s*:\s*\[' + ",".join([_NUMBER] * 4) + r"\]\s*\}")
_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)
_SIGN = re.compile(r"bbox_2d")
_REFUSED = re.compile(r"bbox_2d|<\|[a-z_]+\|>|<video>|<audio>")
"""Words that would be taken for a box, a token or a video."""


class QwenJsonSettings(ConversationSettings):
    """The frame of the whole numbers in `bbox_2d`, which the file does not say."""

    frame: Literal["per_1000", "resized_pixel", "pixel"] = "per_1000"
    """`per_1000` for Qwen2-VL and Qwen3-VL; `resized_pixel` for Qwen2.5-VL: px of the image as its
    processor resizes it; `pixel`: px of the upright image, for trainers that scale them."""
    min_pixels: int = Field(3136, ge=1)
    """Fewest px of a resized image, as the processor is told: for `resized_pixel` alone."""
    max_pixels: int = Field(12_845_056, ge=1)
    """Most px of a resized image, as the processor is told: for `resized_pixel` alone."""


class _Row(msgspec.Struct):
    conversations: list[Said]
    id: int | str | None = None
    image: str | None = None


class _Object(msgspec.Struct, forbid_unknown_fields=True):
    bbox_2d: tuple[float, float, float, float]
    label: str | None = None


_OBJECTS = msgspec.json.Decoder(list[_Object] | _Object)


class QwenJsonFormat(ConversationFormat):
    """Not written: `qwen_mark`, `image_mark`, `points_not_supported`, `image_too_long`.

    `qwen_mark`: words that would be read as a box or one of the model's tokens; `image_too_long`:
    one side 200 times the other, in `resized_pixel`. Nor `touching_boxes`, `group_not_adjacent` and
    `needless_groups` (`genixer.formats.marked.take_apart`).

    On reading, a code fence around an answer is left away.
    """

    name: ClassVar[str] = "qwen_json"
    Settings: ClassVar[type[QwenJsonSettings]] = QwenJsonSettings
    Row: ClassVar[type[Any]] = _Row
    field: ClassVar[str] = "conversations"

    def row(self, sample: Sample, tally: Tally) -> dict[str, Any]:
        """Row of a sample."""
        image = sample.image
        if image is not None and not self._fits(image):
            raise CannotEncodeError("image_too_long", image.path)
        grid = self._grid(image)
        listed = sample.task == "dense_caption"
        said = say(
            [_written(turn, listed, grid, tally) for turn in sample.turns], image is not None
        )
        if image is None:
            return {"id": sample.id, "conversations": said}
        return {"id": sample.id, "image": self.path(sample), "conversations": said}

    def image(self, row: _Row) -> str:
        """The one image, if any."""
        return image_of_list(row.image)

    def turns(self, row: _Row, image: ImageRef | None) -> Sequence[Turn]:
        """Turns of a row; labels come back as the names in a list of objects.

        Reasons: `bad_turns`, `bad_box` (`bbox_2d` that is no box), `bad_label` (a name with a
        comma, or missing in a list), `box_outside`, `box_inverted`, `image_mark`, `image_too_long`.
        """
        check_pairs([said.speaker for said in row.conversations], "human", "gpt")
        if image is not None and not self._fits(image):
            raise EntryError("image_too_long", image.path)
        grid = self._grid(image)
        texts = [said.value for said in row.conversations]
        texts[0] = unmarked(texts[0], image is not None)
        return [_read(_ROLES[at % 2], text, grid) for at, text in enumerate(texts)]

    def _fits(self, image: ImageRef) -> bool:
        """Whether the processor takes an image of this shape."""
        sides = image.width, image.height
        return self.settings.frame != "resized_pixel" or max(sides) <= _LONGEST * min(sides)

    def _grid(self, image: ImageRef | None) -> Grid:
        settings = self.settings
        if settings.frame == "resized_pixel" and image is not None:
            limits = settings.min_pixels, settings.max_pixels
            size = resized_size(image.width, image.height, _SIDE_PX, *limits)
            return Grid("pixel", 0, *size, shown=(image.width, image.height))
        frame: Frame = "pixel" if settings.frame == "resized_pixel" else settings.frame
        return Grid.over(frame, 0, image)


def _written(turn: Turn, listed: bool, grid: Grid, tally: Tally) -> str:
    """Text of a turn; raises `CannotEncodeError`."""
    if turn.points:
        raise CannotEncodeError("points_not_supported")
    pieces, places = take_apart(turn, touching=True)
    refuse_words(pieces, _REFUSED, "qwen_mark")
    if not places:
        return pieces[0]
    spelled = [[grid.numbers(grid.box(box, tally)) for box in boxes_of(at)] for at in places]
    names = names_of_list(pieces, places) if listed and not turn.groups else None
    if names is not None and not pieces[-1]:
        found = [
            {"bbox_2d": one[0], "label": name} for name, one in zip(names, spelled, strict=True)
        ]
        return json.dumps(found, ensure_ascii=False)
    signs = [[json.dumps({"bbox_2d": numbers}) for numbers in one] for one in spelled]
    if len(signs) == 1 and len(signs[0]) > 1 and not any(pieces):
        return f"[{', '.join(signs[0])}]"
    text = weave(pieces, ["".join(one) for one in signs])
    if _objects(text) is not None and any(pieces):
        raise CannotEncodeError("qwen_mark", text)  # words that make an array of their box
    return text


def _read(role: Role, text: str, grid: Grid) -> Turn:
    """Turn that a text spells; raises `EntryError`."""

    def box(found: re.Match[str]) -> Box:
        x0, y0, x1, y1 = map(float, found.groups())
        return grid.box_at((x0, y0, x1, y1))

    objects = _objects(text)
    if objects is None:
        pieces, places = find_boxes(text, _BOX, box)
    else:
        pieces, places = _listed(objects, grid)
    expect_words(pieces, _SIGN, "bad_box")
    return put_together(role, pieces, places)


def _objects(text: str) -> list[_Object] | None:
    """Objects that a text consists of, None where it has other words."""
    if "bbox_2d" not in text:
        return None
    fenced = _FENCE.fullmatch(text.strip())
    try:
        found = _OBJECTS.decode(fenced[1] if fenced else text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
    return found if isinstance(found, list) else [found]


def _listed(objects: Sequence[_Object], grid: Grid) -> tuple[list[str], list[Place]]:
    """Pieces and places of a list of objects, or of the boxes of one phrase without names."""
    boxes = [grid.box_at(one.bbox_2d) for one in objects]
    labels = [one.label for one in objects if one.label is not None]
    if not labels:
        return ["", ""], [tuple(boxes)]
    places: list[Place] = [(box,) for box in boxes]
    pieces = [f"{', ' if at else ''}{label} " for at, label in enumerate(labels)]
    if len(labels) < len(objects) or names_of_list([*pieces, ""], places) != labels:
        raise EntryError("bad_label", f"{labels}"[:200])
    return [*pieces, ""], places
