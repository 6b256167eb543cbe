"""Draws the embedded world to disk: pictures, annotation files, and the truth, kept aside."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from genixer.sources.scene_art import LICENCE
from genixer.sources.scene_files import annotation_files
from genixer.sources.scenes import Look, Scene, compose, draw, picture_bytes
from genixer.stages.base import (
    Estimate,
    FileWriter,
    RowWriter,
    Stage,
    StageSettings,
    Step,
    StepOutput,
)

__all__ = ["Pool", "ScenesStage"]


class Pool(BaseModel):
    """One pool: how many `images`, from which distribution, with or without annotation files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: int = Field(ge=1)
    """How many pictures."""
    annotated: bool = True
    """Whether annotation files are written; an unlabelled pool has pictures only."""
    vqa_per_image: int = 6
    """At most this many questions an image in the VQAv2 layout."""
    mc_per_image: int = 2
    """At most this many multiple-choice questions an image."""
    backgrounds: tuple[str, ...]
    """Backgrounds to draw from, by name (`genixer.sources.scene_art.BACKGROUNDS`)."""
    objects: tuple[int, int] = (1, 5)
    """Fewest and most objects."""
    size: tuple[float, float] = (0.24, 0.42)
    """Smallest and largest object: longer side as a share of 256 px."""
    kinds: tuple[str, ...] = ()
    """Object classes; empty means all 40."""
    tilt: int = 0
    """Largest rotation, in degrees."""
    mirror: float = 0.0
    """Share of flipped objects."""
    twins: float = 0.3
    """How likely a further object repeats the kind of one that is already there."""

    @property
    def look(self) -> Look:
        """The distribution, as `genixer.sources.scenes` takes it."""
        names = ("backgrounds", "objects", "size", "kinds", "tilt", "mirror", "twins")
        return Look(**{name: getattr(self, name) for name in names})


class ScenesSettings(StageSettings):
    """Which pools to draw."""

    pools: dict[str, Pool]
    """Pools by name; each becomes a folder of the step's files."""


class ScenesStage(Stage):
    """Pools of scenes; a kept row (`Scene`) is the exact truth about one picture.

    `measure` and `correct` read it, and nobody else.

    Files: `<pool>/images/000012.jpg`, and for annotated pools `<pool>/annotations/*` in the layouts
    of VQAv2, POPE, A-OKVQA, LLaVA-Instruct and RefCOCO JSON.
    """

    name = "scenes"
    version = 2
    Settings = ScenesSettings
    rows_per_shard = 256

    def items(self, step: Step) -> int:
        """One item a picture, pools in the order of the config."""
        return sum(self._sizes(step).values())

    def _sizes(self, step: Step) -> dict[str, int]:
        """Pictures of each pool; pools share a `--limit` evenly: a short run has them all."""
        pools = self.settings.pools
        if step.limit is None:
            return {name: pool.images for name, pool in pools.items()}
        share = max(1, step.limit // len(pools))
        return {name: min(pool.images, share) for name, pool in pools.items()}

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Draw pictures `first` to `first + count`."""
        sizes = self._sizes(step)
        for position in range(first, first + count):
            name, index = _locate(sizes, position)
            scene = compose(step.seed, name, index, self.settings.pools[name].look)
            data = picture_bytes(draw(scene, step.seed))
            out.file(scene.image, data)
            digest = hashlib.sha256(data).hexdigest()
            out.keep(msgspec.structs.replace(scene, sha256=digest, licence=LICENCE))

    def finish(self, step: Step, out: FileWriter, rows: StepOutput) -> None:
        """Write each annotated pool's annotation files from the truth."""
        scenes: dict[str, list[Scene]] = {}
        for scene in rows.rows(Scene):
            scenes.setdefault(scene.pool, []).append(scene)
        for name, many in scenes.items():
            pool = self.settings.pools[name]
            if not pool.annotated:
                continue
            for file, data in annotation_files(
                many, step.seed, pool.vqa_per_image, pool.mc_per_image
            ).items():
                out.file(f"{name}/annotations/{file}", data)

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        """About 10 ms and 10 kB a picture."""
        total = sum(pool.images for pool in self.settings.pools.values())
        return Estimate(items=total, kept=total, seconds=total * 0.01, bytes=total * 10_000)


def _locate(sizes: Mapping[str, int], position: int) -> tuple[str, int]:
    """Pool and number of the picture at `position`, pools in order."""
    for name, size in sizes.items():
        if position < size:
            return name, position
        position -= size
    raise IndexError(position)
