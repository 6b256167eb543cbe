"""Turns of the question layouts: a question with its answer, or with lettered options."""

from __future__ import annotations

from collections.abc import Sequence

from genixer.data import Turn
from genixer.store.entries import EntryError, clean
from genixer.tasks.shape import LETTERS

__all__ = ["answered", "lettered"]


def answered(question: str, answer: str) -> tuple[Turn, Turn]:
    """Question and answer; raises `EntryError` (`empty_text`) when one of them says nothing."""
    return Turn("user", clean(question)), Turn("assistant", clean(answer))


def lettered(question: str, choices: Sequence[str], correct: int) -> tuple[Turn, Turn]:
    r"""Question with a line for each choice, in their order, and the letter of the right one.

    Breaks inside a choice become spaces. Raises `EntryError` (`bad_choices`, `empty_text`).

    >>> [turn.text for turn in lettered("What is it?", ["cat", "a\ndog"], 1)]
    ['What is it?\nA. cat\nB. a dog', 'B']
    """
    options = [clean(" ".join(choice.split())) for choice in choices]
    if not 2 <= len(options) <= len(LETTERS):
        raise EntryError("bad_choices", f"{len(options)} choices")
    if not 0 <= correct < len(options):
        raise EntryError(
            "bad_choices", f"choice {correct} of {len(options)} is the right one"[:200]
        )
    lines = [f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False)]
    question = "\n".join([clean(question), *lines])
    return Turn("user", question), Turn("assistant", LETTERS[correct])
