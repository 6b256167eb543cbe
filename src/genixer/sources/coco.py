"""COCO instances: images, boxes in pixels and category names of one file, looked up by id."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import msgspec

from genixer.data import Box, ImageRef
from genixer.sources.regions import check_size, wide_box
from genixer.store.entries import EntryError, EntryFile, clean, json_array

__all__ = ["Annotation", "CocoImage", "Instances", "pixel_box"]

T = TypeVar("T")


class CocoImage(msgspec.Struct):
    """One image of the file; `width` and `height` in px."""

    id: int
    file_name: str
    width: int
    height: int


class Annotation(msgspec.Struct):
    """One object; `bbox` is x, y, width, height in px. `iscrowd` 1 is a box around many objects."""

    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0


class _Category(msgspec.Struct):
    name: str


class _OfImage(msgspec.Struct):
    image_id: int


class Instances:
    """The file, loaded whole on first use; entries are read when they are asked for."""

    def __init__(self, path: Path) -> None:
        """Keep where it lies; open nothing yet."""
        self.path = path

    @cached_property
    def images(self) -> EntryFile:
        """The array `images`."""
        return json_array(self.path, "images")

    @cached_property
    def _annotations(self) -> EntryFile:
        return json_array(self.path, "annotations")

    @cached_property
    def _categories(self) -> EntryFile:
        return json_array(self.path, "categories")

    @cached_property
    def _image_at(self) -> dict[int | str, int]:
        return self.images.by_id("id")[0]

    @cached_property
    def _annotation_at(self) -> dict[int | str, int]:
        return self._annotations.by_id("id")[0]

    @cached_property
    def _category_at(self) -> dict[int | str, int]:
        return self._categories.by_id("id")[0]

    @cached_property
    def _of_image(self) -> dict[int, list[int]]:
        """Entries of the annotations of each image; those that name no image are left out."""
        found: dict[int, list[int]] = defaultdict(list)
        for index in range(len(self._annotations)):
            try:
                found[self._annotations.read(index, _OfImage).image_id].append(index)
            except EntryError:
                continue
        return found

    def image(self, id: int) -> CocoImage:
        """Image `id`; raises `EntryError` (`unknown_image`) when it is missing or broken."""
        return _find(self.images, self._image_at, id, CocoImage, "unknown_image")

    def annotation(self, id: int) -> Annotation:
        """Annotation `id`; raises `EntryError` (`unknown_annotation`)."""
        return _find(self._annotations, self._annotation_at, id, Annotation, "unknown_annotation")

    def annotations_of(self, image_id: int) -> list[Annotation]:
        """Annotations of an image in file order; a broken one raises `EntryError`."""
        return [
            _read(self._annotations, index, Annotation, "bad_annotation")
            for index in self._of_image.get(image_id, ())
        ]

    def category(self, id: int) -> str:
        """Name of category `id`; raises `EntryError` (`unknown_category`)."""
        found = _find(self._categories, self._category_at, id, _Category, "unknown_category")
        return clean(found.name)


def _find(file: EntryFile, at: dict[int | str, int], id: int, kind: type[T], reason: str) -> T:
    if id not in at:
        raise EntryError(reason, f"{file.path.name} has no entry with id {id}")
    return _read(file, at[id], kind, reason)


def _read(file: EntryFile, index: int, kind: type[T], reason: str) -> T:
    try:
        return file.read(index, kind)
    except EntryError as error:
        raise EntryError(reason, f"{file.places[index]}: {error}") from error


def pixel_box(
    bbox: tuple[float, float, float, float], image: CocoImage, ref: ImageRef, slack_px: float
) -> Box:
    """Box of an annotation; corners at most `slack_px` outside the image are moved to its edge.

    Raises `EntryError`: `image_size_differs` when the file is not the image that was annotated,
    `empty_box`, `box_outside_image`.

    >>> pixel_box((10, 20, 30, 40), CocoImage(1, "a", 100, 200), ImageRef("a", 100, 200, ""), 0)
    Box(x0=0.1, y0=0.1, x1=0.4, y1=0.3)
    """
    check_size(ref, image.width, image.height)
    return wide_box(bbox, ref, slack_px)
