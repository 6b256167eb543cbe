"""Questions with lettered options: was the right letter given?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from genixer.data import Quarantined, Score
from genixer.evaluation.base import (
    BenchmarkSettings,
    Item,
    Mark,
    Prediction,
    gold_answer,
    read_items,
)
from genixer.evaluation.statistics import mean_score
from genixer.sources.base import Source
from genixer.tasks.base import Canvas

__all__ = ["AokvqaBenchmark", "letter"]

_ANSWER_IS = re.compile(r"The answer is ([A-Z])\.")


def letter(text: str) -> str:
    """The letter an answer gives: alone, before a period, or in "The answer is B."; else empty.

    More than one such sentence is no answer. This is the rule of LLaVA's ScienceQA scorer.

    >>> [letter(text) for text in ("B", "B. a dog", "The answer is B.", "a dog", "Bus")]
    ['B', 'B', 'B', '', '']
    """
    text = text.strip()
    if len(text) == 1 and "A" <= text <= "Z":
        return text
    if len(text) >= 3 and "A" <= text[0] <= "Z" and text[1:3] == ". ":
        return text[0]
    found = _ANSWER_IS.findall(text)
    return found[0] if len(found) == 1 else ""


class AokvqaBenchmark:
    """A-OKVQA, multiple choice: accuracy of the letter."""

    name: ClassVar[str] = "aokvqa"
    source: ClassVar[str] = "aokvqa"
    source_settings: ClassVar[dict[str, Any]] = {}
    metric: ClassVar[str] = "accuracy"
    by_kind: ClassVar[bool] = True
    Settings: ClassVar[type[BenchmarkSettings]] = BenchmarkSettings

    def __init__(self, settings: BenchmarkSettings, source: Source) -> None:
        """Keep the source; open nothing yet."""
        self._source = source

    def items(self, label: str, first: int, count: int | None) -> Iterator[Item | Quarantined]:
        """Questions in file order; the reference is the letter."""
        return read_items(self._source, label, first, count, gold_answer)

    def mark(self, item: Item, text: str, canvas: Canvas) -> Mark:
        """Whether the letter is the right one."""
        return Mark(float(letter(text) == item.references[0]))

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        """Accuracy."""
        return [mean_score(self.metric, [one.correct for one in predictions])]
