"""COCO detection JSON: an annotation a box, with the words about it, and the conversations beside.

`bbox` is x, y, width, height in px of the upright image, whose width and height the file states.
The array `samples` is ours: other readers of COCO pass over it, and with it nothing is lost.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import xxhash
from pydantic import Field

from genixer.data import Quarantined, Sample, encode_row
from genixer.errors import CannotEncodeError, ConfigError
from genixer.formats.base import FormatSettings
from genixer.formats.coco_boxes import from_bbox, to_bbox
from genixer.formats.coco_reader import CocoFile
from genixer.formats.json_slices import mapped_arrays
from genixer.formats.sidecars import Sidecars, whole_file
from genixer.formats.tally import Tally, Written
from genixer.tasks.grammar import IMAGE_MARK, literal
from genixer.tasks.regions import Region, regions_of

__all__ = ["CocoFormat", "CocoSettings"]

_INFO = {
    "description": "Boxes about images, made with Genixer",
    "box": "x, y, width, height in px of the upright image (EXIF orientation applied)",
}
_REGION = "region"
"""Category of a box that is not one of a list of objects."""


class CocoSettings(FormatSettings):
    """What to make of boxes at the edge of an image, and of files without our conversations."""

    slack_px: float = Field(1.0, ge=0.0)
    """Reading: how far outside the image a box may reach and be cut off; further is refused."""
    licence: str = ""
    """Reading: licence of annotations in files of others."""


class CocoFormat:
    """One JSON file. Samples without boxes are not for it.

    Annotations carry `caption`: the expression for REC, the description for REG, the name in a list
    of objects, which is their category as well; all else is of the category `region`. Where x, y,
    width and height cannot spell a box exactly, `fractions` do; an edited `bbox` wins over them.

    Not written: `no_boxes`, `points_not_supported`, `bad_score` (a score that is no number),
    `image_mark` (a literal `<image>`).

    Files of others become a list of the objects of each image (task `dense_caption`).
    """

    name: ClassVar[str] = "coco"
    Settings: ClassVar[type[CocoSettings]] = CocoSettings
    endings: ClassVar[tuple[str, ...]] = ("json",)

    def __init__(self, settings: CocoSettings | None = None) -> None:
        """Keep `settings`."""
        self.settings = settings or CocoSettings()
        self._opened: tuple[tuple[Path, int, int], CocoFile] | None = None

    def write(self, samples: Iterable[Sample], out: Path, images: Path) -> Written:
        """Write `samples` in order, and the sidecars; image files are not touched."""
        tally = Tally(self.name, self.settings.strict)
        with whole_file(out) as file, Sidecars.beside(out) as sidecars, _Arrays(out) as arrays:
            for sample in samples:
                try:
                    _check(sample)
                except CannotEncodeError as error:
                    tally.left_out(sample, error)
                    continue
                arrays.add(sample)
                sidecars.add(sample)
                tally.wrote()
            arrays.join(file)
            return tally.settle()

    def read(self, path: Path, images: Path) -> Iterator[Sample | Quarantined]:
        """Samples in file order, or images in file order where there are none.

        Raises `ConfigError` when the file is not of this layout.
        """
        file = self._open(path, images)
        yield from file.rows(0, len(file))

    def count(self, path: Path) -> int:
        """How many rows there are, broken ones included; opens no image."""
        return len(self._open(path))

    def part(
        self, path: Path, images: Path, first: int, count: int
    ) -> Iterator[Sample | Quarantined]:
        """Rows `first` to `first + count`."""
        yield from self._open(path, images).rows(first, first + count)

    def _open(self, path: Path, images: Path | None = None) -> CocoFile:
        """The file at `path`; looked through once for all its parts, as long as it stays."""
        try:
            status = path.stat()
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
        as_it_is = path, status.st_mtime_ns, status.st_size
        if self._opened is None or self._opened[0] != as_it_is:
            arrays = mapped_arrays(path)
            for name in ("images", "annotations"):
                if name not in arrays:
                    raise ConfigError(f"{path}: no array {name!r} in it: is it another file?")
            settings = self.settings
            self._opened = as_it_is, CocoFile(arrays, settings.slack_px, settings.licence)
        if images is not None:
            self._opened[1].look_below(images)
        return self._opened[1]


def _check(sample: Sample) -> None:
    if any(turn.points for turn in sample.turns):
        raise CannotEncodeError("points_not_supported")
    if not any(turn.boxes for turn in sample.turns):
        raise CannotEncodeError("no_boxes", sample.task)
    if any(IMAGE_MARK in literal(turn.text) for turn in sample.turns):
        raise CannotEncodeError("image_mark", sample.id)
    if not all(map(math.isfinite, sample.origin.scores.values())):
        raise CannotEncodeError("bad_score", f"{sample.origin.scores}")


class _Arrays:
    """The arrays of the file while they grow, each in a nameless file of its own.

    In memory: the number of each image (about 100 bytes), categories and licences.
    """

    def __init__(self, out: Path) -> None:
        self._folder = out.parent
        self._numbers: dict[int, int] = {}
        self._categories: dict[str, int] = {}
        self._licences: dict[str, int] = {}
        self._counts = {"images": 0, "annotations": 0, "samples": 0}

    def __enter__(self) -> _Arrays:
        with ExitStack() as stack:
            self._files: dict[str, BinaryIO] = {
                name: stack.enter_context(tempfile.TemporaryFile(dir=self._folder))
                for name in self._counts
            }
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, sample: Sample) -> None:
        """Image, annotations and conversation of one sample."""
        image_id = self._image(sample)
        ids = []
        for region in _regions(sample):
            # Categories are the names of lists; other words would be a category each.
            listed = sample.task == "dense_caption" and region.text
            size = sample.picture.width, sample.picture.height
            bbox = to_bbox(region.box, *size)
            row = {
                "id": self._counts["annotations"] + 1,
                "image_id": image_id,
                "category_id": _number(self._categories, region.text if listed else _REGION),
                "bbox": bbox,
                "area": bbox[2] * bbox[3],
                "iscrowd": 0,
                "caption": region.text,
            }
            if from_bbox(bbox, *size, 0.0) != region.box:
                row["fractions"] = region.box
            self._append("annotations", row)
            ids.append(self._counts["annotations"])
        _number(self._licences, sample.origin.licence or "not stated")
        self._append("samples", _conversation(sample, image_id, ids))

    def _image(self, sample: Sample) -> int:
        image = sample.picture
        key = xxhash.xxh3_128_intdigest(f"{image.path}\0{image.sha256}".encode())
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers) + 1
            row = {
                "id": self._numbers[key],
                "file_name": image.path,
                "width": image.width,
                "height": image.height,
                "sha256": image.sha256,
            }
            self._append("images", row)
        return self._numbers[key]

    def _append(self, name: str, row: dict[str, Any]) -> None:
        self._files[name].write((b",\n" if self._counts[name] else b"") + encode_row(row))
        self._counts[name] += 1

    def join(self, file: BinaryIO) -> None:
        """Write the whole object."""
        licences = [{"id": id, "name": name, "url": ""} for name, id in self._licences.items()]
        categories = [
            {"id": id, "name": name, "supercategory": "object"}
            for name, id in self._categories.items()
        ]
        file.write(b'{"info":' + encode_row(_INFO))
        file.write(b',\n"licenses":' + encode_row(licences))
        file.write(b',\n"categories":' + encode_row(categories))
        for name, part in self._files.items():
            file.write(f',\n"{name}":[\n'.encode())
            part.seek(0)
            shutil.copyfileobj(part, file)
            file.write(b"\n]")
        file.write(b"}\n")


def _regions(sample: Sample) -> list[Region]:
    """Every box in reading order with its words, in plain text; none where no rule gives them."""
    boxes = [box for turn in sample.turns for box in turn.boxes]
    found, named = regions_of(sample), []
    for box in boxes:
        known = bool(found) and found[0].box == box
        named.append(Region(box, literal(found.pop(0).text).strip() if known else ""))
    return named


def _number(known: dict[str, int], name: str) -> int:
    """Number of `name`, counted from 1 in the order in which names come."""
    return known.setdefault(name, len(known) + 1)


def _conversation(sample: Sample, image_id: int, annotations: list[int]) -> dict[str, Any]:
    turns: list[dict[str, Any]] = []
    for turn in sample.turns:
        said: dict[str, Any] = {"role": turn.role, "text": turn.text}
        turns.append({**said, "groups": turn.groups} if turn.groups else said)
    return {
        "id": sample.id,
        "task": sample.task,
        "image_id": image_id,
        "turns": turns,
        "annotations": annotations,
        "origin": sample.origin,
    }
