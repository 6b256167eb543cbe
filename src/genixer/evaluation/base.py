"""What a benchmark is: items with what is right, a mark for each answer, scores over all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import msgspec
from pydantic import BaseModel, ConfigDict

from genixer.data import Box, ImageRef, Quarantined, Record, Sample, Score, content_id
from genixer.sources.base import Source
from genixer.tasks.base import Canvas

__all__ = [
    "Benchmark",
    "BenchmarkSettings",
    "Item",
    "KindScore",
    "Mark",
    "Prediction",
    "ScoreFile",
    "by_kind",
    "gold_answer",
    "read_items",
]


class BenchmarkSettings(BaseModel):
    """Settings of one benchmark beside those of the source it reads."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Item(Record, frozen=True):
    """One question: the first exchange of `sample`, and every answer that counts as right."""

    id: str
    sample: Sample
    references: tuple[str, ...]
    kind: str = ""


class Mark(NamedTuple):
    """How right an answer is, in [0, 1], and the box it gave, if that was asked for."""

    correct: float
    found: Box | None = None


class Prediction(Record, frozen=True):
    """What a model answered to one item, and how right that is, in [0, 1].

    `id` is the item's: the same in every run over the same files, so that models can be compared
    item by item. `kind` is empty where the benchmark makes no difference. `gold` and `found` are
    boxes of the un-padded image.
    """

    id: str
    benchmark: str
    task: str
    image: ImageRef
    question: str
    text: str
    correct: float
    references: tuple[str, ...] = ()
    kind: str = ""
    gold: Box | None = None
    found: Box | None = None


class KindScore(Record, frozen=True):
    """A score of one benchmark over one kind of question; an empty `kind` means all."""

    benchmark: str
    kind: str
    score: Score


class ScoreFile(Record, frozen=True):
    """What an evaluate step writes to `scores.json`.

    `missing` counts, by benchmark, the items that could not be asked or answered; no score knows of
    them.
    """

    labels: dict[str, str]
    scores: tuple[KindScore, ...]
    missing: dict[str, int] = msgspec.field(default_factory=dict)


class Benchmark(Protocol):
    """One benchmark over one source. Gold answers score 1, empty ones 0."""

    name: ClassVar[str]
    source: ClassVar[str]
    """Source (`genixer.sources.SOURCES`) that reads its files."""
    source_settings: ClassVar[dict[str, Any]]
    """Settings of the source that are not the user's to choose."""
    metric: ClassVar[str]
    """What the mean of the marks is called."""
    by_kind: ClassVar[bool]
    """Whether scores are given for each kind of question too, unless the user says otherwise."""
    Settings: ClassVar[type[BenchmarkSettings]]

    def __init__(self, settings: Any, source: Source) -> None:
        """Keep both; open nothing yet."""
        ...

    def items(self, label: str, first: int, count: int | None) -> Iterator[Item | Quarantined]:
        """Items of rows `first` to `first + count` of the source; broken rows as they come."""
        ...

    def mark(self, item: Item, text: str, canvas: Canvas) -> Mark:
        """How right `text` is; coordinates in it are read as `canvas` says. Never raises."""
        ...

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        """Scores of a set of predictions, the one called `metric` first."""
        ...


def read_items(
    source: Source,
    label: str,
    first: int,
    count: int | None,
    references: Callable[[int, Sample], tuple[str, ...]],
) -> Iterator[Item | Quarantined]:
    """Rows of `source` as items; `references` gives the right answers of row i.

    Ids depend on `label`, the row's place and its content.
    """
    for index, row in enumerate(source.read(first, count), start=first):
        if isinstance(row, Quarantined):
            yield row
            continue
        id = content_id("item", label, index, row.id)
        yield Item(id, row, references(index, row), row.origin.question_type)


def gold_answer(index: int, sample: Sample) -> tuple[str, ...]:
    """The sample's own answer, for sources that give one."""
    return (sample.turns[1].text,)


def by_kind(benchmark: Benchmark, label: str, predictions: Sequence[Prediction]) -> list[KindScore]:
    """Scores over all predictions, then over each kind where there are several."""
    groups: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        groups.setdefault(prediction.kind, []).append(prediction)
    scores = [KindScore(label, "", score) for score in benchmark.score(predictions)]
    if len(groups) > 1:
        scores += [
            KindScore(label, kind, score)
            for kind in sorted(groups)
            for score in benchmark.score(groups[kind])
        ]
    return scores
