"""The text of a conversation: `Question: .. Answer: ..` pairs, coordinates in a declared frame.

A box is `[0.12,0.34,0.56,0.78]`: corners in the canvas's frame, all its decimals, commas without
spaces. Boxes of one phrase share a bracket, `[a,b,c,d;e,f,g,h]` (Shikra). Words that could be taken
for any of this are refused, never repaired, so every text has one reading.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from genixer.data import Box, Role, Turn, escape_marks, split_marks
from genixer.errors import CannotEncodeError, DataError
from genixer.frames import box_from_frame, box_to_frame
from genixer.tasks.base import Canvas, ParseError

__all__ = [
    "IMAGE_MARK",
    "Rule",
    "UnreadableError",
    "decode_pairs",
    "encode_pairs",
    "join_marks",
    "literal",
    "looks_like_box",
    "read_turn",
    "read_turns",
    "snap",
    "write_box",
    "write_turn",
]

QUESTION = "Question:"
ANSWER = "Answer:"
IMAGE_MARK = "<image>"
"""What most models take for the place of the picture; no text may hold it."""

Rule = Callable[[Sequence[Turn]], str]
"""What one task asks of well-formed turns: why they break it (snake_case), or an empty string."""

# Two or more numbers in brackets: what a reader takes for a box or a point, well written or not.
_BRACKET = re.compile(r"\[(?=[^\[\]]*[0-9])[-+0-9.eE\s]*[,;][-+0-9.eE,;\s]*\]")


class UnreadableError(DataError):
    """Text that breaks the grammar; `reason` and `detail` become a `ParseError`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        """Keep `reason` for the count and `detail` for people."""
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


def looks_like_box(text: str) -> bool:
    """Whether some part of `text` is numbers in brackets, well written or not.

    >>> looks_like_box("see [0.1, 0.2]"), looks_like_box("see [1]")
    (True, False)
    """
    return _BRACKET.search(text) is not None


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


def write_box(boxes: Sequence[Box], canvas: Canvas) -> str:
    """One bracket for one box, or for the boxes of one phrase.

    >>> write_box([Box(0.0, 0.25, 0.5, 1.0)], Canvas("unit", 2))
    '[0.00,0.25,0.50,1.00]'
    """
    framed = (box_to_frame(box, canvas.frame, canvas.width, canvas.height) for box in boxes)
    corners = (",".join(f"{value:.{canvas.decimals}f}" for value in four) for four in framed)
    return f"[{';'.join(corners)}]"


def snap(box: Box, canvas: Canvas) -> Box:
    """Nearest box that text on this canvas can spell; at most half a step away.

    >>> snap(Box(0.104, 0.2, 0.5, 0.996), Canvas("unit", 2))
    Box(x0=0.1, y0=0.2, x1=0.5, y1=1.0)
    """
    return _read_bracket(write_box([box], canvas), canvas)[0]


def write_turn(turn: Turn, canvas: Canvas) -> str:
    """Words of `turn` with coordinates written out.

    Raises `CannotEncodeError` for what would be ambiguous.

    >>> write_turn(Turn("user", "What is at <box>?", (Box(0.0, 0.0, 0.5, 1.0),)), Canvas("unit", 1))
    'What is at [0.0,0.0,0.5,1.0]?'
    """
    if turn.points:
        raise CannotEncodeError("points_not_supported")
    pieces, kinds = split_marks(turn.text)
    for piece in pieces:
        if looks_like_box(piece):
            raise CannotEncodeError("box_look_alike", piece)
    brackets = [write_box(group, canvas) for group in _groups(turn, pieces)]
    # Marks of one group touch, so all but the first of their pieces are empty and fall away.
    sizes = turn.groups or (1,) * len(kinds)
    text, at = pieces[0], 0
    for bracket, size in zip(brackets, sizes, strict=True):
        at += size
        text += bracket + pieces[at]
    if IMAGE_MARK in text:
        raise CannotEncodeError("image_mark", text)
    return text


