"""Turns taken apart into words and the places between them, for formats with signs of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import islice

from genixer.data import Box, Point, Turn, split_marks
from genixer.errors import CannotEncodeError
from genixer.store.entries import EntryError
from genixer.tasks.grammar import IMAGE_MARK, Place, put_together

__all__ = [
    "Place",
    "boxes_of",
    "expect_words",
    "find_boxes",
    "names_of_list",
    "put_together",
    "refuse_words",
    "take_apart",
    "weave",
]


_NAME = re.compile(r"(?:, )?([^\s,<>](?:[^,<>\n]*[^\s,<>])?) ")


def take_apart(turn: Turn, touching: bool) -> tuple[list[str], list[Place]]:
    """Literal pieces of `turn` and the places between them, one fewer.

    `touching`: the format tells the boxes of one phrase by nothing standing between them.

    Raises `CannotEncodeError`: `needless_groups`, `group_not_adjacent`, and `touching_boxes` (boxes
    of their own that would be taken for those of one phrase).
    """
    if turn.groups and max(turn.groups) == 1:
        raise CannotEncodeError("needless_groups", "groups of one box each are written without")
    texts, kinds = split_marks(turn.text)
    boxes, points = iter(turn.boxes), iter(turn.points)
    sizes = iter(turn.groups or (1,) * len(turn.boxes))
    pieces, places, at = [texts[0]], list[Place](), 0
    while at < len(kinds):
        if kinds[at] == "point":
            places.append(next(points))
            at += 1
        else:
            size = next(sizes)
            if kinds[at : at + size] != ["box"] * size or any(texts[at + 1 : at + size]):
                raise CannotEncodeError("group_not_adjacent", turn.text)
            if touching and places and not pieces[-1] and isinstance(places[-1], tuple):
                raise CannotEncodeError("touching_boxes", turn.text)
            places.append(tuple(islice(boxes, size)))
            at += size
        pieces.append(texts[at])
    return pieces, places


def weave(pieces: Sequence[str], signs: Sequence[str]) -> str:
    """Pieces of text with a sign between each two.

    >>> weave(["at ", "?"], ["<boxes>"])
    'at <boxes>?'
    """
    return "".join(piece + sign for piece, sign in zip(pieces, [*signs, ""], strict=True))


def find_boxes(
    text: str, pattern: re.Pattern[str], read: Callable[[re.Match[str]], Box]
) -> tuple[list[str], list[Place]]:
    """Pieces of `text` and the boxes that `pattern` finds; those side by side are one phrase's."""
    pieces, places, start = list[str](), list[Place](), 0
    for found in pattern.finditer(text):
        before, start = text[start : found.start()], found.end()
        if places and not before:
            places[-1] = (*boxes_of(places[-1]), read(found))
        else:
            pieces.append(before)
            places.append((read(found),))
    return [*pieces, text[start:]], places


def boxes_of(place: Place) -> tuple[Box, ...]:
    """Boxes at a place, none for a point."""
    return place if isinstance(place, tuple) else ()


def names_of_list(pieces: Sequence[str], places: Sequence[Place]) -> list[str] | None:
    """Names in a list of objects, `cat <box>, old dog <box>.`; None for any other turn.

    >>> names_of_list(["cat ", ", old dog ", ""], [(), ()]), names_of_list(["at ", "?"], [()])
    (['cat', 'old dog'], None)
    """
    found = [_NAME.fullmatch(piece) for piece in pieces[:-1]]
    commas = [piece.startswith(", ") for piece in pieces[:-1]]
    listed = (
        bool(places) and pieces[-1] in ("", ".") and commas == [False] + [True] * len(found[1:])
    )
    if not listed or any(isinstance(place, Point) for place in places):
        return None
    names = [match[1] for match in found if match]
    return names if len(names) == len(found) else None


def refuse_words(pieces: Sequence[str], signs: re.Pattern[str], reason: str) -> None:
    """Raise `CannotEncodeError` when words hold what the format takes for its own signs."""
    for piece in pieces:
        if IMAGE_MARK in piece:
            raise CannotEncodeError("image_mark", piece)
        if signs.search(piece):
            raise CannotEncodeError(reason, piece)


def expect_words(pieces: Sequence[str], signs: re.Pattern[str], reason: str) -> None:
    """Raise `EntryError` for the same on the way back: a sign that is not where it belongs."""
    for piece in pieces:
        if IMAGE_MARK in piece:
            raise EntryError("image_mark", piece[:200])
        if signs.search(piece):
            raise EntryError(reason, piece[:200])
