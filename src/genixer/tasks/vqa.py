"""Questions about the image as a whole: open, about existence, and with options."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

from genixer.data import Mode, Turn
from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.grammar import decode_pairs, encode_pairs
from genixer.tasks.instructions import ask
from genixer.tasks.shape import LETTERS, is_existence, options, shape

__all__ = ["AdvVqa", "CommonVqa", "McVqa"]


def _common(turns: Sequence[Turn]) -> str:
    if any(turn.boxes or turn.points for turn in turns):
        return "boxes_not_supported"
    return "" if shape(turns) in ("common_vqa", "adv_vqa") else "wrong_task"


def _adversarial(turns: Sequence[Turn]) -> str:
    reason = _common(turns)
    if reason:
        return reason
    question, answer = turns
    if answer.text not in ("yes", "no"):
        return "not_yes_no"
    return "" if is_existence(question.text, answer.text) else "not_existence"


def _choice(turns: Sequence[Turn]) -> str:
    if any(turn.boxes or turn.points for turn in turns):
        return "boxes_not_supported"
    if len(turns) > 2:
        return "wrong_task"
    question, answer = turns
    texts = options(question.text)
    if not texts:
        return "no_options"
    if len(set(texts)) < len(texts):
        return "duplicate_option"
    return "" if answer.text in tuple(LETTERS[: len(texts)]) else "answer_not_a_letter"


class CommonVqa:
    """An open question and its answer, as in VQAv2."""

    name: ClassVar[str] = "common_vqa"
    grounding: ClassVar[bool] = False

    def ask(self, rng: random.Random, mode: Mode) -> str:
        """Instruction to a generator."""
        return ask(self.name, rng, mode)

    def encode(self, turns: Sequence[Turn], canvas: Canvas) -> str:
        """`Question: What is it? Answer: cat`."""
        return encode_pairs(turns, canvas, _common)

    def decode(self, text: str, canvas: Canvas) -> tuple[Turn, ...] | ParseError:
        """Turns that `text` spells, or why not."""
        return decode_pairs(text, canvas, _common)


class AdvVqa:
    """Whether something is there, answered yes or no, as in POPE."""

    name: ClassVar[str] = "adv_vqa"
    grounding: ClassVar[bool] = False

    def ask(self, rng: random.Random, mode: Mode) -> str:
        """Instruction to a generator."""
        return ask(self.name, rng, mode)

    def encode(self, turns: Sequence[Turn], canvas: Canvas) -> str:
        """`Question: Is there a dog in the image? Answer: no`."""
        return encode_pairs(turns, canvas, _adversarial)

    def decode(self, text: str, canvas: Canvas) -> tuple[Turn, ...] | ParseError:
        """Turns that `text` spells, or why not."""
        return decode_pairs(text, canvas, _adversarial)


class McVqa:
    """A question with lettered options and the letter of the right one, as in A-OKVQA."""

    name: ClassVar[str] = "mc_vqa"
    grounding: ClassVar[bool] = False

    def ask(self, rng: random.Random, mode: Mode) -> str:
        """Instruction to a generator."""
        return ask(self.name, rng, mode)

    def encode(self, turns: Sequence[Turn], canvas: Canvas) -> str:
        """`Question: What is it?`, a line for each option (`A. cat`), then ` Answer: A`."""
        return encode_pairs(turns, canvas, _choice)

    def decode(self, text: str, canvas: Canvas) -> tuple[Turn, ...] | ParseError:
        """Turns that `text` spells, or why not."""
        return decode_pairs(text, canvas, _choice)
