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

    A box in a question goes with the answer (REG), in a chain of thought or referential dialogue
    with the words before it. A box in an answer goes with the words before it ("red book <box>, cat
    <box>"), and where there are none, with the expression in the question (REC). Boxes of one
    phrase share its words. PointQA names none: its words are about a part or a deed of the thing.

    >>> from genixer.data import ImageRef, Origin
    >>> one = Box(0.1, 0.1, 0.5, 0.5)
    >>> turns = Turn("user", "Where is the red book?"), Turn("assistant", "<box>", (one,))
    >>> regions_of(Sample.of("rec", ImageRef("a", 1, 1, ""), turns, Origin("x")))[0].text
    'the red book'
    """
    found: list[Region] = []
    if sample.task == "point_qa":
        return found
    for question, answer in pairwise(sample.turns):
        if question.role != "user" or answer.role != "assistant":
            continue
        if sample.task in ("qcboxa", "rd"):
            found += _by_words_before(question, "")
        else:
            found += [Region(box, answer.text) for box in question.boxes]
        found += _by_words_before(answer, expression_in(question.text) if answer.boxes else "")
    return found


def _by_words_before(turn: Turn, text: str) -> list[Region]:
    """Boxes of `turn`, each with the words before it; `text` for the first if it has none.

    A box that is left without words is left out.
    """
    pieces, kinds = split_marks(turn.text)
    before = [piece for piece, kind in zip(pieces, kinds, strict=False) if kind == "box"]
    found = []
    for box, piece in zip(turn.boxes, before, strict=True):
        text = piece.strip(" ,;.:") or text
        if text:
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
