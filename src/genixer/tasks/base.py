"""What a task is: a codec between a conversation about an image and the text of a model.

A task speaks in three voices, one for each purpose a row can serve:

* generator: the user's words are an instruction (`ask`), the assistant's the whole conversation
(`encode`);
* student: the user asks the question, the assistant answers it (`question_text`, `answer_text`);
* judge: question and answer are shown together and the assistant says Yes or No
(`genixer.tasks.judging`).

The law, for every task: `decode(encode(turns, c), c) == turns` for coordinates on the codec's grid;
off the grid they come back within half a step; text the codec cannot carry raises
`CannotEncodeError`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar, Literal, Protocol, runtime_checkable

import msgspec

from genixer.data import Mode, Turn
from genixer.frames import Frame

__all__ = ["Canvas", "ParseError", "Purpose", "Task"]

Purpose = Literal["generator", "student", "judge"]


class Canvas(msgspec.Struct, frozen=True):
    """What coordinates in text mean.

    Their `frame`, how many `decimals` are printed, the image's `width` and `height` in px.

    >>> Canvas("padded_square", 2, 640, 480).step
    0.01
    """

    frame: Frame = "unit"
    decimals: int = 3
    width: int = 1
    height: int = 1

    @property
    def step(self) -> float:
        """Distance between two printable coordinates, in the frame's own unit."""
        return round(10.0**-self.decimals, 12)


class ParseError(msgspec.Struct, frozen=True):
    """Why a text is not a conversation of this task.

    A snake_case `reason` that is counted, and `detail` for people.
    """

    reason: str
    detail: str = ""


@runtime_checkable
class Task(Protocol):
    """Codec of one task. Implementations are stateless and hold no random source of their own."""

    name: ClassVar[str]
    grounding: ClassVar[bool]
    """Whether its conversations carry boxes or points."""

    def ask(self, rng: random.Random, mode: Mode) -> str:
        """Instruction to a generator.

        It is a general line, and in mode `specific` the task's line after a newline.
        """
        ...

    def encode(self, turns: Sequence[Turn], canvas: Canvas) -> str:
        """Text a generator should write for `turns`.

        Raises `CannotEncodeError` for what it cannot carry.
        """
        ...

    def decode(self, text: str, canvas: Canvas) -> tuple[Turn, ...] | ParseError:
        """Turns that `text` spells, or why not. Never repairs."""
        ...
