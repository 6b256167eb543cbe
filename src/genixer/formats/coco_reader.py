"""COCO detection files to samples: ours by their conversations, those of others image by image."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property, partial
from itertools import chain
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
    """One file, its arrays mapped; boxes are read through the size of the real image.

    In memory: 32 bytes an image or annotation, and what `ImageCatalog` remembers.
    """

    def __init__(self, arrays: Mapping[str, Elements], slack_px: float, licence: str) -> None:
        """`arrays` has `images` and `annotations`; nothing is read yet."""
        self._arrays, self._slack_px, self._licence = arrays, slack_px, licence
        self._catalog = ImageCatalog(Path())
        self._image_at = _ById(arrays["images"], "id")

    def look_below(self, images: Path) -> None:
        """Take `images` for the image root from now on."""
        if self._catalog.root != images:
            self._catalog = ImageCatalog(images)

    def __len__(self) -> int:
        """How many rows there are, broken ones included; opens no image."""
        return len(self._whole) + len(self._left)

    def rows(self, first: int, last: int) -> Iterator[Sample | Quarantined]:
        """Rows `first` to `last` (not included).

        Conversations in order, then the annotations that no conversation has (`no_sample`). In
        files of others: the objects of each image, then the annotations that belong to none.
        """
        whole, boxes = self._whole, self._arrays["annotations"]
        make = self._conversation if self._ours else self._objects
        for index in range(first, min(last, len(whole))):
            yield one_row(whole.place(index), whole.raw(index), partial(make, index))
        for at in range(max(0, first - len(whole)), last - len(whole)):
            if at >= len(self._left):
                return
            index = self._left[at]
            problem = self._problem(index)
            yield _left(boxes, index, problem.reason, problem.detail)

    @property
    def _ours(self) -> bool:
        return "samples" in self._arrays

    @property
    def _whole(self) -> Elements:
        """Elements that become samples."""
        return self._arrays["samples" if self._ours else "images"]

    @cached_property
    def _at(self) -> _ById:
        """Annotations by what asks for them: conversations by their id, images by theirs."""
        return _ById(self._arrays["annotations"], "id" if self._ours else "image_id")

    @cached_property
    def _left(self) -> array[int]:
        """Positions of the annotations that become no part of a sample, in the order told of."""
        boxes = self._arrays["annotations"]
        if self._ours:
            used = self._used()
            return array("Q", (at for at in range(len(boxes)) if not used[at]))
        broken = [index for index, _ in self._at.broken]
        return array("Q", chain(broken, (at for at in range(len(boxes)) if self._is_orphan(at))))

    def _used(self) -> bytearray:
        """Which annotations some conversation has, be it broken otherwise."""
        used = bytearray(len(self._arrays["annotations"]))
        for index in range(len(self._whole)):
            with suppress(EntryError):  # told of with its conversation
                for id in self._whole.read(index, _Conversation).annotations:
                    for place_of in self._at.all(id):
                        used[place_of] = 1
        return used

    def _is_orphan(self, index: int) -> bool:
        try:
            image_id = self._arrays["annotations"].read(index, _OfImage).image_id
        except EntryError:
            return False  # broken
        return not self._image_at.all(image_id)

    def _problem(self, index: int) -> EntryError:
        """Why an annotation is part of no sample."""
        if self._ours:
            return EntryError("no_sample", "no conversation has this annotation")
        try:
            image_id = self._arrays["annotations"].read(index, _OfImage).image_id
        except EntryError as error:
            return error
        return EntryError("unknown_image", f"no image has the id {image_id}")

    def _conversation(self, index: int) -> Sample:
        entry = self._arrays["samples"].read(index, _Conversation)
        places = self._places(entry.annotations)
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

    def _places(self, ids: list[int]) -> list[int]:
        """Where the annotations of a conversation are."""
        found = [self._at.all(id) for id in ids]
        for id, places in zip(ids, found, strict=True):
            if len(places) != 1:
                reason = "duplicate_id" if places else "unknown_annotation"
                raise EntryError(reason, f"{len(places)} annotations have the id {id}")
        return [places[0] for places in found]

    def _objects(self, index: int) -> Sample:
        image, ref = self._image(self._arrays["images"].read(index, _Image).id)
        named = []
        for place_of in self._at.all(image.id):
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
