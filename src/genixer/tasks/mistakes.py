"""Mistakes in words: the smallest changes that make an answer false."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import NamedTuple

from genixer.data import Sample
from genixer.tasks.shape import place_count

__all__ = [
    "Said",
    "changed",
    "is_color",
    "is_plain",
    "miscounted",
    "opening",
    "opposite",
    "said_in",
    "swapped",
    "wrong_text",
]

_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
_COLORS = (
    *("red", "orange", "yellow", "green", "blue", "purple"),
    *("pink", "brown", "black", "white", "gray"),
)
_SIDES = (("left", "right"), ("above", "below"), ("top", "bottom"), ("upper", "lower"))
_OPPOSITE = {one: other for pair in _SIDES for one, other in (pair, pair[::-1])}
_DIGITS = re.compile(r"(?<![0-9.,])[0-9]{1,5}(?![0-9]|[.,][0-9])")
_WORD = re.compile(r"[A-Za-z]+")


class Said(NamedTuple):
    """A question that was asked elsewhere, its answer, and whether of the same image."""

    question: str
    answer: str
    here: bool


def opposite(answer: str) -> str | None:
    """No for yes and yes for no, in the same case; None for anything else.

    >>> opposite("Yes"), opposite("perhaps")
    ('No', None)
    """
    for one, other in (("yes", "no"), ("Yes", "No"), ("YES", "NO")):
        if answer in (one, other):
            return other if answer == one else one
    return None


def miscounted(answer: str, rng: random.Random) -> str | None:
    """`answer` with its only number one more or less; in words if that is the whole answer.

    >>> miscounted("I see 0.", random.Random(1)), miscounted("Three", random.Random(1))
    ('I see 1.', 'Two')
    """
    step = rng.choice((-1, 1))
    found = list(_DIGITS.finditer(answer))
    if len(found) == 1:
        number = int(found[0][0])
        start, end = found[0].span()
        return f"{answer[:start]}{number + (step if number else 1)}{answer[end:]}"
    if answer.lower() in _NUMBERS[:-1]:
        at = _NUMBERS.index(answer.lower())
        return _in_case(_NUMBERS[at + (step if at else 1)], answer)
    return None


def swapped(text: str, rng: random.Random) -> str | None:
    """`text` with one colour or one side changed; None when it has neither.

    >>> swapped("left frog", random.Random(1))
    'right frog'
    """
    places = [m for m in _WORD.finditer(text) if is_color(m[0]) or m[0].lower() in _OPPOSITE]
    if not places:
        return None
    place = rng.choice(places)
    word = place[0].lower()
    new = _OPPOSITE.get(word) or rng.choice([color for color in _COLORS if color != word])
    return f"{text[: place.start()]}{_in_case(new, place[0])}{text[place.end() :]}"


def changed(answer: str, rng: random.Random) -> str | None:
    """`answer` made surely false whatever the question: no for yes, one more or less."""
    return opposite(answer) or miscounted(answer, rng)


def is_color(text: str) -> bool:
    """Whether `text` is the name of a colour.

    >>> is_color("Red"), is_color("red book")
    (True, False)
    """
    return text.lower() in _COLORS


def is_plain(text: str) -> bool:
    """Whether `text` is neither yes nor no nor a number: words that another thing may be called.

    >>> is_plain("dog"), is_plain("two")
    (True, False)
    """
    return text.lower() not in ("yes", "no", *_NUMBERS) and not text.isdigit()


def said_in(pool: Sequence[Sample], sample: Sample) -> list[Said]:
    """What pairs without places say in the pool's samples of the same task and question type."""
    return [
        Said(question.text, answer.text, other.image_sha256 == sample.image_sha256)
        for other in pool
        if other.task == sample.task and other.origin.question_type == sample.origin.question_type
        for question, answer in zip(other.turns[::2], other.turns[1::2], strict=True)
        if not place_count(question) and not place_count(answer)
    ]


def wrong_text(question: str, answer: str, said: Sequence[Said], rng: random.Random) -> str | None:
    """Yes for no, one more or less, another colour or side, or another answer of the same type.

    None where nothing is certain to be wrong.
    """
    certain = changed(answer, rng)
    if certain is not None:
        return certain
    right = {one.answer.lower() for one in said if one.here and one.question == question}
    right.add(answer.lower())
    fitting = [
        (one.here, opening(one.question) == opening(question), one.answer)
        for one in said
        if one.answer.lower() not in right
        and is_plain(one.answer)
        and is_color(one.answer) == is_color(answer)
    ]
    swap = swapped(answer, rng)
    if swap is not None and swap.lower() not in right and (not fitting or rng.random() < 0.5):
        return swap
    # The hardest mistake: what was said of this image to a question that opens alike.
    best = max((found[:2] for found in fitting), default=None)
    if best is not None and rng.random() < 0.5:
        fitting = [found for found in fitting if found[:2] == best]
    alike = [found for found in fitting if found[1]] or fitting
    answers = sorted({a for _, _, a in alike})
    return rng.choice(answers) if answers else None


def opening(question: str) -> str:
    """The first two words, which tell what sort of answer is wanted.

    >>> opening("What color is it?")
    'what color'
    """
    return " ".join(question.lower().split()[:2])


def _in_case(word: str, like: str) -> str:
    return word.capitalize() if like[:1].isupper() else word
