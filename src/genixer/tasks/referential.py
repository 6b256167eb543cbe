"""Words and places together: a chain of thought with boxes, and referential dialogue."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

from genixer.data import Mode, Turn
from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.grammar import decode_pairs, encode_pairs
from genixer.tasks.instructions import ask
from genixer.tasks.shape import is_bare, options, place_count, shape

__all__ = ["QCBoxA", "Referential"]


def _reasoned(turns: Sequence[Turn]) -> str:
    if len(turns) > 2 or options(turns[0].text):
        return "wrong_task"
    question, answer = turns
    if question.points or answer.points:
        return "points_not_supported"
    if not answer.boxes:
        return "no_box"
    if is_bare(answer):
        return "no_reasoning"
    return "wrong_task" if shape(turns) == "dense_caption" else ""


def _referential(turns: Sequence[Turn]) -> str:
    if not any(map(place_count, turns)):
        return "no_place"
    if len(turns) > 2:
        return ""
    return "wrong_task" if is_bare(turns[1]) or shape(turns) in _OTHERS else ""


_OTHERS = ("rec", "mc_vqa", "dense_caption")
"""Forms of one pair that a dialogue is never told from."""


class QCBoxA:
    """Q->C^Box A: a question, a chain of thought with boxes, and what the answer is.

    Question and thought name things with their boxes, several of one phrase in one bracket. The
    thought should end in "the answer is ..", which tells it from referential dialogue; data that
    ends in other words is carried all the same.
    """

    name: ClassVar[str] = "qcboxa"
    grounding: ClassVar[bool] = True

    def ask(self, rng: random.Random, mode: Mode) -> str:
        """Instruction to a generator."""
        return ask(self.name, rng, mode)

    def encode(self, turns: Sequence[Turn], canvas: Canvas) -> str:
        """`Question: Is it day? Answer: The lamp [0.12,0.34,0.56,0.78] is on: the answer is no`."""
        return encode_pairs(turns, canvas, _reasoned)

    def decode(self, text: str, canvas: Canvas) -> tuple[Turn, ...] | ParseError:
        """Turns that `text` spells, or why not."""
        return decode_pairs(text, canvas, _reasoned)


class Referential:
    """RD: one or more pairs in which things are named with their places, as in Shikra's data."""

    name: ClassVar[str] = "rd"
    grounding: ClassVar[bool] = True

    def ask(self, rng: random.Random, mode: Mode) -> str:
        """Instruction to a generator."""
        return ask(self.name, rng, mode)

    def encode(self, turns: Sequence[Turn], canvas: Canvas) -> str:
        """`Question: .. [0.1,0.2,0.3,0.4]? Answer: ..` for each pair, joined by line breaks."""
        return encode_pairs(turns, canvas, _referential)

    def decode(self, text: str, canvas: Canvas) -> tuple[Turn, ...] | ParseError:
        """Turns that `text` spells, or why not."""
        return decode_pairs(text, canvas, _referential)
