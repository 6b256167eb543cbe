"""Is something there? Yes or no, as in POPE."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from genixer.data import Quarantined, Score
from genixer.evaluation.base import (
    BenchmarkSettings,
    Item,
    Mark,
    Prediction,
    gold_answer,
    read_items,
)
from genixer.evaluation.statistics import bootstrap, wilson
from genixer.sources.base import Source
from genixer.tasks.base import Canvas

if TYPE_CHECKING:
    import numpy as np

__all__ = ["PopeBenchmark", "PopeSettings", "said"]

Protocol = Literal["first_sentence", "official", "strict"]
Said = Literal["yes", "no", ""]

_WORD = re.compile(r"[a-z]+")


def said(text: str, protocol: Protocol = "first_sentence") -> Said:
    """What an answer comes down to; empty where it is neither.

    `official` is POPE's own rule: in the first sentence, commas removed, one of the words "No",
    "no", "not" means no, and *everything else means yes*, silence included. `first_sentence` is the
    same but for silence, which is no answer. `strict` wants the whole answer to be yes or no.

    >>> said("No, there is none."), said("There is a dog."), said("")
    ('no', 'yes', '')
    >>> said("", "official"), said("There is a dog.", "strict"), said("YES.", "strict")
    ('yes', '', 'yes')
    """
    if protocol == "strict":
        words = _WORD.findall(text.lower())
        return ("yes" if words == ["yes"] else "no") if words in (["yes"], ["no"]) else ""
    if not text.strip():
        return "yes" if protocol == "official" else ""
    words = text.strip().split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "no", "not"} & set(words) else "yes"


class PopeSettings(BenchmarkSettings):
    """How an answer is read."""

    protocol: Protocol = "first_sentence"
    """`first_sentence`, `official` or `strict`; numbers of different protocols do not compare."""


class PopeBenchmark:
    """POPE: accuracy, precision, recall, F1 (yes is the positive class) and the share of yes.

    An answer that is neither yes nor no is wrong, and not a yes.
    """

    name: ClassVar[str] = "pope"
    source: ClassVar[str] = "pope"
    source_settings: ClassVar[dict[str, Any]] = {}
    metric: ClassVar[str] = "accuracy"
    by_kind: ClassVar[bool] = True
    Settings: ClassVar[type[PopeSettings]] = PopeSettings

    def __init__(self, settings: PopeSettings, source: Source) -> None:
        """Keep both; open nothing yet."""
        self._protocol: Protocol = settings.protocol
        self._source = source

    def items(self, label: str, first: int, count: int | None) -> Iterator[Item | Quarantined]:
        """Questions in file order."""
        return read_items(self._source, label, first, count, gold_answer)

    def mark(self, item: Item, text: str, canvas: Canvas) -> Mark:
        """Whether the answer says what the label says."""
        return Mark(float(said(text, self._protocol) == item.references[0]))

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        """Accuracy, precision, recall, F1, share of yes."""
        gold = [float(one.references[0] == "yes") for one in predictions]
        yes = [float(said(one.text, self._protocol) == "yes") for one in predictions]
        n = len(predictions)
        both = [gold, yes]
        return [
            wilson("accuracy", sum(one.correct for one in predictions), n),
            bootstrap("precision", both, _precision),
            bootstrap("recall", both, _recall),
            bootstrap("f1", both, _f1),
            wilson("yes_ratio", sum(yes), n),
        ]


def _share(part: np.ndarray[Any, Any], whole: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`part / whole`, 0 where there is nothing to take a share of."""
    import numpy as np

    found: np.ndarray[Any, Any] = np.zeros_like(part)
    np.divide(part, whole, out=found, where=whole > 0)
    return found


def _precision(columns: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    gold, yes = columns
    return _share((gold * yes).sum(-1), yes.sum(-1))


def _recall(columns: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    gold, yes = columns
    return _share((gold * yes).sum(-1), gold.sum(-1))


def _f1(columns: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    gold, yes = columns
    return _share(2 * (gold * yes).sum(-1), gold.sum(-1) + yes.sum(-1))
