"""Words to a region (REC) and a region to words (REG)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

from genixer.data import Mode, Turn
from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.grammar import decode_pairs, encode_pairs
from genixer.tasks.instructions import ask
from genixer.tasks.shape import options

__all__ = ["Rec", "Reg"]


def _comprehension(turns: Sequence[Turn]) -> str:
    if len(turns) > 2 or options(turns[0].text):
        return "wrong_task"
    question, answer = turns
    if question.points or answer.points:
        return "points_not_supported"
    if question.boxes:
        return "box_in_question"
    if not answer.boxes:
        return "bad_box" if answer.text.startswith("[") else "no_box"
    if len(answer.boxes) > 1:
        return "several_boxes"
    return "" if answer.text == "<box>" else "extra_text"


def _generation(turns: Sequence[Turn]) -> str:
    if len(turns) > 2 or options(turns[0].text):
        return "wrong_task"
    question, answer = turns
    if question.points or answer.points:
        return "points_not_supported"
    if answer.boxes:
        return "box_in_answer"
    if not question.boxes:
        return "no_box"
    return "several_boxes" if len(question.boxes) > 1 else ""


class Rec:
    """Referring expression comprehension: an expression in the question, its box as the answer."""

    name: ClassVar[str] = "rec"
    grounding: ClassVar[bool] = True

    def ask(self, rng: random.Random, mode: Mode) -> str:
        """Instruction to a generator."""
        return ask(self.name, rng, mode)

    def encode(self, turns: Sequence[Turn], canvas: Canvas) -> str:
        """`Question: Where is the red book? Answer: [0.12,0.34,0.56,0.78]`."""
        return encode_pairs(turns, canvas, _comprehension)

    def decode(self, text: str, canvas: Canvas) -> tuple[Turn, ...] | ParseError:
        """Turns that `text` spells, or why not."""
        return decode_pairs(text, canvas, _comprehension)


class Reg:
    """Referring expression generation: a box in the question, an expression as the answer."""

    name: ClassVar[str] = "reg"
    grounding: ClassVar[bool] = True

    def ask(self, rng: random.Random, mode: Mode) -> str:
        """Instruction to a generator."""
        return ask(self.name, rng, mode)

    def encode(self, turns: Sequence[Turn], canvas: Canvas) -> str:
        """`Question: What is at [0.12,0.34,0.56,0.78]? Answer: red book`."""
        return encode_pairs(turns, canvas, _generation)

    def decode(self, text: str, canvas: Canvas) -> tuple[Turn, ...] | ParseError:
        """Turns that `text` spells, or why not."""
        return decode_pairs(text, canvas, _generation)
