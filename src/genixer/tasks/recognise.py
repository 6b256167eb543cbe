"""Tells the task of a text from its form, for generators that were not told one."""

from __future__ import annotations

from genixer.data import Turn
from genixer.tasks import load_task
from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.grammar import UnreadableError, read_turns
from genixer.tasks.shape import shape

__all__ = ["recognise"]


def recognise(text: str, canvas: Canvas) -> tuple[str, tuple[Turn, ...]] | ParseError:
    """Name of the task that `text` is of, and its turns, or why it is of none.

    Several pairs are a dialogue, with places a referential one; options are a multiple choice; an
    answer that is a box is REC, one of several boxes in the question PointQA; a box in the question
    is REG, or PointQA as a point is; words with boxes are Q->C^Box A when they say what the answer
    is, else a referential dialogue; an existence question answered yes or no is adversarial VQA,
    anything else common VQA.

    >>> recognise("Question: Where is the cat? Answer: [0.1,0.2,0.3,0.4]", Canvas("unit", 1))[0]
    'rec'
    """
    try:
        name = shape(read_turns(text, canvas))
    except UnreadableError as error:
        return ParseError(error.reason, error.detail)
    if name == "dense_caption":
        return ParseError("extra_text", f"words beside the box of an answer: {text}")
    turns = load_task(name).decode(text, canvas)
    return turns if isinstance(turns, ParseError) else (name, turns)
