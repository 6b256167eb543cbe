"""One sample as containers hold it: its conversation as text to train on, and what text loses.

`messages` carry the words, coordinates written out in the row's own `frame` and `decimals`. Text
rounds to that grid, so `boxes` and `points` keep the exact fractions beside it, in reading order.
On reading the two must agree: a row whose text was edited and whose boxes were not is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeVar

import msgspec
from pydantic import Field

from genixer.data import Box, ImageRef, Origin, Point, Quarantined, Sample, Turn
from genixer.errors import CannotEncodeError, DataError, FrameError
from genixer.formats.base import FormatSettings
from genixer.formats.pictures import Picture, PictureFolder
from genixer.formats.tally import Tally
from genixer.frames import Frame
from genixer.store.entries import EntryError
from genixer.store.images import ImageError
from genixer.store.shards import raw_text
from genixer.tasks import TASKS
from genixer.tasks.base import Canvas
from genixer.tasks.grammar import UnreadableError, read_turn, write_turn
from genixer.tasks.shape import are_pairs, shape

__all__ = [
    "PackedRow",
    "PackedSettings",
    "Parcel",
    "Said",
    "one_row",
    "pack",
    "parcels",
    "place",
    "unpack",
]

T = TypeVar("T")
_Pixels = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
_NO_PICTURE = Picture(b"", "")


class PackedSettings(FormatSettings):
    """How coordinates stand in the text; a row read back says for itself where it can."""

    frame: Frame = "unit"
    """Frame of the coordinates in the text; on reading, of rows that name none."""
    decimals: int = Field(3, ge=0, le=6)
    """Decimals of a coordinate in the text."""
    licence: str = ""
    """Reading: licence of rows that name no origin."""


class Said(msgspec.Struct):
    """One turn as text."""

    role: Literal["user", "assistant"]
    content: str


class PackedRow(msgspec.Struct, omit_defaults=True):
    """A row of a container; all but `messages` may be missing in files of others."""

    messages: list[Said]
    id: int | str = ""
    task: str = ""
    image: str = ""
    """Path relative to the image root."""
    width: _Pixels = 0
    height: _Pixels = 0
    sha256: str = ""
    boxes: list[tuple[float, float, float, float]] = []
    points: list[tuple[float, float]] = []
    frame: Frame | None = None
    decimals: int | None = None
    origin: Origin | None = None

    @property
    def stated(self) -> ImageRef | None:
        """The image as the row describes it, where it does so in full."""
        if not (self.image and self.sha256 and self.width > 0 and self.height > 0):
            return None
        try:
            return ImageRef(self.image, self.width, self.height, self.sha256)
        except DataError as error:
            raise EntryError("path_escapes", self.image) from error


class Parcel(NamedTuple):
    """A sample to write: its row and its image file, empty where files are not copied."""

    sample: Sample
    row: PackedRow
    picture: Picture


def parcels(
    samples: Iterable[Sample], settings: PackedSettings, images: Path | None, tally: Tally
) -> Iterator[Parcel]:
    """What can be written of `samples`, with the image files below `images` if there are to be any.

    `tally` is told of both what can be written and what cannot.
    """
    folder = PictureFolder(images) if images is not None else None
    for sample in samples:
        try:
            row = pack(sample, settings)
            picture = folder.picture(sample.picture) if folder else _NO_PICTURE
        except CannotEncodeError as error:
            tally.left_out(sample, error)
            continue
        tally.wrote()
        yield Parcel(sample, row, picture)


def pack(sample: Sample, settings: PackedSettings) -> PackedRow:
    """Row of one sample.

    Raises `CannotEncodeError`: `not_pairs` (turns that do not alternate, user first), `bad_score`
    (a score that is no number), `no_image`, and what `write_turn` refuses.
    """
    if not are_pairs(sample.turns):
        roles = ", ".join(turn.role for turn in sample.turns)
        raise CannotEncodeError("not_pairs", f"roles are {roles}")
    if not all(map(math.isfinite, sample.origin.scores.values())):
        raise CannotEncodeError("bad_score", f"{sample.origin.scores}")
    image = sample.picture
    canvas = Canvas(settings.frame, settings.decimals, image.width, image.height)
    return PackedRow(
        messages=[Said(turn.role, write_turn(turn, canvas)) for turn in sample.turns],
        id=sample.id,
        task=sample.task,
        image=image.path,
        width=image.width,
        height=image.height,
        sha256=image.sha256,
        boxes=[(b.x0, b.y0, b.x1, b.y1) for turn in sample.turns for b in turn.boxes],
        points=[(p.x, p.y) for turn in sample.turns for p in turn.points],
        frame=settings.frame,
        decimals=settings.decimals,
        origin=sample.origin,
    )


def unpack(row: PackedRow, image: ImageRef, settings: PackedSettings, source: str) -> Sample:
    """Sample of a row about `image`; `source` is its origin where the row names none.

    Raises `EntryError`: `bad_turns`, `unknown_task`, `bad_box`, `boxes_differ` and what `read_turn`
    refuses.
    """
    roles = [said.role for said in row.messages]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        raise EntryError("bad_turns", f"roles are {', '.join(roles)}"[:200])
    if row.task and row.task not in TASKS:
        raise EntryError("unknown_task", row.task)
    if row.decimals is not None and not 0 <= row.decimals <= 6:
        raise EntryError("bad_entry", f"decimals {row.decimals} are not 0 to 6")
    decimals = settings.decimals if row.decimals is None else row.decimals
    canvas = Canvas(row.frame or settings.frame, decimals, image.width, image.height)
    try:
        turns = [read_turn(said.role, said.content, canvas) for said in row.messages]
    except UnreadableError as error:
        raise EntryError(error.reason, error.detail) from error
    if row.boxes or row.points:
        turns = _exact(turns, row, canvas)
    origin = row.origin or Origin(source, settings.licence)
    return Sample.of(row.task or shape(turns), image, tuple(turns), origin)


def _exact(turns: Sequence[Turn], row: PackedRow, canvas: Canvas) -> list[Turn]:
    """`turns` with the exact coordinates of the row instead of the rounded ones of the text."""
    try:
        boxes = [Box(*corners) for corners in row.boxes]
        points = [Point(*xy) for xy in row.points]
    except FrameError as error:
        raise EntryError("bad_box", str(error)) from error
    exact = []
    for turn, said in zip(turns, row.messages, strict=True):
        mine, boxes = boxes[: len(turn.boxes)], boxes[len(turn.boxes) :]
        mine_too, points = points[: len(turn.points)], points[len(turn.points) :]
        try:
            one = msgspec.structs.replace(turn, boxes=tuple(mine), points=tuple(mine_too))
            written = write_turn(one, canvas)
        except DataError as error:
            raise EntryError("boxes_differ", str(error)) from error
        if written != said.content:
            raise EntryError("boxes_differ", f"{written!r} in the boxes, {said.content!r} in words")
        exact.append(one)
    if boxes or points:
        raise EntryError("boxes_differ", f"{len(boxes) + len(points)} more than the text has")
    return exact


def one_row(where: str, raw: bytes, make: Callable[[], Sample]) -> Sample | Quarantined:
    """What `make` gives, or the row at `where`, bytes `raw`, with the reason why not."""
    try:
        return make()
    except EntryError as error:
        reason, detail = error.reason, error.detail
    except ImageError as error:
        # Its detail may name folders of this machine, which rows must not.
        reason, detail = error.reason, error.path
    return Quarantined(where, reason, place(detail), raw_text(raw))


def place(text: str) -> str:
    r"""A name from a stranger's file as rows can hold it: valid UTF-8, at most 200 characters.

    >>> place("a\udcff")
    'a\\udcff'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")[:200]
