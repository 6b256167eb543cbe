"""Stage `train_clip`: regions and their names to the small image-text model of filter `clip`."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from pydantic import Field

from genixer.data import Box, ImageRef, Sample, content_id, encode_row
from genixer.errors import DataError
from genixer.evaluation.statistics import wilson
from genixer.stages.base import (
    Estimate,
    FileWriter,
    RowWriter,
    Stage,
    StageSettings,
    Step,
    StepOutput,
)
from genixer.tasks.regions import regions_of

if TYPE_CHECKING:
    from genixer.models.clip import ClipConfig, RegionClip
    from genixer.training.crops import Picture

__all__ = ["NamedRegions", "TrainClipSettings", "TrainClipStage"]

_LOG = logging.getLogger(__name__)


class NamedRegions(msgspec.Struct, frozen=True):
    """What one sample teaches: boxes of its image, each with a name."""

    id: str
    image: ImageRef
    boxes: tuple[Box, ...]
    names: tuple[str, ...]


class TrainClipSettings(StageSettings):
    """How long to train, on how many crops, with which words."""

    steps: int = Field(default=600, ge=1)
    """Optimiser steps; 600 take about two minutes on one core."""
    batch: int = Field(default=128, ge=2)
    """Crops in a step."""
    lr: float = Field(default=3e-3, gt=0.0)
    """Peak learning rate."""
    side_px: int = Field(default=48, ge=32, multiple_of=16)
    """Side of a crop as the model sees it."""
    per_region: int = Field(default=2, ge=1)
    """Good crops cut of each region; as many misplaced ones come with them."""
    max_crops: int = Field(default=24_000, ge=2)
    """Most crops held in memory (7 kB each at 48 px); further pictures are left out."""
    least: int = Field(default=2, ge=1)
    """A name must come so often to be learned."""
    max_names: int = Field(default=400, ge=2)
    """Most names; the frequent ones win."""
    seed: int | None = None
    """First weights and order of the crops; the run's seed where it is not set."""


class TrainClipStage(Stage):
    """Trains on samples with boxes: REC, REG, dense captions; others are rejected as `no_region`.

    Files: `model/`, `log.jsonl` (loss by step) and `scores.json`: how the model does on regions
    of 5 % of the images, which it did not train on.
    """

    name: ClassVar[str] = "train_clip"
    Settings: ClassVar[type[TrainClipSettings]] = TrainClipSettings
    rows_per_shard: ClassVar[int] = 4096

    def items(self, step: Step) -> int:
        """One item a sample."""
        return step.count()

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Keep the named regions of every sample that has some."""
        from genixer.models.clip import seen_words

        for sample in step.rows(Sample, first, count):
            regions = regions_of(sample)
            names = tuple(" ".join(seen_words(region.text)) for region in regions)
            if not regions or not all(names):
                reason = "no_words" if regions else "no_region"
                out.reject(sample.id, reason, sample)
                continue
            boxes = tuple(region.box for region in regions)
            out.keep(NamedRegions(sample.id, sample.picture, boxes, names))

    def finish(self, step: Step, out: FileWriter, rows: StepOutput) -> None:
        """Train on the kept regions, examine on the held-out ones, write the model."""
        import torch

        from genixer.training.clip import ClipSchedule, train_clip
        from genixer.training.crops import cut

        torch.set_num_threads(step.threads)
        seed = step.seed if self.settings.seed is None else int(self.settings.seed)
        learn, held_out = _split(_pictures(rows, seed))
        config = self._config(learn, step)
        crops = cut(self._fitting(learn), config, step.images, seed, self.settings.per_region)
        if crops.unreadable:
            _LOG.warning("%s: %d images could not be read", step.name, crops.unreadable)
        steps = self.settings.steps if step.limit is None else min(self.settings.steps, 3)
        schedule = ClipSchedule(steps=steps, batch=self.settings.batch, lr=self.settings.lr)
        lines: list[dict[str, Any]] = []
        model = train_clip(crops, config, schedule, seed, lines.append)
        folder = out.scratch()
        model.save(folder)
        out.adopt(folder, "model")
        out.file("log.jsonl", b"".join(encode_row(line) + b"\n" for line in lines))
        out.file("scores.json", encode_row(self._examine(model, held_out, step, seed)))

    def _config(self, pictures: Sequence[Picture], step: Step) -> ClipConfig:
        from genixer.models.clip import ClipConfig
        from genixer.training.clip import vocabulary

        often = Counter(name for picture in pictures for _, name in picture.regions)
        # A trial run on ten rows shows that training works, not that it teaches much.
        least = self.settings.least if step.limit is None else 1
        words, names = vocabulary(often, least, self.settings.max_names)
        if len(names) < 2 and step.limit is None:
            raise DataError(
                f"step {step.name}: {len(names)} names come at least {least} times in "
                f"{len(pictures)} images; it needs REC, REG or dense_caption samples of two names"
            )
        return ClipConfig(side_px=self.settings.side_px, words=words, names=names)

    def _fitting(self, pictures: Sequence[Picture]) -> list[Picture]:
        """The first pictures whose crops together stay within `max_crops`."""
        left = self.settings.max_crops
        chosen: list[Picture] = []
        for picture in pictures:
            left -= 2 * self.settings.per_region * len(picture.regions)
            if left < 0:
                _LOG.info("max_crops: training on %d of %d images", len(chosen), len(pictures))
                break
            chosen.append(picture)
        return chosen

    def _examine(
        self, model: RegionClip, pictures: Sequence[Picture], step: Step, seed: int
    ) -> list[Any]:
        from genixer.training.clip import examine
        from genixer.training.crops import cut

        held_out = self._fitting(pictures)
        crops = cut(held_out, model.config, step.images, seed, per_region=1, exact=True)
        found = examine(model, crops, seed) if crops.labels.any() else {}
        return [wilson(what, hits, asked) for what, (hits, asked) in found.items()]

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        """About 1.6 ms a crop of training on one core, and 1.2 MB of weights."""
        items = sum(one.kept or 0 for many in inputs.values() for one in many) or None
        seconds = self.settings.steps * self.settings.batch * 1.6e-3
        return Estimate(items=items, kept=items, seconds=seconds, bytes=1_200_000)


def _pictures(rows: StepOutput, seed: int) -> list[Picture]:
    """Every image with its named boxes, each pair once, in an order that depends on the seed."""
    from genixer.training.crops import Picture

    by_image: dict[str, tuple[ImageRef, dict[tuple[Box, str], None]]] = {}
    for row in rows.rows(NamedRegions):
        _, regions = by_image.setdefault(row.image.sha256, (row.image, {}))
        regions.update(dict.fromkeys(zip(row.boxes, row.names, strict=True)))
    order = sorted(by_image, key=lambda sha256: content_id("clip order", seed, sha256))
    return [Picture(by_image[one][0], tuple(by_image[one][1])) for one in order]


def _split(pictures: Sequence[Picture]) -> tuple[Sequence[Picture], Sequence[Picture]]:
    """(to learn from, held out): one image of twenty, at least one where there are two."""
    held_out = math.ceil(len(pictures) / 20) if len(pictures) > 1 else 0
    return pictures[held_out:], pictures[:held_out]
