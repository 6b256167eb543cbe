"""Which words of a conversation go with which box."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from genixer.data import Box, Sample, Turn, split_marks
from genixer.tasks.instructions import lines

__all__ = ["Region", "expression_in", "regions_of"]


class Region(NamedTuple):
    """A box and the words that are said of it."""

    box: Box
    text: str


def regions_of(sample: Sample) -> list[Region]:
    """Every box of `sample` with its words; none for conversations without boxes.

    A box in a question goes with the answer (REG). A box in an answer goes with the words before
    it ("red book <box>, cat <box>"), and where there are none, with the expression in the
    question (REC). Boxes of one phrase share its words.

    >>> from genixer.data import ImageRef, Origin
    >>> one = Box(0.1, 0.1, 0.5, 0.5)
    >>> turns = Turn("user", "Where is the red book?"), Turn("assistant", "<box>", (one,))
    >>> regions_of(Sample.of("rec", ImageRef("a", 1, 1, ""), turns, Origin("x")))[0].text
    'the red book'
    """
    found: list[Region] = []
    for question, answer in pairwise(sample.turns):
        if question.role != "user" or answer.role != "assistant":
            continue
        found += [Region(box, answer.text) for box in question.boxes]
        found += _in_answer(question, answer)
    return found


def _in_answer(question: Turn, answer: Turn) -> list[Region]:
    pieces, kinds = split_marks(answer.text)
    before = [piece for piece, kind in zip(pieces, kinds, strict=False) if kind == "box"]
    text = expression_in(question.text) if answer.boxes else ""
    found = []
    for box, piece in zip(answer.boxes, before, strict=True):
        text = piece.strip(" ,;.:") or text
        found.append(Region(box, text))
    return found


@cache
def _forms() -> tuple[re.Pattern[str], ...]:
    """The question forms of REC, those with the most words of their own first."""
    forms = sorted(lines("rec_questions"), key=len, reverse=True)
    return tuple(
        re.compile("(.+)".join(re.escape(part) for part in form.split("{expression}")), re.I)
        for form in forms
    )


def expression_in(question: str) -> str:
    """The words of a REC question that name the object; the whole question in an unknown form.

    >>> expression_in("Where is the red book in the image?")
    'the red book'
    >>> expression_in("Say, the dog?")
    'Say, the dog?'
    """
    matches = (form.fullmatch(question.strip()) for form in _forms())
    return next((match[1] for match in matches if match), question)
