"""Axolotl's multimodal messages: content parts, the image part holding the path of its file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from genixer.data import ImageRef, Sample, Turn
from genixer.formats.conversation import ConversationFormat
from genixer.formats.messages import MessageRow, image_of, say, turns_of
from genixer.formats.tally import Tally
from genixer.formats.text import TextSettings, write_texts

__all__ = ["AxolotlFormat"]


class AxolotlFormat(ConversationFormat):
    """Not written: what `write_turn` refuses."""

    name: ClassVar[str] = "axolotl"
    Settings: ClassVar[type[TextSettings]] = TextSettings
    Row: ClassVar[type[Any]] = MessageRow
    field: ClassVar[str] = "messages"

    def row(self, sample: Sample, tally: Tally) -> dict[str, Any]:
        """Row of a sample."""
        texts = write_texts(sample.turns, sample.image, self.settings, tally)
        parts = [{"type": "image", "path": path} for path in self.paths(sample)]
        return {"id": sample.id, "messages": say(texts, parts)}

    def image(self, row: MessageRow) -> str:
        """The one image, if any."""
        return image_of(row)

    def turns(self, row: MessageRow, image: ImageRef | None) -> Sequence[Turn]:
        """Turns of a row."""
        return turns_of(row, image, self.settings)
