"""Sentences about a whole image: COCO captions."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import msgspec

from genixer.data import Sample, random_for
from genixer.sources.base import EntrySource, SourceSettings
from genixer.sources.coco import Instances
from genixer.sources.pairs import answered
from genixer.store.entries import EntryFile, join_path, json_array
from genixer.tasks.instructions import lines

__all__ = ["CocoCaptions", "CocoCaptionsSettings"]


class CocoCaptionsSettings(SourceSettings):
    """Where COCO captions lie."""

    captions: Path
    """`captions_*.json`: `images` (id, file_name) and `annotations` (id, image_id, caption)."""
    image_prefix: str = ""
    """Folder of the images under the image root."""


class _Caption(msgspec.Struct):
    id: int
    image_id: int
    caption: str


class CocoCaptions(EntrySource):
    """A request to describe the image in a sentence and one of its captions, as common VQA."""

    name: ClassVar[str] = "coco_captions"
    licence: ClassVar[str] = "CC BY 4.0"
    tasks: ClassVar[tuple[str, ...]] = ("common_vqa",)
    Settings: ClassVar[type[CocoCaptionsSettings]] = CocoCaptionsSettings
    key: ClassVar[str] = "id"
    settings: CocoCaptionsSettings

    def __init__(self, settings: CocoCaptionsSettings) -> None:
        """Keep `settings`; open nothing yet."""
        super().__init__(settings)
        self._known = Instances(settings.captions)

    def files(self) -> list[Path]:
        """The captions."""
        return [self.settings.captions]

    def _open(self) -> EntryFile:
        return json_array(self.settings.captions, "annotations")

    def _sample(self, index: int) -> Sample:
        entry = self._entries.file.read(index, _Caption)
        file_name = self._known.image(entry.image_id).file_name
        image = self.catalog.ref(join_path(self.settings.image_prefix, file_name))
        form = random_for(0, self.name, str(entry.id)).choice(lines("caption_questions"))
        turns = answered(form, entry.caption)
        return Sample.of("common_vqa", image, turns, self._origin("caption"))
