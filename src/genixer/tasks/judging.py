"""The judge's voice: question and answer are shown together, and the model says Yes or No."""

from __future__ import annotations

from genixer.data import Sample, Turn
from genixer.tasks.base import Canvas
from genixer.tasks.grammar import ANSWER, QUESTION, write_turn
from genixer.tasks.shape import LETTERS, options, stem

__all__ = ["JUDGE_OPTIONS", "judge_prompt"]

JUDGE_OPTIONS = ("Yes", "No")
"""What a judge may say; p(right) = p(Yes) / (p(Yes) + p(No))."""


def judge_prompt(sample: Sample, canvas: Canvas) -> str:
    """Question and answer of `sample`, and the request to judge them.

    An option's text stands for its letter. Raises `CannotEncodeError` for text that cannot be
    carried.

    >>> from genixer.data import ImageRef, Origin
    >>> turns = Turn("user", "Is it new?"), Turn("assistant", "yes")
    >>> cat = ImageRef("cat.png", 1, 1, "")
    >>> print(judge_prompt(Sample.of("common_vqa", cat, turns, Origin("x")), Canvas()))
    Question: Is it new? Answer: yes
    Is the answer right?
    """
    pairs = zip(sample.turns[::2], sample.turns[1::2], strict=True)
    shown = [_pair(sample.task, question, answer, canvas) for question, answer in pairs]
    last = "Is the answer right?" if len(shown) == 1 else "Are all answers right?"
    return "\n".join([*shown, last])


def _pair(task: str, question: Turn, answer: Turn, canvas: Canvas) -> str:
    asked, said = write_turn(question, canvas), write_turn(answer, canvas)
    if task == "mc_vqa" and said in LETTERS[: len(options(asked))]:
        asked, said = stem(asked), options(asked)[LETTERS.index(said)]
    return f"{QUESTION} {asked} {ANSWER} {said}"
