"""ShareGPT conversations: those of LLaVA, with a list `images` of one instead of `image`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from genixer.data import ImageRef, Sample, Turn
from genixer.formats.conversation import ConversationFormat, image_of_list
from genixer.formats.llava import Said, read_said, say
from genixer.formats.tally import Tally
from genixer.formats.text import TextSettings, refuse_media, write_texts

__all__ = ["ShareGptFormat"]


class _Row(msgspec.Struct):
    conversations: list[Said]
    id: int | str | None = None
    images: list[str] | str | None = None


class ShareGptFormat(ConversationFormat):
    """Not written: `media_mark` (words such as `<video>`), and what `write_turn` refuses."""

    name: ClassVar[str] = "sharegpt"
    Settings: ClassVar[type[TextSettings]] = TextSettings
    Row: ClassVar[type[Any]] = _Row
    field: ClassVar[str] = "conversations"

    def row(self, sample: Sample, tally: Tally) -> dict[str, Any]:
        """Row of a sample."""
        texts = write_texts(sample.turns, sample.image, self.settings, tally)
        refuse_media(texts)
        said = say(texts, sample.image is not None)
        return {"id": sample.id, "images": self.paths(sample), "conversations": said}

    def image(self, row: _Row) -> str:
        """The one image, if any."""
        return image_of_list(row.images)

    def turns(self, row: _Row, image: ImageRef | None) -> Sequence[Turn]:
        """Turns of a row."""
        return read_said(row.conversations, image, self.settings)
