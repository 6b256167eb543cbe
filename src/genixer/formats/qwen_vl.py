"""Qwen-VL's grounding text: `<ref>name</ref><box>(x0,y0),(x1,y1)</box>`, the image in `<img>`.

The signs and the frame changed from one generation to the next, so both are settings. Boxes of one
phrase stand side by side.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec

from genixer.data import Box, ImageRef, Role, Sample, Turn
from genixer.errors import CannotEncodeError
from genixer.formats.conversation import ConversationFormat, ConversationSettings, check_pairs
from genixer.formats.grid import Grid
from genixer.formats.marked import (
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
from genixer.store.entries import EntryError

__all__ = ["QwenVlFormat", "QwenVlSettings"]

_ROLES: tuple[Role, Role] = ("user", "assistant")
_PICTURE = re.compile(r"(?:Picture 1: )?<img>(.*?)</img>\n?", re.DOTALL)
_NUMBER = r"(0|[1-9]\d{0,5})"
_CORNERS = rf"\({_NUMBER},{_NUMBER}\),\({_NUMBER},{_NUMBER}\)"


class _Signs(NamedTuple):
    box: tuple[str, str]
    ref: tuple[str, str]
    boxes: re.Pattern[str]
    """One box."""
    names: re.Pattern[str]
    """One name; its second group is there when a box follows at once."""


def _signs(box: tuple[str, str], ref: tuple[str, str]) -> _Signs:
    start, end = map(re.escape, box)
    boxes = re.compile(f"{start}{_CORNERS}{end}")
    names = re.compile(f"{re.escape(ref[0])}(.*?){re.escape(ref[1])}(?=({start})?)", re.DOTALL)
    return _Signs(box, ref, boxes, names)


_SIGNS = {
    "qwen_vl": _signs(("<box>", "</box>"), ("<ref>", "</ref>")),
    "qwen2_vl": _signs(
        ("<|box_start|>", "<|box_end|>"), ("<|object_ref_start|>", "<|object_ref_end|>")
    ),
}
# Whichever of the two is written: no words may hold signs that either tokenizer knows.
_ANY_SIGN = re.compile(r"</?(?:box|ref|quad|img)>|<\|[a-z_]+\|>")


class QwenVlSettings(ConversationSettings):
    """Which generation's signs and frame."""

    frame: Literal["per_1000", "per_999", "pixel"] = "per_1000"
    """Frame of the coordinates, whole numbers: `per_999` for Qwen-VL, `per_1000` for Qwen2-VL and
    Qwen3-VL, `pixel` for Qwen2.5-VL, whose trainer must scale them with the image."""
    signs: Literal["qwen_vl", "qwen2_vl"] = "qwen_vl"
    """`qwen_vl`: `<box>` and `<ref>`; `qwen2_vl`: `<|box_start|>` and `<|object_ref_start|>`."""


class _Said(msgspec.Struct):
    speaker: str = msgspec.field(name="from")
    value: str


class _Row(msgspec.Struct):
    conversations: list[_Said]
    id: int | str | None = None


class QwenVlFormat(ConversationFormat):
    """Not written: `qwen_mark` (its own signs as words), `image_mark`, `points_not_supported`.

    Nor `touching_boxes`, `group_not_adjacent` and `needless_groups`
    (`genixer.formats.marked.take_apart`).
    """

    name: ClassVar[str] = "qwen_vl"
    Settings: ClassVar[type[QwenVlSettings]] = QwenVlSettings
    Row: ClassVar[type[Any]] = _Row
    field: ClassVar[str] = "conversations"

    def row(self, sample: Sample, tally: Tally) -> dict[str, Any]:
        """Row of a sample."""
        path = self.path(sample)
        if "</img>" in path or "\n" in path:
            raise CannotEncodeError("qwen_mark", path)
        image = sample.picture
        grid = Grid.of(self.settings.frame, 0, image.width, image.height)
        listed = sample.task == "dense_caption"
        said = [
            {"from": turn.role, "value": self._text(turn, listed, grid, tally)}
            for turn in sample.turns
        ]
        said[0]["value"] = f"Picture 1: <img>{path}</img>\n{said[0]['value']}"
        return {"id": sample.id, "conversations": said}

    def image(self, row: _Row) -> str:
        """The one image."""
        found = _PICTURE.match(row.conversations[0].value) if row.conversations else None
        if found is None:
            raise EntryError("no_image", "the first turn begins with no <img>")
        return found[1]

    def turns(self, row: _Row, image: ImageRef | None) -> Sequence[Turn]:
        """Turns of a row; names in `<ref>` come back as the words they are.

        Reasons: `bad_turns`, `bad_box` (signs that spell no box), `box_outside`, `box_inverted`,
        `image_mark`; with `strict` also `loose_ref` (a name outside a list: where it ends is lost).
        """
        check_pairs([said.speaker for said in row.conversations], *_ROLES)
        grid = Grid.over(self.settings.frame, 0, image)
        texts = [said.value for said in row.conversations]
        texts[0] = _PICTURE.sub("", texts[0], count=1)
        return [self._turn(_ROLES[at % 2], text, grid) for at, text in enumerate(texts)]

    def _text(self, turn: Turn, listed: bool, grid: Grid, tally: Tally) -> str:
        if turn.points:
            raise CannotEncodeError("points_not_supported")
        signs = _SIGNS[self.settings.signs]
        pieces, places = take_apart(turn, touching=True)
        refuse_words(pieces, _ANY_SIGN, "qwen_mark")
        names = names_of_list(pieces, places) if listed else None
        if names is not None:
            refs = [f"{signs.ref[0]}{name}{signs.ref[1]}" for name in names]
            pieces = [refs[0], *(f", {ref}" for ref in refs[1:]), pieces[-1]]
        return weave(
            pieces,
            ["".join(_spell(box, signs, grid, tally) for box in boxes_of(at)) for at in places],
        )

    def _turn(self, role: Role, text: str, grid: Grid) -> Turn:
        signs = _SIGNS[self.settings.signs]
        names = [found[1] for found in signs.names.finditer(text)]
        text = signs.names.sub(lambda found: found[1] + (" " if found[2] else ""), text)
        pieces, places = find_boxes(text, signs.boxes, lambda found: _read(found, grid))
        expect_words(pieces, _ANY_SIGN, "bad_box")
        if self.settings.strict and names and names != names_of_list(pieces, places):
            raise EntryError("loose_ref", f"{names}"[:200])
        return put_together(role, pieces, places)


def _read(found: re.Match[str], grid: Grid) -> Box:
    x0, y0, x1, y1 = map(float, found.groups())
    return grid.box_at((x0, y0, x1, y1))


def _spell(box: Box, signs: _Signs, grid: Grid, tally: Tally) -> str:
    x0, y0, x1, y1 = grid.numbers(grid.box(box, tally))
    return f"{signs.box[0]}({x0},{y0}),({x1},{y1}){signs.box[1]}"
