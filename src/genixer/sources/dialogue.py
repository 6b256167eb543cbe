"""Conversations: LLaVA-Instruct."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import msgspec

from genixer.data import Role, Sample, Turn
from genixer.sources.base import EntrySource, SourceSettings
from genixer.store.entries import EntryError, EntryFile, clean, join_path, json_array
from genixer.tasks.grammar import IMAGE_MARK

__all__ = ["LlavaInstruct", "LlavaInstructSettings"]

_ROLES: dict[str, Role] = {"human": "user", "gpt": "assistant"}


class LlavaInstructSettings(SourceSettings):
    """Where LLaVA-Instruct lies."""

    conversations: Path
    """JSON array of id, image, conversations (from: human or gpt, value)."""
    image_prefix: str = ""
    """Folder of the images under the image root."""


class _Said(msgspec.Struct):
    speaker: str = msgspec.field(name="from")
    value: str


class _Conversation(msgspec.Struct):
    id: int | str
    conversations: list[_Said]
    image: str | None = None


class LlavaInstruct(EntrySource):
    """Conversations about an image as multi-turn dialogues; text without an image is `no_image`."""

    name: ClassVar[str] = "llava_instruct"
    licence: ClassVar[str] = "CC BY 4.0"
    tasks: ClassVar[tuple[str, ...]] = ("md",)
    Settings: ClassVar[type[LlavaInstructSettings]] = LlavaInstructSettings
    key: ClassVar[str] = "id"
    settings: LlavaInstructSettings

    def files(self) -> list[Path]:
        """The conversations."""
        return [self.settings.conversations]

    def _open(self) -> EntryFile:
        return json_array(self.settings.conversations)

    def _sample(self, index: int) -> Sample:
        entry = self._entries.file.read(index, _Conversation)
        if not entry.image:
            raise EntryError("no_image", "a conversation without an image")
        roles = [said.speaker for said in entry.conversations]
        if not roles or roles != ["human", "gpt"] * (len(roles) // 2):
            raise EntryError("bad_turns", f"speakers are {', '.join(roles)}"[:200])
        turns = tuple(
            Turn(_ROLES[said.speaker], clean(_unmarked(said.value, at)))
            for at, said in enumerate(entry.conversations)
        )
        image = self.catalog.ref(join_path(self.settings.image_prefix, entry.image))
        return Sample.of("md", image, turns, self._origin("conversation"))


def _unmarked(value: str, at: int) -> str:
    """`value` without the mark of the picture, which stands at either end of the first turn."""
    text = value.strip()
    if at == 0:
        shorter = text.removeprefix(IMAGE_MARK)
        text = shorter if shorter != text else text.removesuffix(IMAGE_MARK)
    if IMAGE_MARK in text:
        raise EntryError("image_mark", f"turn {at} holds {IMAGE_MARK} where no image belongs")
    return text
