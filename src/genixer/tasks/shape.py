"""What a conversation looks like, apart from what it was called: which task its form belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence

from genixer.data import Turn

__all__ = ["LETTERS", "is_existence", "options", "shape", "stem"]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_EXISTENCE = (
    *("Is there ", "Are there ", "Can you see ", "Do you see ", "Does the image show "),
    *("Does the image have ", "Does the image contain "),
)
_OPTION = re.compile(r"([A-Z])\. (\S|\S.*\S)")


def options(question: str) -> tuple[str, ...]:
    r"""Texts of the options that end a multiple-choice question, by letter; none if it has none.

    >>> options("What is it?\nA. cat\nB. old dog")
    ('cat', 'old dog')
    >>> options("What is it?\nB. cat")
    ()
    """
    return tuple(text for _, text in _tail(question))


def stem(question: str) -> str:
    r"""A multiple-choice question without its options.

    >>> stem("What is it?\nA. cat\nB. dog")
    'What is it?'
    """
    found = len(_tail(question))
    return "\n".join(question.split("\n")[:-found]) if found else question


def _tail(question: str) -> list[tuple[str, str]]:
    """(letter, text) of the last lines that count up from A: at least two, after other words."""
    found: list[tuple[str, str]] = []
    before = question.split("\n")
    while before:
        match = _OPTION.fullmatch(before.pop())
        if match is None:
            return []
        found.insert(0, (match[1], match[2]))
        if match[1] == "A":
            break
    letters = "".join(letter for letter, _ in found)
    if len(found) < 2 or not LETTERS.startswith(letters) or not "\n".join(before).strip():
        return []
    return found


def is_existence(question: str, answer: str) -> bool:
    """Whether the pair asks if something is there and says yes or no.

    >>> is_existence("Is there a dog in the image?", "no")
    True
    """
    return question.startswith(_EXISTENCE) and answer in ("yes", "no")


def shape(turns: Sequence[Turn]) -> str:
    """Name of the task whose form well-formed `turns` have.

    >>> shape([Turn("user", "Is there a dog?"), Turn("assistant", "no")])
    'adv_vqa'
    """
    if len(turns) > 2:
        return "md"
    question, answer = turns
    if options(question.text):
        return "mc_vqa"
    if answer.boxes:
        return "rec" if answer.text == "<box>" else "dense_caption"
    if question.boxes:
        return "reg"
    return "adv_vqa" if is_existence(question.text, answer.text) else "common_vqa"
