"""Every object with its box: the helper task that teaches a model to read an image cell by cell."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

from genixer.data import Mode, Turn
from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.grammar import decode_pairs, encode_pairs
from genixer.tasks.instructions import ask
from genixer.tasks.shape import caption_names, options

__all__ = ["DenseCaption"]


def _rule(turns: Sequence[Turn]) -> str:
    if len(turns) > 2 or options(turns[0].text):
        return "wrong_task"
    question, answer = turns
    if question.points or answer.points:
        return "points_not_supported"
    if question.boxes:
        return "box_in_question"
    if not answer.boxes:
        return "no_box"
    if answer.groups:
        return "several_boxes"
    return "" if caption_names(answer) else "not_a_list"


class DenseCaption:
    """A request to list the objects, answered `name [box], name [box]`; not a task of the paper."""

    name: ClassVar[str] = "dense_caption"
    grounding: ClassVar[bool] = True

    def ask(self, rng: random.Random, mode: Mode) -> str:
        """Instruction to a generator."""
        return ask(self.name, rng, mode)

    def encode(self, turns: Sequence[Turn], canvas: Canvas) -> str:
        """`Question: List all objects. Answer: red book [0.12,0.34,0.56,0.78], apple [...]`."""
        return encode_pairs(turns, canvas, _rule)

    def decode(self, text: str, canvas: Canvas) -> tuple[Turn, ...] | ParseError:
        """Turns that `text` spells, or why not."""
        return decode_pairs(text, canvas, _rule)
