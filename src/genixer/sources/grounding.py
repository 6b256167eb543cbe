"""Regions: referring expressions (RefCOCO) and every object of an image (COCO instances)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import msgspec
from pydantic import Field

from genixer.data import Origin, Quarantined, Sample
from genixer.sources.base import EntrySource, SourceSettings
from genixer.sources.coco import CocoImage, Instances, pixel_box
from genixer.sources.refer import refer_file
from genixer.sources.regions import caption_turns, region_turns
from genixer.store.entries import (
    AnyEntries,
    EntryError,
    EntryFile,
    clean,
    join_path,
    read_entry,
)
from genixer.store.images import ImageCatalog

__all__ = ["CocoInstances", "CocoInstancesSettings", "RefCoco", "RefCocoSettings"]


class _RegionSettings(SourceSettings):
    instances: Path
    """COCO instances file: images, annotations (bbox x, y, width, height in px), categories."""
    image_prefix: str = ""
    """Folder of the images under the image root."""
    slack_px: float = Field(1.0, ge=0.0)
    """How far outside the image a box may reach and be cut off; further out it is refused."""


class RefCocoSettings(_RegionSettings):
    """Where RefCOCO, RefCOCO+ or RefCOCOg lies, as `refer` publishes it or as JSON."""

    refs: Path
    """`refs(unc).p`, or the same as a JSON array: ref_id, ann_id, image_id, split, sentences."""
    split: str = ""
    """Only references of this split; empty takes all."""
    tasks: tuple[Literal["rec", "reg"], ...] = Field(("rec", "reg"), min_length=1)
    """What to make of each expression: `rec` (words to a box), `reg` (a box to words)."""


class _Sentence(msgspec.Struct):
    sent: str


class _Ref(msgspec.Struct):
    ref_id: int | str
    ann_id: int
    image_id: int
    sentences: list[_Sentence]
    split: str = ""


class _Planned(NamedTuple):
    """One reference: its entry, and how many rows it gives (1 when it is broken or repeated)."""

    entry: int
    rows: int
    problem: str


class RefCoco:
    """Expressions with the box they mean: a REC and a REG sample of each, as the settings say."""

    name: ClassVar[str] = "refcoco"
    licence: ClassVar[str] = "Apache-2.0 (expressions), CC BY 4.0 (COCO boxes)"
    tasks: ClassVar[tuple[str, ...]] = ("rec", "reg")
    Settings: ClassVar[type[RefCocoSettings]] = RefCocoSettings

    def __init__(self, settings: RefCocoSettings) -> None:
        """Keep `settings`; open nothing yet."""
        self.settings = settings
        self.catalog = ImageCatalog(settings.images)
        self._instances = Instances(settings.instances)

    def files(self) -> list[Path]:
        """References, instances."""
        return [self.settings.refs, self.settings.instances]

    def count(self) -> int:
        """Expressions times tasks; a reference that cannot be read counts once."""
        return self._ends[-1] if self._ends else 0

    def read(self, first: int = 0, count: int | None = None) -> Iterator[Sample | Quarantined]:
        """Rows `first` to `first + count`: by reference, then expression, then task."""
        last = self.count() if count is None else min(first + count, self.count())
        for number in range(first, last):
            at = bisect_right(self._ends, number)
            ref = self._plan[at]
            row = number - self._ends[at] + ref.rows
            yield read_entry(self._file, ref.entry, partial(self._sample, ref, row))

    @cached_property
    def _file(self) -> AnyEntries:
        return refer_file(self.settings.refs)

    @cached_property
    def _plan(self) -> list[_Planned]:
        repeated = self._file.repeated("ref_id")
        plan = []
        for index in range(len(self._file)):
            try:
                ref = self._file.read(index, _Ref)
            except EntryError:
                plan.append(_Planned(index, 1, ""))  # read again, and refused, when its turn comes
                continue
            if self.settings.split and ref.split != self.settings.split:
                continue
            problem = "duplicate_id" if index in repeated else "" if ref.sentences else "empty_text"
            rows = 1 if problem else len(ref.sentences) * len(self.settings.tasks)
            plan.append(_Planned(index, rows, problem))
        return plan

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(planned.rows for planned in self._plan))

    def _sample(self, planned: _Planned, row: int) -> Sample:
        if planned.problem:
            raise EntryError(planned.problem)
        ref = self._file.read(planned.entry, _Ref)
        at, choice = divmod(row, len(self.settings.tasks))
        task, words = self.settings.tasks[choice], clean(ref.sentences[at].sent)
        found = self._instances.annotation(ref.ann_id)
        if found.image_id != ref.image_id:
            raise EntryError("image_id_differs", f"annotation {found.id}: image {found.image_id}")
        image = self._instances.image(ref.image_id)
        picture = self.catalog.ref(join_path(self.settings.image_prefix, image.file_name))
        box = pixel_box(found.bbox, image, picture, self.settings.slack_px)
        kind = self._instances.category(found.category_id)
        origin = Origin(self.name, self.settings.licence or self.licence, question_type=kind)
        turns = region_turns(self.name, task, words, box, f"{ref.ref_id}/{at}")
        return Sample.of(task, picture, turns, origin)


class CocoInstancesSettings(_RegionSettings):
    """Where COCO instances lie."""


class CocoInstances(EntrySource):
    """All objects of each image with their boxes, top to bottom, left to right: dense captions.

    Boxes around crowds are left out; an image without any object is `no_objects`.
    """

    name: ClassVar[str] = "coco_instances"
    licence: ClassVar[str] = "CC BY 4.0"
    tasks: ClassVar[tuple[str, ...]] = ("dense_caption",)
    Settings: ClassVar[type[CocoInstancesSettings]] = CocoInstancesSettings
    key: ClassVar[str] = "id"
    settings: CocoInstancesSettings

    def __init__(self, settings: CocoInstancesSettings) -> None:
        """Keep `settings`; open nothing yet."""
        super().__init__(settings)
        self._instances = Instances(settings.instances)

    def files(self) -> list[Path]:
        """The instances."""
        return [self.settings.instances]

    def _open(self) -> EntryFile:
        return self._instances.images

    def _sample(self, index: int) -> Sample:
        image = self._instances.images.read(index, CocoImage)
        objects = [one for one in self._instances.annotations_of(image.id) if not one.iscrowd]
        if not objects:
            raise EntryError("no_objects", f"no annotation of image {image.id}")
        picture = self.catalog.ref(join_path(self.settings.image_prefix, image.file_name))
        slack = self.settings.slack_px
        named = [
            (self._instances.category(one.category_id), pixel_box(one.bbox, image, picture, slack))
            for one in objects
        ]
        turns = caption_turns(self.name, named, str(image.id))
        return Sample.of("dense_caption", picture, turns, self._origin("list"))
