"""Whether a box shows what its words say, by a small image-text model trained for just that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field

from genixer.data import Box, Sample, Verdict
from genixer.filters.base import FilterSettings
from genixer.store.images import ImageError, open_image
from genixer.tasks.regions import regions_of

if TYPE_CHECKING:
    from genixer.models.clip import RegionClip

__all__ = ["ClipFilter", "ClipSettings"]


class ClipSettings(FilterSettings):
    """Which region model, and the score from which rows are kept."""

    model: str
    """Folder of a region model (`@clip/model` for one this run trains), or a shipped name."""
    keep_above: float = Field(default=0.5, ge=0.0, le=1.0)
    """Lowest score that is kept."""
    keep_unknown: bool = False
    """Whether rows pass whose words the model has never seen; they have no score."""


class _Look(NamedTuple):
    """One region to score: place of its sample in the block, its box, the words known of it."""

    at: int
    box: Box
    name: str


class ClipFilter:
    """Cuts every box out, and asks the region model how well its words fit.

    Score: the probability, in [0, 1], that the crop shows these words rather than another of the
    model's names or nothing; nothing is what the model learned to say of background and of boxes
    that are half off an object. Names that can both be right ("book", "red book") do not
    compete. Of several boxes the worst counts. Words are compared as a set, and words a crop
    cannot show ("left", "behind") are left out, so "left dog" and "right dog" are one. Rows
    without a box pass without a score.
    """

    name: ClassVar[str] = "clip"
    reasons: ClassVar[tuple[str, ...]] = ("region_unlike_words", "words_unknown", "clip_failed")
    Settings: ClassVar[type[ClipSettings]] = ClipSettings

    def __init__(self, settings: ClipSettings, model: RegionClip | None = None) -> None:
        """Keep `settings`; the model loads on first use, unless a loaded one is given."""
        self.settings = settings
        self._model = model

    @property
    def model(self) -> RegionClip:
        """The region model, loaded."""
        if self._model is None:
            import torch

            from genixer.models.clip import load

            torch.set_num_threads(self.settings.threads)
            self._model = load(self.settings.model)
        return self._model

    def judge(self, samples: Sequence[Sample], images: Path) -> list[Verdict]:
        """One verdict a sample, in order."""
        looks = [
            _Look(at, region.box, self.model.knows(region.text))
            for at, sample in enumerate(samples)
            for region in regions_of(sample)
        ]
        unknown = {look.at for look in looks if not look.name}
        scores = self._scores(samples, [look for look in looks if look.at not in unknown], images)
        return [
            Verdict(
                self.settings.keep_unknown, "" if self.settings.keep_unknown else "words_unknown"
            )
            if at in unknown
            else self._verdict(scores.get(at, []))
            for at in range(len(samples))
        ]

    def _verdict(self, scores: Sequence[float | None]) -> Verdict:
        known = [score for score in scores if score is not None and score == score]
        if len(known) < len(scores):
            return Verdict(keep=False, reason="clip_failed")
        if not known:
            return Verdict(keep=True)
        if min(known) < self.settings.keep_above:
            return Verdict(keep=False, reason="region_unlike_words", score=min(known))
        return Verdict(keep=True, score=min(known))

    def _scores(
        self, samples: Sequence[Sample], looks: Sequence[_Look], images: Path
    ) -> dict[int, list[float | None]]:
        """Scores of each sample's regions by its place; None where the image cannot be read."""
        scores: dict[int, list[float | None]] = defaultdict(list)
        if not looks:
            return scores
        import numpy as np

        from genixer.models.clip import crop

        config = self.model.config
        crops, seen = [], []
        for look in looks:
            try:
                image = open_image(images, samples[look.at].picture.path)
            except ImageError:
                scores[look.at].append(None)
                continue
            crops.append(crop(image, look.box, config.side_px, config.context))
            seen.append(look)
        if seen:
            found = self.model.probabilities(np.stack(crops), [look.name for look in seen])
            for look, score in zip(seen, found, strict=True):
                scores[look.at].append(score)
        return scores
