"""The text of a conversation: `Question: .. Answer: ..` pairs, coordinates in brackets.

How a box or a point is spelled is told in `genixer.tasks.brackets`. Words that could be taken for
any of this are refused, never repaired, so every text has one reading.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from genixer.data import Box, Point, Role, Turn, escape_marks, split_marks
from genixer.errors import CannotEncodeError
from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.brackets import (
    UnreadableError,
    brackets,
    looks_like_box,
    read_bracket,
    snap,
    snap_point,
    write_box,
    write_point,
)
from genixer.tasks.shape import are_pairs

__all__ = [
    "ANSWER",
    "IMAGE_MARK",
    "QUESTION",
    "Place",
    "Rule",
    "UnreadableError",
    "decode_pairs",
    "encode_pairs",
    "join_marks",
    "literal",
    "looks_like_box",
    "put_together",
    "read_turn",
    "read_turns",
    "read_words",
    "snap",
    "snap_point",
    "write_box",
    "write_point",
    "write_turn",
    "write_words",
]

Place: TypeAlias = "tuple[Box, ...] | Point"
"""What stands between two pieces of text: the boxes of one phrase, or a point."""

QUESTION = "Question:"
ANSWER = "Answer:"
IMAGE_MARK = "<image>"
"""What most models take for the place of the picture; no text may hold it."""

Rule = Callable[[Sequence[Turn]], str]
"""What one task asks of well-formed turns: why they break it (snake_case), or an empty string."""


def literal(text: str) -> str:
    r"""Words of a turn without marks, escapes undone.

    >>> literal(r"press \<box>")
    'press <box>'
    """
    return "".join(split_marks(text)[0])


def join_marks(pieces: Sequence[str], kinds: Sequence[str]) -> str:
    r"""Turn text from literal pieces and the kinds of marks between them; inverse of `split_marks`.

    >>> join_marks(["the cat ", " sees <box>"], ["box"])
    'the cat <box> sees \\<box>'
    """
    parts = []
    for piece, kind in zip(pieces[:-1], kinds, strict=True):
        slashes = len(piece) - len(piece.rstrip("\\"))
        parts.append(f"{escape_marks(piece)}{chr(92) * slashes}<{kind}>")
    return "".join(parts) + escape_marks(pieces[-1])


def write_turn(turn: Turn, canvas: Canvas) -> str:
    """Words of `turn` with coordinates written out.

    Raises `CannotEncodeError` for what would be ambiguous.

    >>> write_turn(Turn("user", "What is at <box>?", (Box(0.0, 0.0, 0.5, 1.0),)), Canvas("unit", 1))
    'What is at [0.0,0.0,0.5,1.0]?'
    """
    pieces, kinds = split_marks(turn.text)
    for piece in pieces:
        if looks_like_box(piece):
            raise CannotEncodeError("box_look_alike", piece)
    if turn.groups and max(turn.groups) == 1:
        raise CannotEncodeError("needless_groups", "groups of one box each are written without")
    boxes, points, sizes = iter(turn.boxes), iter(turn.points), iter(turn.groups)
    text, at = pieces[0], 0
    while at < len(kinds):
        if kinds[at] == "point":
            bracket, marks = write_point(next(points), canvas), 1
        else:
            # Marks of one group touch, so all but the first of their pieces are empty.
            marks = next(sizes, 1)
            if any(pieces[at + 1 : at + marks]) or "point" in kinds[at : at + marks]:
                raise CannotEncodeError("group_not_adjacent", turn.text)
            bracket = write_box([next(boxes) for _ in range(marks)], canvas)
        at += marks
        text += bracket + pieces[at]
    reason = _unfit(text)
    if reason:
        raise CannotEncodeError(reason, text)
    return text


def write_words(turn: Turn) -> str:
    r"""Words of a `turn` that no image belongs to: without coordinates, brackets are words, too.

    Raises `CannotEncodeError` for what no turn may hold.

    >>> write_words(Turn("user", r"Is [0.1,0.2] a list, \<box> a mark?"))
    'Is [0.1,0.2] a list, <box> a mark?'
    """
    text = literal(turn.text)
    reason = _unfit(text)
    if reason:
        raise CannotEncodeError(reason, text)
    return text


def read_words(role: Role, text: str) -> Turn:
    """Turn that `text` spells where there is no image; the inverse of `write_words`.

    Raises `UnreadableError`.
    """
    reason = _unfit(text)
    if reason:
        raise UnreadableError(reason, text)
    return Turn(role, escape_marks(text))


def _unfit(text: str) -> str:
    """Why no turn may hold `text`, whatever the task; an empty string if one may."""
    if IMAGE_MARK in text:
        return "image_mark"
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half of a pair of surrogates: a str can hold it, no file in UTF-8 can.
        return "lone_surrogate"
    return ""


def read_turn(role: Role, text: str, canvas: Canvas) -> Turn:
    """Turn that `text` spells; the inverse of `write_turn`. Raises `UnreadableError`.

    >>> read_turn("user", "What is at [0.0,0.0,0.5,1.0]?", Canvas("unit", 1)).text
    'What is at <box>?'
    """
    reason = _unfit(text)
    if reason:
        raise UnreadableError(reason, text)
    pieces: list[str] = []
    places: list[Place] = []
    start = 0
    for match in brackets(text):
        found = read_bracket(match[0], canvas)
        places.append(found if isinstance(found, Point) else tuple(found))
        pieces.append(text[start : match.start()])
        start = match.end()
    pieces.append(text[start:])
    return put_together(role, pieces, places)


def put_together(role: Role, pieces: Sequence[str], places: Sequence[Place]) -> Turn:
    """Turn of literal pieces and the places between them; each a point or the boxes of one phrase.

    >>> put_together("user", ["at ", "?"], [(Box(0.0, 0.0, 0.5, 1.0),)]).text
    'at <box>?'
    """
    if not places:  # most turns: on the path of every row decoded
        return Turn(role, escape_marks(pieces[0]))
    texts = [pieces[0]]
    kinds: list[str] = []
    boxes: list[Box] = []
    points: list[Point] = []
    sizes: list[int] = []
    for place, piece in zip(places, pieces[1:], strict=True):
        if isinstance(place, Point):
            points.append(place)
            kinds.append("point")
        else:
            boxes += place
            sizes.append(len(place))
            kinds += ["box"] * len(place)
            texts += [""] * (len(place) - 1)
        texts.append(piece)
    groups = tuple(sizes) if any(size > 1 for size in sizes) else ()
    return Turn(role, join_marks(texts, kinds), tuple(boxes), tuple(points), groups)


def encode_pairs(turns: Sequence[Turn], canvas: Canvas, rule: Rule) -> str:
    """`Question: .. Answer: ..` for every pair of turns, a line break between pairs.

    Raises `CannotEncodeError` with the reason when `turns` break `rule` or the grammar.

    >>> cat = Turn("user", "What is it?"), Turn("assistant", "cat")
    >>> encode_pairs(cat, Canvas(), lambda turns: "")
    'Question: What is it? Answer: cat'
    """
    if not are_pairs(turns):
        roles = ", ".join(turn.role for turn in turns)
        raise CannotEncodeError("not_pairs", f"roles are {roles or 'none'}")
    reason = rule(turns)
    if reason:
        raise CannotEncodeError(reason, turns[0].text)
    parts = []
    for turn in turns:
        text = write_turn(turn, canvas)
        reason = _flaw(text, turn.role)
        if reason:
            raise CannotEncodeError(reason, text)
        parts.append(f"{QUESTION if turn.role == 'user' else ANSWER} {text}")
    return "\n".join(f"{one} {two}" for one, two in zip(parts[::2], parts[1::2], strict=True))


def decode_pairs(text: str, canvas: Canvas, rule: Rule) -> tuple[Turn, ...] | ParseError:
    """Turns that `text` spells under `rule`, or why not; the inverse of `encode_pairs`.

    >>> decode_pairs("Question: What is it?", Canvas(), lambda turns: "").reason
    'no_answer'
    """
    try:
        turns = read_turns(text, canvas)
    except UnreadableError as error:
        return ParseError(error.reason, error.detail)
    reason = rule(turns)
    return ParseError(reason, text) if reason else turns


def read_turns(text: str, canvas: Canvas) -> tuple[Turn, ...]:
    """Turns of every pair in `text`, whatever the task; raises `UnreadableError`."""
    turns: list[Turn] = []
    for question, answer in _split(text):
        parts: tuple[tuple[Role, str], ...] = (("user", question), ("assistant", answer))
        for role, part in parts:
            reason = _flaw(part, role)
            if reason:
                raise UnreadableError("extra_text" if reason == "delimiter" else reason, part)
            turns.append(read_turn(role, part, canvas))
    return tuple(turns)


def _split(text: str) -> list[tuple[str, str]]:
    """(question, answer) of each pair, not yet checked."""
    if not text.startswith(f"{QUESTION} "):
        raise UnreadableError("no_question", text)
    pairs = []
    for block in text.removeprefix(f"{QUESTION} ").split(f"\n{QUESTION} "):
        if block.startswith(ANSWER):
            raise UnreadableError("empty_question", text)
        question, found, answer = block.partition(f" {ANSWER} ")
        if not found:
            reason = "empty_answer" if block.endswith(f" {ANSWER}") else "no_answer"
            raise UnreadableError(reason, text)
        pairs.append((question, answer))
    return pairs


def _flaw(text: str, role: Role) -> str:
    """Why `text` cannot stand between the words `Question:` and `Answer:`, or an empty string."""
    if not text.strip():
        return "empty_question" if role == "user" else "empty_answer"
    if text != text.strip():
        return "outer_space"
    return "delimiter" if QUESTION in text or ANSWER in text else ""
