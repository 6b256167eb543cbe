"""What the files of Visual Genome share: images by id in two folders, their sizes, splits."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from pathlib import Path

import msgspec
from pydantic import Field, field_validator

from genixer.data import ImageRef
from genixer.sources.base import SourceSettings
from genixer.sources.patterns import check_pattern, image_path
from genixer.sources.planned import PlannedSource, read_ids
from genixer.sources.regions import check_size
from genixer.store.entries import EntryError, EntryFile, json_array
from genixer.store.images import ImageError

__all__ = ["Genome", "GenomeSettings"]


class GenomeSettings(SourceSettings):
    """Where the images lie, and which of them to take."""

    image_patterns: tuple[str, ...] = Field(
        ("VG_100K/{image_id}.jpg", "VG_100K_2/{image_id}.jpg"), min_length=1
    )
    """Paths of an image under the image root, from its id: the first that is there is taken."""
    image_data: Path | None = None
    """`image_data.json` of the same release: the size each image had when it was annotated, in px.
    Without it sizes are not compared."""
    image_ids: Path | None = None
    """Text file of image ids, one a line: only these images (a split); empty takes all."""
    slack_px: float = Field(1.0, ge=0.0)
    """How far outside the image a box may reach and be cut off; further out it is refused."""

    @field_validator("image_patterns")
    @classmethod
    def _patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_pattern(pattern) for pattern in patterns)


class _Size(msgspec.Struct):
    width: int
    height: int


class Genome(PlannedSource):
    """What both files share: images by id, sizes, splits, boxes as x, y, width, height in px."""

    settings: GenomeSettings

    @property
    @abstractmethod
    def _annotations(self) -> Path:
        """The file of entries."""

    def files(self) -> list[Path]:
        """Annotations; sizes and ids if there are any."""
        more = (self.settings.image_data, self.settings.image_ids)
        return [self._annotations, *(path for path in more if path is not None)]

    def _open(self) -> EntryFile:
        return json_array(self._annotations)

    @cached_property
    def _sizes(self) -> tuple[EntryFile, dict[int | str, int]] | None:
        if self.settings.image_data is None:
            return None
        file = json_array(self.settings.image_data)
        return file, file.by_id("image_id")[0]

    @cached_property
    def _ids(self) -> frozenset[str] | None:
        ids = read_ids(self.settings.image_ids)
        return None if ids is None else frozenset(ids)

    def _chosen(self, image_id: int) -> bool:
        return self._ids is None or str(image_id) in self._ids

    def _picture(self, image_id: int) -> ImageRef:
        """The image from the first pattern that names a file."""
        missing = None
        for pattern in self.settings.image_patterns:
            try:
                picture = self.catalog.ref(image_path(pattern, image_id))
            except ImageError as error:
                if error.reason != "missing_image":
                    raise
                missing = missing or error
            else:
                self._check_size(picture, image_id)
                return picture
        raise missing or ImageError("missing_image", str(image_id))

    def _check_size(self, picture: ImageRef, image_id: int) -> None:
        if self._sizes is None:
            return
        file, at = self._sizes
        if image_id not in at:
            raise EntryError("unknown_image", f"{file.path.name} has no image {image_id}")
        size = file.read(at[image_id], _Size)
        check_size(picture, size.width, size.height)
