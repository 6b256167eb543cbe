"""The student's voice: the user asks, the assistant answers, coordinates written out."""

from __future__ import annotations

from collections.abc import Sequence

from genixer.data import Box, Message, Turn
from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.grammar import UnreadableError, read_turn, write_turn, write_words

__all__ = ["SHORT_ANSWER_TASKS", "answer_text", "messages", "question_text", "read_answer"]

SHORT_ANSWER_TASKS = ("common_vqa", "adv_vqa")
"""Tasks whose question may be followed by a line that asks for a short answer."""


def messages(turns: Sequence[Turn], canvas: Canvas | None, line: str = "") -> tuple[Message, ...]:
    """Every turn as finished text; `line` is added to each question on a line of its own.

    Without a `canvas` they are words that no image belongs to. Raises `CannotEncodeError` for text
    that cannot be carried.

    >>> turns = Turn("user", "Where is it?"), Turn("assistant", "<box>", (Box(0.0, 0.0, 0.5, 1.0),))
    >>> messages(turns, Canvas("unit", 1))[1].text
    '[0.0,0.0,0.5,1.0]'
    """
    return tuple(
        Message(turn.role, _asked(turn, canvas, line if turn.role == "user" else ""))
        for turn in turns
    )


def question_text(turns: Sequence[Turn], canvas: Canvas, line: str = "") -> str:
    r"""What the first user turn asks, as a model reads it; `line` follows on a line of its own.

    >>> question_text([Turn("user", "What is it?")], Canvas(), "Answer in one word.")
    'What is it?\nAnswer in one word.'
    """
    return _asked(next(turn for turn in turns if turn.role == "user"), canvas, line)


def answer_text(turns: Sequence[Turn], canvas: Canvas) -> str:
    """What the first assistant turn says, as a model should write it.

    >>> answer_text([Turn("user", "What is it?"), Turn("assistant", "cat")], Canvas())
    'cat'
    """
    return write_turn(next(turn for turn in turns if turn.role == "assistant"), canvas)


def read_answer(task: str, text: str, canvas: Canvas) -> Box | str | ParseError:
    """What a student answered: its box for `rec`, the letter for `mc_vqa`, else the words.

    Outer space is ignored.

    >>> read_answer("rec", "[0.0,0.0,0.5,1.0]", Canvas("unit", 1))
    Box(x0=0.0, y0=0.0, x1=0.5, y1=1.0)
    >>> read_answer("mc_vqa", "B. a dog", Canvas()).reason
    'answer_not_a_letter'
    """
    text = text.strip()
    if not text:
        return ParseError("empty_answer")
    if task == "rec":
        return _read_box(text, canvas)
    if task == "mc_vqa" and not (len(text) == 1 and "A" <= text <= "Z"):
        return ParseError("answer_not_a_letter", text)
    return text


def _read_box(text: str, canvas: Canvas) -> Box | ParseError:
    try:
        turn = read_turn("assistant", text, canvas)
    except UnreadableError as error:
        return ParseError(error.reason, error.detail)
    if not turn.boxes:
        return ParseError("bad_box" if text.startswith("[") else "no_box", text)
    if len(turn.boxes) > 1:
        return ParseError("several_boxes", text)
    return turn.boxes[0] if turn.text == "<box>" else ParseError("extra_text", text)


def _asked(turn: Turn, canvas: Canvas | None, line: str) -> str:
    text = write_words(turn) if canvas is None else write_turn(turn, canvas)
    return f"{text}\n{line}" if line else text
