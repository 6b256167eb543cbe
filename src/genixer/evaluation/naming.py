"""A box to words: is it called by one of its names?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import msgspec

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

__all__ = ["RegBenchmark", "plain_name"]

_NOT_WORD = re.compile(r"[\W_]+")
_ARTICLES = ("a ", "an ", "the ")
_NEIGHBOURS = 32
"""Rows looked at on either side for other expressions of the same box; the source puts them
together, and a person rarely writes more than a few."""


def plain_name(text: str) -> str:
    """Words in lower case without punctuation and a leading article.

    >>> plain_name("The red book."), plain_name("Red-book")
    ('red book', 'red book')
    """
    words = _NOT_WORD.sub(" ", text.casefold()).strip()
    return next((words.removeprefix(a) for a in _ARTICLES if words.startswith(a)), words)


class RegBenchmark:
    """REG: exact match with any expression that people gave for the box.

    Stricter than the captioning metrics of the literature, and free of a judge: it asks whether
    the object is named, not how well the sentence reads.
    """

    name: ClassVar[str] = "reg"
    source: ClassVar[str] = "refcoco"
    source_settings: ClassVar[dict[str, Any]] = {"tasks": ("reg",)}
    metric: ClassVar[str] = "exact_match"
    by_kind: ClassVar[bool] = False
    Settings: ClassVar[type[BenchmarkSettings]] = BenchmarkSettings

    def __init__(self, settings: BenchmarkSettings, source: Source) -> None:
        """Keep the source; open nothing yet."""
        self._source = source

    def items(self, label: str, first: int, count: int | None) -> Iterator[Item | Quarantined]:
        """Expressions in file order, each with all expressions of its box as references."""
        total = self._source.count()
        last = total if count is None else min(total, first + count)
        start, stop = max(0, first - _NEIGHBOURS), min(total, last + _NEIGHBOURS)
        rows = list(read_items(self._source, label, start, stop - start, gold_answer))
        said: dict[object, list[str]] = {}
        for row in rows:
            if isinstance(row, Item):
                said.setdefault(_place(row), []).extend(row.references)
        for row in rows[first - start : last - start]:
            if isinstance(row, Item):
                names = tuple(dict.fromkeys(said[_place(row)]))
                row = msgspec.structs.replace(row, references=names)
            yield row

    def mark(self, item: Item, text: str, canvas: Canvas) -> Mark:
        """Whether the answer is one of the expressions."""
        name = plain_name(text)
        return Mark(float(bool(name) and name in map(plain_name, item.references)))

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        """Share of exact matches."""
        return [mean_score(self.metric, [one.correct for one in predictions])]


def _place(item: Item) -> object:
    return item.sample.image_sha256, item.sample.turns[0].boxes
