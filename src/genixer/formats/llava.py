"""LLaVA conversations: `id`, `image`, `conversations` of `from` (human or gpt) and `value`.

The first human turn starts with `<image>` and a line break; boxes are text in a frame that the
settings declare, since the file does not say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from pydantic import Field

from genixer.data import Origin, Quarantined, Role, Sample, Turn, encode_row
from genixer.errors import CannotEncodeError
from genixer.formats.base import FormatSettings
from genixer.formats.sidecars import Provenance, Sidecars, read_provenance, whole_file
from genixer.frames import Frame
from genixer.store.entries import EntryError, EntryFile, json_array, json_lines, read_entry
from genixer.store.images import ImageCatalog
from genixer.tasks.base import Canvas
from genixer.tasks.grammar import IMAGE_MARK, UnreadableError, read_turn, write_turn
from genixer.tasks.shape import shape

__all__ = ["LlavaFormat", "LlavaSettings"]

_SPEAKER: dict[str, str] = {"user": "human", "assistant": "gpt"}
_ROLE: dict[str, Role] = {"human": "user", "gpt": "assistant"}


class LlavaSettings(FormatSettings):
    """How coordinates stand in the text."""

    frame: Frame = "padded_square"
    """Frame of the coordinates; LLaVA-1.5 was trained on the image padded to a square."""
    decimals: int = Field(3, ge=0, le=6)
    """Decimals of a coordinate."""


class _Said(msgspec.Struct):
    speaker: str = msgspec.field(name="from")
    value: str


class _Row(msgspec.Struct):
    id: int | str
    conversations: list[_Said]
    image: str | None = None


class LlavaFormat:
    """JSON array, or JSONL for a name in `.jsonl`; sidecars carry what it has no place for.

    Not written: `not_pairs` (turns that do not alternate, user first) and what `write_turn`
    refuses: `image_mark` (a literal `<image>`), `box_look_alike`, `points_not_supported`.
    """

    name: ClassVar[str] = "llava"
    Settings: ClassVar[type[LlavaSettings]] = LlavaSettings

    def __init__(self, settings: LlavaSettings | None = None) -> None:
        """Keep `settings`."""
        self.settings = settings or LlavaSettings()

    def write(self, samples: Iterable[Sample], out: Path, images: Path) -> dict[str, int]:
        """Write `samples` in order, and the sidecars; image files are not touched."""
        counts: Counter[str] = Counter(written=0)
        lines = out.suffix == ".jsonl"
        with whole_file(out) as file, Sidecars.beside(out) as sidecars:
            before = b"" if lines else b"[\n"
            for sample in samples:
                try:
                    row = encode_row(self._row(sample))
                except CannotEncodeError as error:
                    counts[error.reason] += 1
                    continue
                file.write(before + row)
                before = b"\n" if lines else b",\n"
                sidecars.add(sample)
                counts["written"] += 1
            if lines:
                file.write(b"\n" if counts["written"] else b"")
            else:
                file.write(b"\n]\n" if counts["written"] else b"[]\n")
        return dict(counts)

    def read(self, path: Path, images: Path) -> Iterator[Sample | Quarantined]:
        """Samples in file order; task and origin come from the sidecar where there is one.

        Without it the task is told from the form. Raises `ConfigError` when the file is not of this
        layout.
        """
        file = json_lines(path) if path.suffix == ".jsonl" else json_array(path)
        repeated, known = file.by_id("id")[1], read_provenance(path)
        reader = _Reader(self.settings, file, repeated, known, ImageCatalog(images))
        for index in range(len(file)):
            yield read_entry(file, index, partial(reader.sample, index))

    def _row(self, sample: Sample) -> dict[str, Any]:
        roles = [turn.role for turn in sample.turns]
        if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
            raise CannotEncodeError("not_pairs", f"roles are {', '.join(roles)}")
        canvas = _canvas(self.settings, sample.image.width, sample.image.height)
        said = [
            {"from": _SPEAKER[turn.role], "value": write_turn(turn, canvas)}
            for turn in sample.turns
        ]
        said[0]["value"] = f"{IMAGE_MARK}\n{said[0]['value']}"
        return {"id": sample.id, "image": sample.image.path, "conversations": said}


def _canvas(settings: LlavaSettings, width: int, height: int) -> Canvas:
    return Canvas(settings.frame, settings.decimals, width, height)


class _Reader(msgspec.Struct, frozen=True):
    """Entries of one file to samples."""

    settings: LlavaSettings
    file: EntryFile
    repeated: frozenset[int]
    known: dict[str, Provenance]
    catalog: ImageCatalog

    def sample(self, index: int) -> Sample:
        """Entry `index`; raises `EntryError` or `ImageError`."""
        if index in self.repeated:
            raise EntryError("duplicate_id", "an earlier entry has the same id")
        row = self.file.read(index, _Row)
        if not row.image:
            raise EntryError("no_image", "a conversation without an image")
        speakers = [said.speaker for said in row.conversations]
        if not speakers or speakers != ["human", "gpt"] * (len(speakers) // 2):
            raise EntryError("bad_turns", f"speakers are {', '.join(speakers)}"[:200])
        image = self.catalog.ref(row.image)
        turns = self._turns(row.conversations, _canvas(self.settings, image.width, image.height))
        known = self.known.get(str(row.id))
        origin = known.origin if known else Origin("llava")
        return Sample.of(known.task if known else shape(turns), image, turns, origin)

    def _turns(self, conversation: Sequence[_Said], canvas: Canvas) -> tuple[Turn, ...]:
        values = [said.value for said in conversation]
        values[0] = _without_mark(values[0])
        try:
            return tuple(
                read_turn(_ROLE[said.speaker], value, canvas)
                for said, value in zip(conversation, values, strict=True)
            )
        except UnreadableError as error:
            raise EntryError(error.reason, error.detail) from error


def _without_mark(value: str) -> str:
    """First human turn without the mark of the picture, which stands at its start or its end."""
    for text in (value.removeprefix(f"{IMAGE_MARK}\n"), value.removesuffix(f"\n{IMAGE_MARK}")):
        if text != value:
            return text
    return value.removeprefix(IMAGE_MARK)
