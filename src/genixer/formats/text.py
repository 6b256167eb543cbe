"""Coordinates written out in brackets, for formats whose turns are plain text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import Field

from genixer.data import ImageRef, Role, Turn
from genixer.errors import CannotEncodeError
from genixer.formats.conversation import ConversationSettings
from genixer.formats.grid import Grid
from genixer.formats.tally import Tally
from genixer.frames import Frame
from genixer.store.entries import EntryError
from genixer.tasks.base import Canvas
from genixer.tasks.grammar import (
    IMAGE_MARK,
    UnreadableError,
    read_turn,
    read_words,
    write_turn,
    write_words,
)

__all__ = ["TextSettings", "marked", "read_texts", "unmarked", "write_texts"]

# What trainers that count media in the text take for one, beside `<image>`.
_MEDIA = ("<video>", "<audio>")
_LIST = re.compile(r"\[[0-9]+(?:\.[0-9]+)?(?:, ?[0-9]+(?:\.[0-9]+)?)+\]")
_LINE_BEFORE, _LINE_AFTER = f"{IMAGE_MARK}\n", f"\n{IMAGE_MARK}"


class TextSettings(ConversationSettings):
    """How coordinates stand in the text, which does not say so itself."""

    frame: Frame = "unit"
    """Frame of the coordinates."""
    decimals: int = Field(3, ge=0, le=6)
    """Decimals of a coordinate; 0 for the whole numbers of `per_999`, `per_1000`, `loc_1024`."""
    python_lists: bool = False
    """Reading: whether brackets may stand as Python prints a list, `[0.28, 0.34, 0.4, 0.71]`, with
    spaces and without last zeros."""


def write_texts(
    turns: Sequence[Turn], image: ImageRef | None, at: TextSettings, tally: Tally
) -> list[str]:
    """Words of `turns` with coordinates written out; raises `CannotEncodeError`."""
    if image is None:
        return [write_words(turn) for turn in turns]
    texts = []
    for turn in turns:
        if "<" not in turn.text and "[" not in turn.text:  # neither marks nor brackets: most turns
            texts.append(turn.text)
            continue
        texts.append(write_turn(turn, Canvas(at.frame, at.decimals, image.width, image.height)))
        grid = Grid.of(at.frame, at.decimals, image.width, image.height)
        for box in turn.boxes:
            grid.box(box, tally)
        for point in turn.points:
            grid.point(point, tally)
    return texts


def read_texts(texts: Sequence[str], image: ImageRef | None, at: TextSettings) -> tuple[Turn, ...]:
    """Turns that texts spell, the user's and the assistant's in turn; raises `EntryError`."""
    # A loop over most rows' two plain texts: on the path of every row read.
    role: Role = "assistant"
    turns = []
    for text in texts:
        role = "user" if role == "assistant" else "assistant"
        if "<" in text or "[" in text:
            turns.append(_read(role, text, image, at))
        else:
            turns.append(Turn(role, text))
    return tuple(turns)


def _read(role: Role, text: str, image: ImageRef | None, at: TextSettings) -> Turn:
    try:
        if image is None:
            return read_words(role, text)
        if at.python_lists:
            text = _LIST.sub(lambda found: _as_ours(found[0], at.decimals), text)
        return read_turn(role, text, Canvas(at.frame, at.decimals, image.width, image.height))
    except UnreadableError as error:
        raise EntryError(error.reason, error.detail[:200]) from error


def _as_ours(bracket: str, decimals: int) -> str:
    """A list as Python prints it in the spelling of our brackets; whole numbers stay whole.

    >>> _as_ours("[0.28, 0.34, 0.4, 0.71]", 2), _as_ours("[1, 20]", 2)
    ('[0.28,0.34,0.40,0.71]', '[1,20]')
    """
    wholes = [number.strip().partition(".") for number in bracket[1:-1].split(",")]
    numbers = [f"{n}.{part:0<{decimals}}" if dot else n for n, dot, part in wholes]
    return f"[{','.join(numbers)}]"


def refuse_media(texts: Sequence[str]) -> None:
    """Raise `CannotEncodeError` for words that a trainer would take for a video or sound."""
    for text in texts:
        if any(sign in text for sign in _MEDIA):
            raise CannotEncodeError("media_mark", text)


def marked(text: str, line: bool, image: bool = True) -> str:
    r"""First user turn with the mark of its picture before it, on a line of its own if `line`.

    Without an `image` it stays as it is.

    >>> marked("What?", line=True), marked("What?", line=False), marked("\nWhat?", line=False)
    ('<image>\nWhat?', '<image>What?', '<image>\n\nWhat?')
    """
    if not image:
        return text
    return f"{IMAGE_MARK}\n{text}" if line or text.startswith("\n") else IMAGE_MARK + text


def unmarked(text: str, image: bool = True) -> str:
    r"""First user turn without the mark of its picture, which stands at its start or its end.

    Raises `EntryError` (`no_image`) for a mark where the row has no `image`.

    >>> unmarked("<image>\nWhat?"), unmarked("What?\n<image>"), unmarked("<image>What?")
    ('What?', 'What?', 'What?')
    """
    if not image:
        if IMAGE_MARK in text:
            raise EntryError("no_image", "the text has a place for an image, the row names none")
        return text
    if text.startswith(_LINE_BEFORE):
        return text[len(_LINE_BEFORE) :]
    if text.endswith(_LINE_AFTER):
        return text[: -len(_LINE_AFTER)]
    return text.removeprefix(IMAGE_MARK)
