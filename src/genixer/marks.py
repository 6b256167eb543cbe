r"""Marks in a turn: `<box>` and `<point>` stand for coordinates, `\<box>` is the word itself."""

from __future__ import annotations

import re

__all__ = ["count_marks", "escape_marks", "split_marks"]

# n backslashes before a mark: n even means a mark after n/2 of them, n odd a literal after (n-1)/2.
_MARK = re.compile(r"(\\*)<(box|point)>")

_BARE = re.compile(r"<(box|point)>")


def escape_marks(text: str) -> str:
    r"""Text whose literal `<box>` and `<point>` can no longer be taken for marks.

    >>> escape_marks("press <box> now")
    'press \\<box> now'
    """
    if "<" not in text:
        return text
    return _MARK.sub(lambda m: f"{m[1] * 2}\\<{m[2]}>", text)


def split_marks(text: str) -> tuple[list[str], list[str]]:
    r"""Literal pieces of a turn's text, escapes undone, and the kinds of the marks between them.

    Returns `(pieces, kinds)`, `len(pieces) == len(kinds) + 1`.

    >>> split_marks(r"the cat <box> sees \<box>")
    (['the cat ', ' sees <box>'], ['box'])
    """
    if "\\<" not in text:  # nothing is escaped: the usual case
        parts = _BARE.split(text)
        return parts[::2], parts[1::2]
    pieces, kinds, start, current = [], [], 0, ""
    for match in _MARK.finditer(text):
        slashes = len(match[1])
        current += text[start : match.start()] + "\\" * (slashes // 2)
        start = match.end()
        if slashes % 2:
            current += f"<{match[2]}>"
        else:
            pieces.append(current)
            kinds.append(match[2])
            current = ""
    pieces.append(current + text[start:])
    return pieces, kinds


def count_marks(text: str) -> tuple[int, int]:
    """How many `<box>` and how many `<point>` marks a turn's text holds.

    >>> count_marks("from <point> to <box>")
    (1, 1)
    """
    if "<" not in text:
        return 0, 0
    if "\\<" not in text:  # nothing is escaped: the usual case, on the path of every record read
        return text.count("<box>"), text.count("<point>")
    kinds = split_marks(text)[1]
    return kinds.count("box"), kinds.count("point")
