"""Messages of content parts, as OpenAI's interface and TRL take them.

`parts: trl` writes `{"type": "image"}` and the path in the row's list `images`; `parts: openai`
writes the path where the part stands, as `image_url`. Either is read, and so are the parts of
Axolotl and turns that are plain text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import msgspec

from genixer.data import ImageRef, Role, Sample, Turn
from genixer.formats.conversation import ConversationFormat, check_pairs, image_of_list
from genixer.formats.tally import Tally
from genixer.formats.text import TextSettings, read_texts, unmarked, write_texts
from genixer.store.entries import EntryError

__all__ = ["MessageRow", "MessagesFormat", "MessagesSettings", "image_of", "say", "turns_of"]

_ROLES: tuple[Role, Role] = ("user", "assistant")


class MessagesSettings(TextSettings):
    """Where the image stands, and how coordinates stand in the text."""

    parts: Literal["trl", "openai"] = "trl"
    """How the image part is written: TRL's, with a list `images`, or OpenAI's `image_url`."""


class _Url(msgspec.Struct):
    url: str


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    image: str | None = None
    path: str | None = None
    url: str | None = None
    image_url: _Url | str | None = None

    @property
    def where(self) -> str | None:
        """Path of an image part, if it names one."""
        url = self.image_url.url if isinstance(self.image_url, _Url) else self.image_url
        return self.image or self.path or self.url or url


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part]


class MessageRow(msgspec.Struct):
    """A row of messages, whoever wrote it."""

    messages: list[_Message]
    id: int | str | None = None
    images: list[str] | str | None = None
    image: str | None = None


class MessagesFormat(ConversationFormat):
    """Not written: what `write_turn` refuses."""

    name: ClassVar[str] = "messages"
    Settings: ClassVar[type[MessagesSettings]] = MessagesSettings
    Row: ClassVar[type[Any]] = MessageRow
    field: ClassVar[str] = "messages"

    def row(self, sample: Sample, tally: Tally) -> dict[str, Any]:
        """Row of a sample."""
        texts = write_texts(sample.turns, sample.image, self.settings, tally)
        images = self.paths(sample)
        if self.settings.parts == "trl":
            parts: list[dict[str, Any]] = [{"type": "image"}] * len(images)
            return {"id": sample.id, "images": images, "messages": say(texts, parts)}
        parts = [{"type": "image_url", "image_url": {"url": path}} for path in images]
        return {"id": sample.id, "messages": say(texts, parts)}

    def image(self, row: MessageRow) -> str:
        """The one image, if any."""
        return image_of(row)

    def turns(self, row: MessageRow, image: ImageRef | None) -> Sequence[Turn]:
        """Turns of a row."""
        return turns_of(row, image, self.settings)


def say(texts: Sequence[str], image_parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages of one text part each; the first has `image_parts` before it."""
    said: list[dict[str, Any]] = [
        {"role": _ROLES[at % 2], "content": [{"type": "text", "text": text}]}
        for at, text in enumerate(texts)
    ]
    said[0]["content"][:0] = image_parts
    return said


def image_of(row: MessageRow) -> str:
    """The one image of a row, wherever it is named, empty for none; raises `EntryError`."""
    named = [part.where for part in _image_parts(row) if part.where]
    return image_of_list(named or row.images or row.image)


def turns_of(row: MessageRow, image: ImageRef | None, settings: TextSettings) -> Sequence[Turn]:
    """Turns of a row; raises `EntryError`.

    Reasons: `bad_turns`, `several_images`, `no_image` (a part or mark for one that is not named),
    `several_texts` (parts of one turn that no line break or order would bring back),
    `unknown_part`, and what `read_turn` refuses.
    """
    check_pairs([message.role for message in row.messages], *_ROLES)
    parts = len(_image_parts(row))
    if parts > 1:
        raise EntryError("several_images", f"{parts} image parts")
    if image is None and parts:
        raise EntryError("no_image", "an image part, and the row names no image")
    texts = [
        _text(message, first=at == 0, image=image is not None)
        for at, message in enumerate(row.messages)
    ]
    return read_texts(texts, image, settings)


def _image_parts(row: MessageRow) -> list[_Part]:
    return [
        part
        for message in row.messages
        if isinstance(message.content, list)
        for part in message.content
        if part.type in ("image", "image_url")
    ]


def _text(message: _Message, first: bool, image: bool) -> str:
    """Words of one message; the image may stand on either side of those of the first."""
    if isinstance(message.content, str):
        return unmarked(message.content, image) if first else message.content
    kinds = [part.type for part in message.content]
    for kind in kinds:
        if kind not in ("text", "image", "image_url"):
            raise EntryError("unknown_part", f"a part of type {kind!r}"[:200])
    if not first and len(kinds) != kinds.count("text"):
        raise EntryError("image_mark", "an image after the first turn")
    texts = [part.text for part in message.content if part.type == "text" and part.text is not None]
    if len(texts) != 1:
        raise EntryError("several_texts", f"{len(texts)} text parts in one turn")
    return texts[0]
