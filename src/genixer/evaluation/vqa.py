"""Open questions with ten human answers: the VQA soft score and its answer normaliser."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

import msgspec

from genixer.data import Quarantined, Sample, Score
from genixer.evaluation.base import BenchmarkSettings, Item, Mark, Prediction, read_items
from genixer.evaluation.contractions import CONTRACTIONS
from genixer.evaluation.statistics import mean_score
from genixer.sources.base import Source
from genixer.store.entries import EntryFile, json_array
from genixer.tasks.base import Canvas

__all__ = ["Protocol", "VqaV2Benchmark", "VqaV2BenchmarkSettings", "normalise", "soft_score"]

Protocol = Literal["official", "always", "m4c"]
"""`official`: VQA's own scorer, which normalises only where the ten answers differ. `always`: the
same normaliser for every question (lmms-eval, VLMEvalKit). `m4c`: the one of TextVQA and LLaVA,
which also splits off the possessive."""

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    )
} | {"none": "0"}
_ARTICLES = frozenset(["a", "an", "the"])
_DIGIT_COMMA = re.compile(r"\d,\d")
_LONE_PERIOD = re.compile(r"\.(?!\d)")
_MOST_PERIODS = 32


def normalise(answer: str, protocol: Protocol = "always") -> str:
    """Answer as the scorers compare it.

    Quirks of the original that are kept, since published numbers contain them:

    * a punctuation mark is deleted if it stands beside a space anywhere in the answer, or if a
      comma stands between digits; otherwise it becomes a space ("red/blue" is two words);
    * only a period before a digit survives, and only the first 32 others are removed (a flag was
      passed in the place of a count);
    * contractions get their apostrophe back, but those with a capital ("Im") never match.

    >>> [normalise(text) for text in ("U.S.A.", "1,000", "the Red/blue", "two", "dont")]
    ['usa', '1000', 'red blue', '2', "don't"]
    >>> normalise("mountain's", "m4c")
    "mountain 's"
    """
    text = answer.replace("\n", " ").replace("\t", " ").strip()
    if protocol == "m4c":
        text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    text = _without_marks(text)
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def _without_marks(text: str) -> str:
    number = _DIGIT_COMMA.search(text) is not None
    found = text
    for mark in _MARKS:
        beside_space = f"{mark} " in text or f" {mark}" in text
        found = found.replace(mark, "" if beside_space or number else " ")
    return _LONE_PERIOD.sub("", found, count=_MOST_PERIODS)


def soft_score(answer: str, references: Sequence[str], protocol: Protocol = "official") -> float:
    """Mean over the humans of min(1, how many of the others said the same / 3), in [0, 1].

    An empty answer scores 0. `references` are ten answers in the original data.

    >>> soft_score("red", ["red"] * 3 + ["blue"] * 7)
    0.9
    >>> soft_score("Yes", ["yes"] * 10), soft_score("Yes", ["yes"] * 10, "always")
    (0.0, 1.0)
    """
    if not answer.strip() or not references:
        return 0.0
    if protocol != "official" or len(set(references)) > 1:
        answer, references = _alike(answer, references, protocol)
    else:
        # Line breaks go even where nothing else is normalised.
        answer = answer.replace("\n", " ").replace("\t", " ").strip()
    same = Counter(references)[answer]
    humans = len(references)
    # One of those who said the same leaves one less to agree with; the others leave all.
    mine, theirs = min(1.0, (same - 1) / 3) * same, min(1.0, same / 3) * (humans - same)
    return (max(0.0, mine) + theirs) / humans


def _alike(answer: str, references: Sequence[str], protocol: Protocol) -> tuple[str, Sequence[str]]:
    unlike = {text: normalise(text, protocol) for text in {answer, *references}}
    return unlike[answer], [unlike[text] for text in references]


class VqaV2BenchmarkSettings(BenchmarkSettings):
    """How answers are compared."""

    protocol: Protocol = "official"
    """`official`, `always` or `m4c`; numbers of different protocols do not compare."""


class _Asked(msgspec.Struct):
    question_id: int | str


class _Answer(msgspec.Struct):
    answer: str


class _Answers(msgspec.Struct):
    answers: list[_Answer]


class VqaV2Benchmark:
    """VQAv2: the soft score over ten answers, by the source's question types."""

    name: ClassVar[str] = "vqav2"
    source: ClassVar[str] = "vqav2"
    source_settings: ClassVar[dict[str, Any]] = {}
    metric: ClassVar[str] = "soft_score"
    by_kind: ClassVar[bool] = True
    Settings: ClassVar[type[VqaV2BenchmarkSettings]] = VqaV2BenchmarkSettings

    def __init__(self, settings: VqaV2BenchmarkSettings, source: Source) -> None:
        """Keep both; open nothing yet."""
        self._settings, self._source = settings, source

    def items(self, label: str, first: int, count: int | None) -> Iterator[Item | Quarantined]:
        """Questions in file order with all their answers."""
        return read_items(self._source, label, first, count, self._references)

    @cached_property
    def _files(self) -> tuple[EntryFile, EntryFile, dict[int | str, int]]:
        """Questions, annotations, and which annotation is of which question."""
        questions, annotations = self._source.files()
        answers = json_array(annotations, "annotations")
        return json_array(questions, "questions"), answers, answers.by_id("question_id")[0]

    def _references(self, index: int, sample: Sample) -> tuple[str, ...]:
        questions, annotations, entry_of = self._files
        at = entry_of[questions.read(index, _Asked).question_id]
        return tuple(one.answer for one in annotations.read(at, _Answers).answers)

    def mark(self, item: Item, text: str, canvas: Canvas) -> Mark:
        """The soft score of one answer."""
        return Mark(soft_score(text, item.references, self._settings.protocol))

    def score(self, predictions: Sequence[Prediction]) -> list[Score]:
        """The mean soft score."""
        return [mean_score(self.metric, [one.correct for one in predictions])]
