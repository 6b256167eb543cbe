"""TallyQA: how many there are."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import msgspec

from genixer.data import Sample
from genixer.sources.base import EntrySource, SourceSettings
from genixer.sources.pairs import answered
from genixer.store.entries import AnyEntries, EntryError, join_path, json_array

__all__ = ["TallyQa", "TallyQaSettings"]

_MOST = 999
"""The published counts end at 15; nobody counts to a thousand in a picture."""


class TallyQaSettings(SourceSettings):
    """Where TallyQA lies."""

    questions: Path
    """JSON array of image, question_id, question, answer (a number), issimple, data_source."""
    image_prefix: str = ""
    """Folder under the image root that holds COCO's `train2014`, `val2014` and Visual Genome's
    `VG_100K`, `VG_100K_2`."""


class _Counted(msgspec.Struct):
    question_id: int | str
    image: str
    question: str
    answer: int
    issimple: bool | None = None
    data_source: str = ""


class TallyQa(EntrySource):
    """Counting questions with their number, as common VQA."""

    name: ClassVar[str] = "tallyqa"
    licence: ClassVar[str] = "not stated"
    tasks: ClassVar[tuple[str, ...]] = ("common_vqa",)
    Settings: ClassVar[type[TallyQaSettings]] = TallyQaSettings
    key: ClassVar[str] = "question_id"
    settings: TallyQaSettings

    def files(self) -> list[Path]:
        """The questions."""
        return [self.settings.questions]

    def _open(self) -> AnyEntries:
        return json_array(self.settings.questions)

    def _sample(self, index: int) -> Sample:
        asked = self._entries.file.read(index, _Counted)
        if not 0 <= asked.answer <= _MOST:
            raise EntryError("bad_answer", f"the count is not in 0 to {_MOST}")
        turns = answered(asked.question, str(asked.answer))
        image = self.catalog.ref(join_path(self.settings.image_prefix, asked.image))
        kinds = {True: "simple", False: "complex", None: asked.data_source}
        return Sample.of("common_vqa", image, turns, self._origin(kinds[asked.issimple]))