def _groups(turn: Turn, pieces: list[str]) -> list[tuple[Box, ...]]:
    """Boxes of `turn`, one tuple a bracket."""
    if not turn.groups:
        return [(box,) for box in turn.boxes]
    if max(turn.groups) == 1:
        raise CannotEncodeError("needless_groups", "groups of one box each are written without")
    found, at = [], 0
    for size in turn.groups:
        if any(pieces[at + 1 : at + size]):
            raise CannotEncodeError("group_not_adjacent", turn.text)
        found.append(turn.boxes[at : at + size])
        at += size
    return found


def read_turn(role: Role, text: str, canvas: Canvas) -> Turn:
    """Turn that `text` spells; the inverse of `write_turn`. Raises `UnreadableError`.

    >>> read_turn("user", "What is at [0.0,0.0,0.5,1.0]?", Canvas("unit", 1)).text
    'What is at <box>?'
    """
    if IMAGE_MARK in text:
        raise UnreadableError("image_mark", text)
    pieces: list[str] = []
    boxes: list[Box] = []
    sizes: list[int] = []
    start = 0
    for match in _BRACKET.finditer(text):
        group = _read_bracket(match[0], canvas)
        pieces += [text[start : match.start()], *[""] * (len(group) - 1)]
        boxes += group
        sizes.append(len(group))
        start = match.end()
    pieces.append(text[start:])
    groups = tuple(sizes) if any(size > 1 for size in sizes) else ()
    return Turn(role, join_marks(pieces, ["box"] * len(boxes)), tuple(boxes), (), groups)


@lru_cache(maxsize=16)
def _four(decimals: int) -> re.Pattern[str]:
    number = "(?:0|[1-9][0-9]*)" + (rf"\.[0-9]{{{decimals}}}" if decimals else "")
    return re.compile(rf"{number}(?:,{number}){{3}}")


def _read_bracket(text: str, canvas: Canvas) -> list[Box]:
    four, boxes = _four(canvas.decimals), []
    for part in text[1:-1].split(";"):
        if not four.fullmatch(part):
            raise UnreadableError("bad_box", f"{text}: expected {canvas.decimals} decimals, 4 each")
        x0, y0, x1, y1 = (float(number) for number in part.split(","))
        boxes.append(_placed((x0, y0, x1, y1), text, canvas))
    return boxes


def _placed(corners: tuple[float, float, float, float], text: str, canvas: Canvas) -> Box:
    """Box in the image; corners at most one step outside are moved to its edge."""
    if corners[0] > corners[2] or corners[1] > corners[3]:
        raise UnreadableError("box_inverted", text)
    size = canvas.width, canvas.height
    edges = box_to_frame(Box(0.0, 0.0, 1.0, 1.0), canvas.frame, *size)
    slack = canvas.step * (1 + 1e-9)
    placed = []
    for axis, value in enumerate(corners):
        low, high = edges[axis % 2], edges[axis % 2 + 2]
        if not low - slack <= value <= high + slack:
            raise UnreadableError("box_outside", f"{text}: the image is {low:g} to {high:g} there")
        placed.append(min(high, max(low, value)))
    inner = box_from_frame((placed[0], placed[1], placed[2], placed[3]), canvas.frame, *size, 1e-9)
    # Edges are set exactly: going through the frame and back may miss 0 or 1 by a rounding error.
    exact = [
        0.0 if value <= edges[axis % 2] else 1.0 if value >= edges[axis % 2 + 2] else fraction
        for axis, (value, fraction) in enumerate(
            zip(corners, (inner.x0, inner.y0, inner.x1, inner.y1), strict=True)
        )
    ]
    return Box(*exact)


def encode_pairs(turns: Sequence[Turn], canvas: Canvas, rule: Rule) -> str:
    """`Question: .. Answer: ..` for every pair of turns, a line break between pairs.

    Raises `CannotEncodeError` with the reason when `turns` break `rule` or the grammar.

    >>> cat = Turn("user", "What is it?"), Turn("assistant", "cat")
    >>> encode_pairs(cat, Canvas(), lambda turns: "")
    'Question: What is it? Answer: cat'
    """
    roles = [turn.role for turn in turns]
    if not turns or roles != ["user", "assistant"] * (len(turns) // 2):
        raise CannotEncodeError("not_pairs", f"roles are {', '.join(roles) or 'none'}")
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
