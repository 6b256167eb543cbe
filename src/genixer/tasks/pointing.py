"""PointQA: what is at this point or in this box, and which of these boxes is it?"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

from genixer.data import Box, Mode, Point, Turn
from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.grammar import decode_pairs, encode_pairs
from genixer.tasks.instructions import ask
from genixer.tasks.shape import is_bare, options, place_count

__all__ = ["PointQa", "holds"]


def holds(box: Box, point: Point) -> bool:
    """Whether `point` lies in `box`, its edges included.

    >>> holds(Box(0.1, 0.1, 0.5, 0.5), Point(0.5, 0.2))
    True
    """
    return box.x0 <= point.x <= box.x1 and box.y0 <= point.y <= box.y1


def _rule(turns: Sequence[Turn]) -> str:
    if len(turns) > 2 or options(turns[0].text):
        return "wrong_task"
    question, answer = turns
    if place_count(answer):
        return _choice(question, answer)
    if not place_count(question):
        return "no_place"
    return "several_places" if place_count(question) > 1 else ""


def _choice(question: Turn, answer: Turn) -> str:
    """Flaw of an answer that is one of the places in the question."""
    if answer.text not in ("<box>", "<point>"):
        return "several_places" if is_bare(answer) and place_count(answer) > 1 else "extra_text"
    if place_count(question) < 2:
        return "too_few_candidates"
    if answer.boxes:
        among = answer.boxes[0] in question.boxes
    else:
        point = answer.points[0]
        # Where candidates are boxes, a point in one of them chooses it. Rounding keeps it inside:
        # it never changes the order of two numbers.
        among = point in question.points or any(holds(box, point) for box in question.boxes)
    return "" if among else "answer_not_a_candidate"


class PointQa:
    """A question about one place, or one whose answer is among the places it gives.

    Local: a box or a point in the question, words as the answer. As in Visual7W: several boxes or
    points in the question, one of the boxes (or a point that chooses it) as the answer.
    """

    name: ClassVar[str] = "point_qa"
    grounding: ClassVar[bool] = True

    def ask(self, rng: random.Random, mode: Mode) -> str:
        """Instruction to a generator."""
        return ask(self.name, rng, mode)

    def encode(self, turns: Sequence[Turn], canvas: Canvas) -> str:
        """`Question: What color is this? [0.12,0.34] Answer: red`."""
        return encode_pairs(turns, canvas, _rule)

    def decode(self, text: str, canvas: Canvas) -> tuple[Turn, ...] | ParseError:
        """Turns that `text` spells, or why not."""
        return decode_pairs(text, canvas, _rule)
