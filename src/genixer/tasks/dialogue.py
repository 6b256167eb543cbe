"""A conversation of several questions about one image."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

from genixer.data import Mode, Turn
from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.grammar import decode_pairs, encode_pairs
from genixer.tasks.instructions import ask

__all__ = ["Dialogue"]


def _rule(turns: Sequence[Turn]) -> str:
    if any(turn.boxes or turn.points for turn in turns):
        return "boxes_not_supported"
    return "" if len(turns) > 2 else "one_pair_only"


class Dialogue:
    """Two or more questions with their answers, as in LLaVA-Instruct."""

    name: ClassVar[str] = "md"
    grounding: ClassVar[bool] = False

    def ask(self, rng: random.Random, mode: Mode) -> str:
        """Instruction to a generator."""
        return ask(self.name, rng, mode)

    def encode(self, turns: Sequence[Turn], canvas: Canvas) -> str:
        """`Question: .. Answer: ..` for each pair, joined by line breaks."""
        return encode_pairs(turns, canvas, _rule)

    def decode(self, text: str, canvas: Canvas) -> tuple[Turn, ...] | ParseError:
        """Turns that `text` spells, or why not."""
        return decode_pairs(text, canvas, _rule)
