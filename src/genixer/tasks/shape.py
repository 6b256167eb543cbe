"""What a conversation looks like, apart from what it was called: which task its form belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence

from genixer.data import Turn, split_marks

__all__ = [
    "LETTERS",
    "are_pairs",
    "caption_names",
    "conclusion",
    "is_bare",
    "is_existence",
    "options",
    "place_count",
    "shape",
    "stem",
]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_EXISTENCE = (
    *("Is there ", "Are there ", "Can you see ", "Do you see ", "Does the image show "),
    *("Does the image have ", "Does the image contain "),
)
_PART = re.compile(r"(?:What colou?r|How many)\b")
_YES_NO = re.compile(r"(?:yes|no)\.?", re.IGNORECASE)
_ANSWER_IS = re.compile(r"\bthe answer is:? ", re.IGNORECASE)
_OPTION = re.compile(r"([A-Z])\. (\S|\S.*\S)")


def are_pairs(turns: Sequence[Turn]) -> bool:
    """Whether turns are questions of a user, each with its answer, at least one.

    >>> are_pairs([Turn("user", "What is it?"), Turn("assistant", "cat")]), are_pairs([])
    (True, False)
    """
    roles = [turn.role for turn in turns]
    if len(roles) == 2:  # most conversations: on the path of every row written
        return roles[0] == "user" and roles[1] == "assistant"
    return bool(roles) and roles == ["user", "assistant"] * (len(roles) // 2)


def options(question: str) -> tuple[str, ...]:
    r"""Texts of the options that end a multiple-choice question, by letter; none if it has none.

    >>> options("What is it?\nA. cat\nB. old dog")
    ('cat', 'old dog')
    >>> options("What is it?\nB. cat")
    ()
    """
    return tuple(text for _, text in _tail(question))


def stem(question: str) -> str:
    r"""A multiple-choice question without its options.

    >>> stem("What is it?\nA. cat\nB. dog")
    'What is it?'
    """
    found = len(_tail(question))
    return "\n".join(question.split("\n")[:-found]) if found else question


def _tail(question: str) -> list[tuple[str, str]]:
    """(letter, text) of the last lines that count up from A: at least two, after other words."""
    found: list[tuple[str, str]] = []
    before = question.split("\n")
    while before:
        match = _OPTION.fullmatch(before.pop())
        if match is None:
            return []
        found.insert(0, (match[1], match[2]))
        if match[1] == "A":
            break
    letters = "".join(letter for letter, _ in found)
    if len(found) < 2 or not LETTERS.startswith(letters) or not "\n".join(before).strip():
        return []
    return found


def is_existence(question: str, answer: str) -> bool:
    """Whether the pair asks if something is there and says yes or no.

    >>> is_existence("Is there a dog in the image?", "no")
    True
    """
    return question.startswith(_EXISTENCE) and answer in ("yes", "no")


def place_count(turn: Turn) -> int:
    """How many boxes and points a turn speaks of."""
    return len(turn.boxes) + len(turn.points)


def is_bare(turn: Turn) -> bool:
    """Whether a turn is places alone, no word with them.

    >>> from genixer.data import Point
    >>> is_bare(Turn("assistant", "<point>.", points=(Point(0.5, 0.5),)))
    True
    """
    return not re.search(r"\w", "".join(split_marks(turn.text)[0]))


def caption_names(answer: Turn) -> tuple[str, ...]:
    """Names in a dense caption, one a box; none when it is not `name <box>, name <box>`.

    >>> from genixer.data import Box
    >>> one = Box(0.0, 0.0, 0.1, 0.1)
    >>> caption_names(Turn("assistant", "red book <box>, cat <box>", (one, one)))
    ('red book', 'cat')
    """
    pieces = split_marks(answer.text)[0]
    if pieces.pop():
        return ()
    names = []
    for position, piece in enumerate(pieces):
        lead = ", " if position else ""
        name = piece[len(lead) : -1]
        well_formed = piece.startswith(lead) and piece.endswith(" ") and name == name.strip()
        if not well_formed or not name or "," in name:
            return ()
        names.append(name)
    return tuple(names)


def conclusion(answer: Turn) -> str:
    """What a chain of thought ends in: the words after its last "the answer is", a dot left out.

    Empty where it does not end so, or where a place follows.

    >>> conclusion(Turn("assistant", "It has no leaves. So the answer is winter."))
    'winter'
    """
    _, *said = _ANSWER_IS.split(split_marks(answer.text)[0][-1])
    words = said[-1].strip().removesuffix(".") if said else ""
    return "" if "\n" in words or ". " in words else words


def shape(turns: Sequence[Turn]) -> str:
    """Name of the task whose form well-formed `turns` have.

    A box in the question with words as the answer is REG, unless it is asked for a colour, a
    number, or yes or no: of a region's name one does not ask so.

    >>> shape([Turn("user", "Is there a dog?"), Turn("assistant", "no")])
    'adv_vqa'
    """
    if len(turns) > 2:
        return "rd" if any(map(place_count, turns)) else "md"
    question, answer = turns
    if options(question.text):
        return "mc_vqa"
    if place_count(answer):
        return _located(question, answer)
    if place_count(question) > 1:
        return "rd"
    if question.points:
        return "point_qa"
    if question.boxes:
        return "point_qa" if _is_about_part(question.text, answer.text) else "reg"
    return "adv_vqa" if is_existence(question.text, answer.text) else "common_vqa"


def _located(question: Turn, answer: Turn) -> str:
    """Task of a pair whose answer holds places."""
    if is_bare(answer):
        return "point_qa" if place_count(question) > 1 else "rec"
    if not place_count(question) and not answer.points and caption_names(answer):
        return "dense_caption"
    reasoned = conclusion(answer) and not question.points and not answer.points
    return "qcboxa" if reasoned else "rd"


def _is_about_part(question: str, answer: str) -> bool:
    return bool(_PART.match(question) or _YES_NO.fullmatch(answer))
