"""The judge's voice: question and answer are shown together, and the model says Yes or No."""

from __future__ import annotations

from genixer.data import Sample, Turn
from genixer.errors import CannotEncodeError
from genixer.tasks.base import Canvas
from genixer.tasks.grammar import ANSWER, QUESTION, write_turn
from genixer.tasks.shape import LETTERS, are_pairs, options, stem

__all__ = ["JUDGE_OPTIONS", "judge_prompts"]

JUDGE_OPTIONS = ("Yes", "No")
"""What a judge may say; p(right) = p(Yes) / (p(Yes) + p(No))."""


def judge_prompts(sample: Sample, canvas: Canvas) -> list[str]:
    """For each answer of `sample`: the dialogue up to it, and the request to judge that answer.

    An option's text stands for its letter. Raises `CannotEncodeError` for text that cannot be
    carried and for turns that are no pairs.

    >>> from genixer.data import ImageRef, Origin
    >>> turns = Turn("user", "Is it new?"), Turn("assistant", "yes")
    >>> cat = ImageRef("cat.png", 1, 1, "")
    >>> print(judge_prompts(Sample.of("common_vqa", cat, turns, Origin("x")), Canvas())[0])
    Question: Is it new? Answer: yes
    Is the answer right?
    """
    if not are_pairs(sample.turns):
        raise CannotEncodeError("not_pairs", f"{len(sample.turns)} turns do not alternate")
    pairs = zip(sample.turns[::2], sample.turns[1::2], strict=True)
    shown = [_pair(sample.task, question, answer, canvas) for question, answer in pairs]
    asked = ["Is the answer right?", *["Is the last answer right?"] * (len(shown) - 1)]
    return ["\n".join([*shown[: at + 1], line]) for at, line in enumerate(asked)]


def _pair(task: str, question: Turn, answer: Turn, canvas: Canvas) -> str:
    asked, said = write_turn(question, canvas), write_turn(answer, canvas)
    if task == "mc_vqa" and said in LETTERS[: len(options(asked))]:
        asked, said = stem(asked), options(asked)[LETTERS.index(said)]
    return f"{QUESTION} {asked} {ANSWER} {said}"
