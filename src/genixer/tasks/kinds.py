"""Kinds of question within a task: what a generator can be asked for by name, and how to tell them.

The line that asks for a kind is in `templates/kinds/TASK.txt`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from genixer.data import Turn
from genixer.tasks.instructions import lines
from genixer.tasks.shape import place_count

__all__ = ["KINDS", "is_of_kind", "kind_line"]

_NUMBER = re.compile(
    r"(?:[0-9]+|no|none|one|two|three|four|five|six|seven|eight|nine|ten)\.?", re.IGNORECASE
)
_YES_NO = re.compile(r"(?:yes|no)\.?", re.IGNORECASE)
_COLOR = re.compile(r"\bcolou?rs?\b", re.IGNORECASE)

Test = Callable[[Turn, Turn], bool]


def _yes_no(question: Turn, answer: Turn) -> bool:
    return bool(_YES_NO.fullmatch(answer.text)) and not _counts(question)


def _number(question: Turn, answer: Turn) -> bool:
    return _counts(question) and bool(_NUMBER.fullmatch(answer.text))


def _counts(question: Turn) -> bool:
    return "how many" in question.text.lower()


def _color(question: Turn, answer: Turn) -> bool:
    return bool(_COLOR.search(question.text)) and not _YES_NO.fullmatch(answer.text)


def _open(_: Turn, answer: Turn) -> bool:
    return not (_YES_NO.fullmatch(answer.text) or _NUMBER.fullmatch(answer.text))


def _local(places: str) -> Test:
    return lambda question, answer: not place_count(answer) and len(getattr(question, places)) == 1


KINDS: Mapping[str, Mapping[str, Test]] = {
    "common_vqa": {"yes_no": _yes_no, "number": _number, "color": _color, "open": _open},
    "adv_vqa": {
        "present": lambda _, answer: answer.text == "yes",
        "absent": lambda _, answer: answer.text == "no",
    },
    "point_qa": {
        "box": _local("boxes"),
        "point": _local("points"),
        "candidates": lambda _, answer: place_count(answer) == 1,
    },
}
"""Kinds by task, each with what tells a pair of that kind."""


def is_of_kind(task: str, kind: str, turns: Sequence[Turn]) -> bool:
    """Whether a conversation of `task`, one question and its answer, is of `kind`.

    >>> is_of_kind("adv_vqa", "absent", (Turn("user", "Is there a dog?"), Turn("assistant", "no")))
    True
    """
    return len(turns) == 2 and KINDS[task][kind](turns[0], turns[1])


@cache
def kind_line(task: str, kind: str) -> str:
    """The line that asks a generator for `kind`.

    >>> kind_line("common_vqa", "yes_no")
    'The answer is yes or no.'
    """
    named = (line.partition(": ") for line in lines(f"kinds/{task}"))
    return next(words for name, _, words in named if name == kind)
