"""Visual Genome: described regions and named objects."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import msgspec
from pydantic import Field

from genixer.data import Box, ImageRef, Sample
from genixer.errors import ConfigError
from genixer.sources.genome import Genome, GenomeSettings
from genixer.sources.regions import caption_turns, region_turns, wide_box
from genixer.store.entries import EntryError, clean, decode_entry

__all__ = ["VgObjects", "VgObjectsSettings", "VgRegions", "VgRegionsSettings"]


class VgRegionsSettings(GenomeSettings):
    """Where the regions lie."""

    regions: Path
    """`region_descriptions.json`: an array of id, regions (region_id, x, y, width, height,
    phrase)."""
    tasks: tuple[Literal["rec", "reg"], ...] = Field(("rec", "reg"), min_length=1)
    """What to make of each region: `rec` (words to a box), `reg` (a box to words)."""


class VgObjectsSettings(GenomeSettings):
    """Where the objects lie."""

    objects: Path
    """`objects.json`: an array of image_id, objects (object_id, names, x, y, w, h)."""
    tasks: tuple[Literal["dense_caption", "rec", "reg"], ...] = Field(
        ("dense_caption",), min_length=1
    )
    """`dense_caption` lists all objects of an image; `rec` and `reg` take those whose name no
    other object of the image has."""


class _Region(msgspec.Struct):
    region_id: int
    x: float
    y: float
    width: float
    height: float
    phrase: str
    image_id: int | None = None


class _Object(msgspec.Struct):
    names: list[str]
    x: float
    y: float
    w: float
    h: float
    object_id: int


class _Regions(msgspec.Struct):
    regions: list[msgspec.Raw]
    id: int | None = None
    image_id: int | None = None


class _Objects(msgspec.Struct):
    image_id: int
    objects: list[msgspec.Raw]


class VgRegions(Genome):
    """Described regions: a REC and a REG sample of each, as the settings say."""

    name: ClassVar[str] = "vg_regions"
    licence: ClassVar[str] = "CC BY 4.0"
    tasks: ClassVar[tuple[str, ...]] = ("rec", "reg")
    Settings: ClassVar[type[VgRegionsSettings]] = VgRegionsSettings
    settings: VgRegionsSettings

    @property
    def _annotations(self) -> Path:
        return self.settings.regions

    @cached_property
    def _repeated(self) -> frozenset[int]:
        try:
            return self._file.repeated("id")  # so in the file
        except ConfigError:
            return self._file.repeated("image_id")  # so in its documentation

    def _rows(self, index: int) -> int:
        image_id, regions = self._entry(index)
        return len(regions) * len(self.settings.tasks) if self._chosen(image_id) else 0

    def _sample(self, index: int, row: int) -> Sample:
        image_id, regions = self._entry(index)
        at, choice = divmod(row, len(self.settings.tasks))
        region = decode_entry(regions[at], _Region)
        if region.image_id not in (None, image_id):
            raise EntryError("image_id_differs", f"region of image {region.image_id}")
        words = clean(region.phrase)
        picture = self._picture(image_id)
        xywh = (region.x, region.y, region.width, region.height)
        box = wide_box(xywh, picture, self.settings.slack_px)
        task, key = self.settings.tasks[choice], f"{image_id}/{region.region_id}"
        turns = region_turns(self.name, task, words, box, key)
        return Sample.of(task, picture, turns, self._origin("region"))

    def _part(self, index: int, row: int) -> tuple[str, bytes]:
        where, raw = super()._part(index, row)
        if index in self._repeated:
            return where, raw
        try:
            regions = self._entry(index)[1]
        except EntryError:
            return where, raw
        at = row // len(self.settings.tasks)
        return f"{where}.regions[{at}]", bytes(regions[at])

    def _entry(self, index: int) -> tuple[int, list[msgspec.Raw]]:
        """Id of an image and its regions; the last one asked for is kept."""
        if self._last is None or self._last[0] != index:
            entry = self._file.read(index, _Regions)
            image_id = entry.image_id if entry.id is None else entry.id
            if image_id is None:
                raise EntryError("bad_entry", "neither `id` nor `image_id` is there")
            self._last = index, image_id, entry.regions
        return self._last[1:]

    _last: tuple[int, int, list[msgspec.Raw]] | None = None


class VgObjects(Genome):
    """Named objects of an image: all of them as a dense caption, the unmistakable ones as REC, REG.

    An image without any object is `no_objects`.
    """

    name: ClassVar[str] = "vg_objects"
    licence: ClassVar[str] = "CC BY 4.0"
    tasks: ClassVar[tuple[str, ...]] = ("dense_caption", "rec", "reg")
    Settings: ClassVar[type[VgObjectsSettings]] = VgObjectsSettings
    key: ClassVar[str] = "image_id"
    settings: VgObjectsSettings

    @property
    def _annotations(self) -> Path:
        return self.settings.objects

    def _rows(self, index: int) -> int:
        entry = self._file.read(index, _Objects)
        return len(self._asked(entry)) if self._chosen(entry.image_id) else 0

    def _asked(self, entry: _Objects) -> list[tuple[str, int]]:
        """(task, object) of each row, where object -1 is all of them, or their lack."""
        names = [_name(raw) for raw in entry.objects]
        often = Counter(names)
        # An object without a readable name is asked for, too: that is how it comes to be counted.
        alone = [at for at, name in enumerate(names) if not name or often[name] == 1]
        all_of_them = not names or "dense_caption" in self.settings.tasks
        rows = [("dense_caption", -1)] if all_of_them else []
        tasks = [task for task in self.settings.tasks if task != "dense_caption"]
        return rows + [(task, at) for at in alone for task in tasks]

    def _sample(self, index: int, row: int) -> Sample:
        entry = self._file.read(index, _Objects)
        if not entry.objects:
            raise EntryError("no_objects", f"image {entry.image_id}")
        task, at = self._asked(entry)[row]
        raws = entry.objects if at < 0 else [entry.objects[at]]
        objects = [decode_entry(raw, _Object) for raw in raws]
        picture = self._picture(entry.image_id)
        named = [(clean(_first(one.names)), self._box(one, picture)) for one in objects]
        if at < 0:
            turns = caption_turns(self.name, named, str(entry.image_id))
        else:
            key = f"{entry.image_id}/{objects[0].object_id}"
            turns = region_turns(self.name, task, *named[0], key)
        return Sample.of(task, picture, turns, self._origin("list" if at < 0 else "object"))

    def _part(self, index: int, row: int) -> tuple[str, bytes]:
        where, raw = super()._part(index, row)
        if index in self._repeated:
            return where, raw
        try:
            entry = self._file.read(index, _Objects)
        except EntryError:
            return where, raw
        at = self._asked(entry)[row][1]
        return (where, raw) if at < 0 else (f"{where}.objects[{at}]", bytes(entry.objects[at]))

    def _box(self, one: _Object, picture: ImageRef) -> Box:
        return wide_box((one.x, one.y, one.w, one.h), picture, self.settings.slack_px)


class _Names(msgspec.Struct):
    names: list[str]


def _name(raw: msgspec.Raw) -> str:
    """First name of an object, or an empty string where there is none to read."""
    try:
        return _first(decode_entry(raw, _Names).names).strip()
    except EntryError:
        return ""


def _first(names: list[str]) -> str:
    return names[0] if names else ""
