"""Images of an export written out beside it, for trainers that open files and not archives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from genixer.data import Sample
from genixer.errors import CannotEncodeError, ConfigError
from genixer.formats.pictures import PictureFolder, Unpacked
from genixer.formats.tally import Tally
from genixer.store.archives import split_archive
from genixer.store.entries import EntryError
from genixer.store.images import ImageError

__all__ = ["ImageCopies", "without_archives"]


class ImageCopies:
    """Copies each sample's image to the same path below another root.

    An image in an archive comes to lie in a folder called like the archive, so that the paths in
    the rows stay as they are. Samples whose image cannot be copied are left out and counted.
    """

    def __init__(self, source: Path, target: Path, strict: bool) -> None:
        """Copy from the image root `source` to `target`.

        With `strict`, `of` raises `LossError` after the last sample when some were left out. Raises
        `ConfigError` where both are the same folder.
        """
        if source.resolve() == target.resolve():
            raise ConfigError(f"{target}: is the image root itself; copy images to another folder")
        self._source, self._target = PictureFolder(source), Unpacked(target)
        self._tally = Tally("copies of images", strict)
        self.lost: dict[str, int] = {}
        """Samples left out, by reason; known after the last one."""

    def of(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """`samples` whose image, if they have one, lies below the new root."""
        for sample in samples:
            try:
                self._copy(sample)
            except CannotEncodeError as error:
                self._tally.left_out(sample, error)
                continue
            self._tally.wrote()
            yield sample
        self.lost = self._tally.settle().lost

    def _copy(self, sample: Sample) -> None:
        image = sample.image
        if image is None:
            return
        data = self._source.picture(image).data
        try:
            self._target.ref(image.path, data, image)
        except EntryError as error:
            raise CannotEncodeError(error.reason, error.detail) from error
        except ImageError as error:
            raise CannotEncodeError(error.reason, error.path) from error


def without_archives(samples: Iterable[Sample], images: Path) -> Iterator[Sample]:
    """`samples`; `ConfigError` at the first whose image lies in an archive below `images`."""
    for sample in samples:
        inside = split_archive(sample.image.path) if sample.image else None
        if inside is not None and not (images / inside[0]).is_dir():
            raise ConfigError(
                f"row {sample.id}: its image {sample.picture.path} lies in an archive, where "
                "trainers do not look; --copy-images DIR writes images out, or take a format that "
                "holds them (webdataset, parquet, hf_dataset); nothing was written"
            )
        yield sample
