"""Words to a box: how far the box overlaps the right one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

from genixer.data import Box, Quarantined, Score
from genixer.evaluation.base import BenchmarkSettings, Item, Mark, Prediction, read_items
from genixer.evaluation.statistics import mean_score
from genixer.sources.base import Source
from genixer.tasks.base import Canvas
from genixer.tasks.voices import read_answer

__all__ = ["RecBenchmark", "RecSettings"]


class RecSettings(BenchmarkSettings):
    """When a box counts as right."""

    protocol: Literal["over_half", "at_least_half"] = "over_half"
    """IoU > 0.5 (Shikra and most tables) or >= 0.5 (Qwen-VL)."""


class RecBenchmark:
    """REC: share of boxes with enough overlap, and the mean IoU.

    Boxes are compared in the un-padded image, whatever frame the model writes in. Text that is not
    one box is wrong, with IoU 0. Every prediction meets its own box only.
    """

    name: ClassVar[str] = "rec"
    source: ClassVar[str] = "refcoco"
    source_settings: ClassVar[dict[str, Any]] = {"tasks": ("rec",)}
    metric: ClassVar[str] = "accuracy_at_half"
    by_kind: ClassVar[bool] = False
    Settings: ClassVar[type[RecSettings]] = RecSettings

    def __init__(self, settings: RecSettings, source: Source) -> None:
        """Keep both; open nothing yet."""
        self._settings, self._source = settings, source

    def items(self, label: str, first: int, count: int | None) -> Iterator[Item | Quarantined]:
        """Expressions in file order; the right box is in the sample's answer."""
        return read_items(self._source, label, first, count, lambda _, sample: ())

    def mark(self, item: Item, text: str, canvas: Canvas) -> Mark:
        """Whether the box in `text` overlaps enough."""
        found = read_answer("rec", text, canvas)
        if not isinstance(found, Box):
            return Mark(0.0)
        iou = found.iou(item.sample.turns[1].boxes[0])
        enough = iou > 0.5 if self._settings.protocol == "over_half" else iou >= 0.5
        return Mark(float(enough), found)

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        """Share of right boxes, mean IoU."""
        ious = [one.found.iou(one.gold) if one.found and one.gold else 0.0 for one in predictions]
        right = mean_score(self.metric, [one.correct for one in predictions])
        return [right, mean_score("mean_iou", ious)]
