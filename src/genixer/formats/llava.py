"""LLaVA conversations: `id`, `image`, `conversations` of `from` (human or gpt) and `value`.

The first human turn starts with `<image>` and a line break; boxes are text in a frame that the
settings declare, since the file does not say. A row of words alone has neither `image` nor mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from genixer.data import ImageRef, Sample, Turn
from genixer.formats.conversation import ConversationFormat, check_pairs, image_of_list
from genixer.formats.tally import Tally
from genixer.formats.text import TextSettings, marked, read_texts, unmarked, write_texts
from genixer.frames import Frame

__all__ = ["LlavaFormat", "LlavaSettings", "Said", "read_said", "say"]

_SPEAKERS: tuple[str, str] = ("human", "gpt")


class LlavaSettings(TextSettings):
    """How coordinates stand in the text."""

    frame: Frame = "padded_square"
    """Frame of the coordinates; LLaVA-1.5 was trained on the image padded to a square."""
    python_lists: bool = True
    """As in `TextSettings`; LLaVA's own files have them so."""


class Said(msgspec.Struct):
    """One turn, as LLaVA and ShareGPT write it."""

    speaker: str = msgspec.field(name="from")
    value: str


class _Row(msgspec.Struct):
    conversations: list[Said]
    id: int | str | None = None
    image: str | None = None


class LlavaFormat(ConversationFormat):
    """Not written: what `write_turn` refuses, such as `image_mark` and `box_look_alike`."""

    name: ClassVar[str] = "llava"
    Settings: ClassVar[type[LlavaSettings]] = LlavaSettings
    Row: ClassVar[type[Any]] = _Row
    field: ClassVar[str] = "conversations"

    def row(self, sample: Sample, tally: Tally) -> dict[str, Any]:
        """Row of a sample."""
        texts = write_texts(sample.turns, sample.image, self.settings, tally)
        said = say(texts, sample.image is not None)
        if sample.image is None:
            return {"id": sample.id, "conversations": said}
        return {"id": sample.id, "image": self.path(sample), "conversations": said}

    def image(self, row: _Row) -> str:
        """The one image, if any."""
        return image_of_list(row.image)

    def turns(self, row: _Row, image: ImageRef | None) -> Sequence[Turn]:
        """Turns of a row."""
        return read_said(row.conversations, image, self.settings)


def say(texts: Sequence[str], image: bool) -> list[dict[str, str]]:
    """Turns of `conversations`: human and gpt in turn, the `image` before the first words."""
    human, gpt = _SPEAKERS
    said = [{"from": human, "value": marked(texts[0], line=True, image=image)}]
    for at in range(1, len(texts)):
        said.append({"from": gpt if at % 2 else human, "value": texts[at]})
    return said


def read_said(
    said: Sequence[Said], image: ImageRef | None, settings: TextSettings
) -> Sequence[Turn]:
    """Turns of `conversations`; raises `EntryError`."""
    check_pairs([one.speaker for one in said], *_SPEAKERS)
    texts = [one.value for one in said]
    texts[0] = unmarked(texts[0], image is not None)
    return read_texts(texts, image, settings)
