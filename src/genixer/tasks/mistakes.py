"""Mistakes in words: the smallest changes that make an answer false."""

from __future__ import annotations

import random
import re

__all__ = ["changed", "is_color", "is_plain", "miscounted", "opposite", "swapped"]

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


def _in_case(word: str, like: str) -> str:
    return word.capitalize() if like[:1].isupper() else word
