"""COCO detection files to samples: ours by their conversations, those of others image by image."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any

import msgspec

from genixer.data import Box, ImageRef, Origin, Quarantined, Role, Sample, Turn, random_for
from genixer.errors import DataError
from genixer.formats.coco_boxes import BBox, from_bbox, to_bbox
from genixer.formats.json_slices import Elements
from genixer.formats.packed import one_row, place
from genixer.marks import count_marks
from genixer.store.entries import EntryError, clean
from genixer.store.images import ImageCatalog
from genixer.store.shards import raw_text
from genixer.tasks import TASKS
from genixer.tasks.instructions import lines

__all__ = ["CocoFile"]

_Id = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class _Image(msgspec.Struct):
    id: _Id
    file_name: str
    width: int
    height: int
    sha256: str = ""


class _Annotation(msgspec.Struct):
    id: _Id
    image_id: _Id
    bbox: BBox
    category_id: _Id = 0
    iscrowd: int = 0
    fractions: BBox | None = None


class _Category(msgspec.Struct):
    name: str


class _Said(msgspec.Struct):
    role: Role
    text: str
    groups: tuple[int, ...] = ()


class _Conversation(msgspec.Struct):
    task: str
    image_id: _Id
    turns: list[_Said]
    annotations: list[_Id]
    origin: Origin


class _OfImage(msgspec.Struct):
    image_id: _Id


class _ById:
    """Elements of an array by a whole number in them; 16 bytes each."""

    def __init__(self, elements: Elements, key: str) -> None:
        import numpy as np

        kind = msgspec.defstruct("WithId", [("id", _Id)], rename={"id": key})
        ids, places, self.broken = array("q"), array("q"), list[tuple[int, EntryError]]()
        for index in range(len(elements)):
            try:
                entry: Any = elements.read(index, kind)
            except EntryError as error:
                self.broken.append((index, error))
                continue
            ids.append(entry.id)
            places.append(index)
        order = np.argsort(np.array(ids, dtype=np.int64), kind="stable")
        self._ids = np.array(ids, dtype=np.int64)[order]
        self._places = np.array(places, dtype=np.int64)[order]

    def all(self, id: int) -> list[int]:
        """Positions of the elements with this number, in file order."""
        first, last = (self._ids.searchsorted(id, side) for side in ("left", "right"))
        return [int(at) for at in self._places[first:last]]


class CocoFile:
    """One file, its arrays mapped; boxes are read through the size of the real image."""

    def __init__(
        self, arrays: Mapping[str, Elements], images: Path, slack_px: float, licence: str
    ) -> None:
        """`arrays` has `images` and `annotations`; nothing is read yet."""
        self._arrays, self._slack_px, self._licence = arrays, slack_px, licence
        self._catalog = ImageCatalog(images)
        self._image_at = _ById(arrays["images"], "id")

    def samples(self) -> Iterator[Sample | Quarantined]:
        """Conversations in order, then the annotations that no conversation has (`no_sample`)."""
        found, boxes = self._arrays["samples"], self._arrays["annotations"]
        at = _ById(boxes, "id")
        used = bytearray(len(boxes))
        for index in range(len(found)):
            make = partial(self._conversation, index, at, used)
            yield one_row(found.place(index), found.raw(index), make)
        for index in range(len(boxes)):
            if not used[index]:
                yield _left(boxes, index, "no_sample", "no conversation has this annotation")

    def objects(self) -> Iterator[Sample | Quarantined]:
        """The objects of each image, then the annotations that belong to none."""
        images, boxes = self._arrays["images"], self._arrays["annotations"]
        at = _ById(boxes, "image_id")
        for index in range(len(images)):
            make = partial(self._objects, index, at)
            yield one_row(images.place(index), images.raw(index), make)
        for index, error in at.broken:
            yield _left(boxes, index, error.reason, error.detail)
        for index in range(len(boxes)):
            yield from self._orphan(index)

    def _orphan(self, index: int) -> Iterator[Quarantined]:
        boxes = self._arrays["annotations"]
        try:
            image_id = boxes.read(index, _OfImage).image_id
        except EntryError:
            return  # told of already
        if not self._image_at.all(image_id):
            yield _left(boxes, index, "unknown_image", f"no image has the id {image_id}")

    def _conversation(self, index: int, at: _ById, used: bytearray) -> Sample:
        entry = self._arrays["samples"].read(index, _Conversation)
        places = self._places(entry.annotations, at, used)
        if entry.task not in TASKS:
            raise EntryError("unknown_task", entry.task)
        image, ref = self._image(entry.image_id)
        boxes = []
        for place_of in places:
            annotation = self._arrays["annotations"].read(place_of, _Annotation)
            if annotation.image_id != image.id:
                raise EntryError("image_id_differs", f"annotation {annotation.id} is elsewhere")
            boxes.append(_box(annotation, ref, self._slack_px))
        return Sample.of(entry.task, ref, _turns(entry.turns, boxes), entry.origin)

    def _places(self, ids: list[int], at: _ById, used: bytearray) -> list[int]:
        """Where the annotations of a conversation are; all of them count as used from now on."""
        found = [at.all(id) for id in ids]
        for places in found:
            for one in places:
                used[one] = 1
        for id, places in zip(ids, found, strict=True):
            if len(places) != 1:
                reason = "duplicate_id" if places else "unknown_annotation"
                raise EntryError(reason, f"{len(places)} annotations have the id {id}")
        return [places[0] for places in found]

    def _objects(self, index: int, at: _ById) -> Sample:
        image, ref = self._image(self._arrays["images"].read(index, _Image).id)
        named = []
        for place_of in at.all(image.id):
            annotation = self._arrays["annotations"].read(place_of, _Annotation)
            if annotation.iscrowd:
                continue
            box = _box(annotation, ref, self._slack_px)
            if not box.area:
                raise EntryError("empty_box", f"annotation {annotation.id}: {annotation.bbox}")
            named.append((self._category(annotation.category_id), box))
        if not named:
            raise EntryError("no_objects", f"no annotation of image {image.id}")
        named.sort(key=lambda pair: (pair[1].y0 + pair[1].y1, pair[1].x0 + pair[1].x1))
        form = random_for(0, "coco", str(image.id)).choice(lines("dense_questions"))
        text = ", ".join(f"{name} <box>" for name, _ in named)
        turns = Turn("user", form), Turn("assistant", text, tuple(box for _, box in named))
        return Sample.of("dense_caption", ref, turns, Origin("coco", self._licence))

    def _image(self, id: int) -> tuple[_Image, ImageRef]:
        places = self._image_at.all(id)
        if len(places) != 1:
            reason = "duplicate_id" if places else "unknown_image"
            raise EntryError(reason, f"{len(places)} images have the id {id}")
        image = self._arrays["images"].read(places[0], _Image)
        ref = self._catalog.ref(image.file_name)
        if image.sha256 and image.sha256 != ref.sha256:
            raise EntryError("image_differs", f"{ref.path}: not the file that was annotated")
        if (image.width, image.height) != (ref.width, ref.height):
            raise EntryError(
                "image_size_differs",
                f"{ref.path} is {ref.width}x{ref.height} px upright, "
                f"annotated as {image.width}x{image.height}",
            )
        return image, ref

    def _category(self, id: int) -> str:
        places = self._category_at.all(id)
        if not places:
            raise EntryError("unknown_category", f"no category has the id {id}")
        return clean(self._arrays["categories"].read(places[0], _Category).name)

    @cached_property
    def _category_at(self) -> _ById:
        if "categories" not in self._arrays:
            raise EntryError("unknown_category", "the file has no array of categories")
        return _ById(self._arrays["categories"], "id")


def _left(elements: Elements, index: int, reason: str, detail: str) -> Quarantined:
    raw = raw_text(elements.raw(index))
    return Quarantined(elements.place(index), reason, place(detail), raw)


def _box(annotation: _Annotation, ref: ImageRef, slack_px: float) -> Box:
    """Box of an annotation: the exact one where `bbox` still says the same."""
    size = ref.width, ref.height
    if annotation.fractions is not None:
        try:
            exact = Box(*annotation.fractions)
        except DataError as error:
            raise EntryError("bad_box", str(error)) from error
        if to_bbox(exact, *size) == annotation.bbox:
            return exact
    return from_bbox(annotation.bbox, *size, slack_px)


def _turns(said: list[_Said], boxes: list[Box]) -> tuple[Turn, ...]:
    """Turns whose marks take `boxes` in reading order; raises `EntryError` (`boxes_differ`)."""
    turns = []
    try:
        for one in said:
            count = count_marks(one.text)[0]
            turns.append(Turn(one.role, one.text, tuple(boxes[:count]), (), one.groups))
            boxes = boxes[count:]
    except DataError as error:
        raise EntryError("boxes_differ", str(error)) from error
    if boxes or not turns:
        raise EntryError("boxes_differ", f"{len(boxes)} more annotations than marks")
    return tuple(turns)
