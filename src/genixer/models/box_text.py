"""How a model spells a box, against the brackets in which every task's text has it.

A task writes `[x0,y0,x1,y1]` whatever the model; a preset names the model's own spelling. The
change is one of signs alone: numbers, frame and decimals stay as they are.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from genixer.errors import CannotEncodeError

__all__ = ["BoxSpelling", "own_signs", "read_boxes", "write_boxes"]

BoxSpelling = Literal["brackets", "spaced_brackets", "box_marks", "location_tokens"]
"""`brackets`: `[1,2,3,4]`; `spaced_brackets`: `[1, 2, 3, 4]` (Qwen2.5-VL, Qwen3-VL);

`box_marks`: `<|box_start|>(1,2),(3,4)<|box_end|>` (Qwen2-VL); `location_tokens`:
`<loc0002><loc0001><loc0004><loc0003>`, top before left (PaliGemma).
"""

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_PAIR = rf"\(({_NUMBER}), ?({_NUMBER})\)"
_FOUR = rf"{_NUMBER}(?:,{_NUMBER}){{3}}"
_BOXES = re.compile(rf"\[{_FOUR}(?:;{_FOUR})*\]")
_TOUCHING = re.compile(rf"\[{_FOUR}(?:;{_FOUR})*\]\[{_FOUR}[];]")


class _Spelling(NamedTuple):
    """One box as the model writes it: `form` to print, `box` to find it, `own` signs of it."""

    form: str
    box: str
    own: str


_SPELLINGS = {
    "spaced_brackets": _Spelling(
        "[{0}, {1}, {2}, {3}]", rf"\[({_NUMBER}), ({_NUMBER}), ({_NUMBER}), ({_NUMBER})\]", r"(?!)"
    ),
    "box_marks": _Spelling(
        "<|box_start|>({0},{1}),({2},{3})<|box_end|>",
        rf"<\|box_start\|>{_PAIR}, ?{_PAIR}<\|box_end\|>",
        r"<\|box_(?:start|end)\|>",
    ),
    "location_tokens": _Spelling(
        "<loc{1:0>4}><loc{0:0>4}><loc{3:0>4}><loc{2:0>4}>",
        r"<loc([0-9]{4})><loc([0-9]{4})><loc([0-9]{4})><loc([0-9]{4})>",
        r"<loc[0-9]{4}>",
    ),
}


def own_signs(text: str, spelling: BoxSpelling) -> list[str]:
    """Signs in `text` that belong to the model's boxes alone, as often as they stand there.

    >>> own_signs("<loc0002> or <|box_start|>", "location_tokens")
    ['<loc0002>']
    """
    return [] if spelling == "brackets" else re.findall(_SPELLINGS[spelling].own, text)


def write_boxes(text: str, spelling: BoxSpelling) -> str:
    """`text` of a task with its boxes spelled as the model does.

    Boxes of one phrase stand side by side. Raises `CannotEncodeError` for what would not come back:
    `box_mark` where the words hold the model's own signs, `touching_boxes` where boxes of two
    phrases touch.

    >>> write_boxes("the cat [1,2,3,4]", "box_marks")
    'the cat <|box_start|>(1,2),(3,4)<|box_end|>'
    >>> write_boxes("the cat [1,2,3,4]", "location_tokens")
    'the cat <loc0002><loc0001><loc0004><loc0003>'
    """
    if spelling == "brackets":
        return text
    known = _SPELLINGS[spelling]
    if own_signs(text, spelling) or re.search(known.box, text):
        raise CannotEncodeError("box_mark", text)
    if _TOUCHING.search(text):
        raise CannotEncodeError("touching_boxes", text)

    def spell(match: re.Match[str]) -> str:
        boxes = match[0][1:-1].split(";")
        return "".join(known.form.format(*box.split(",")) for box in boxes)

    return _BOXES.sub(spell, text)


def read_boxes(text: str, spelling: BoxSpelling) -> str:
    """`text` of a model with its boxes as a task's codec reads them; the inverse of `write_boxes`.

    What spells no box is left as it stands, for the codec to refuse.

    >>> read_boxes("<loc0002><loc0001><loc0004><loc0003> cat", "location_tokens")
    '[1,2,3,4] cat'
    """
    if spelling == "brackets":
        return text
    known = _SPELLINGS[spelling]

    def collect(match: re.Match[str]) -> str:
        boxes = [_numbers(found, spelling) for found in re.finditer(known.box, match[0])]
        return f"[{';'.join(boxes)}]"

    return re.sub(f"(?:{_without_groups(known.box)})+", collect, text)


def _numbers(found: re.Match[str], spelling: BoxSpelling) -> str:
    one, two, three, four = found.groups()
    if spelling == "location_tokens":
        return ",".join(str(int(number)) for number in (two, one, four, three))
    return ",".join((one, two, three, four))


def _without_groups(pattern: str) -> str:
    """`pattern` whose groups are not counted, so that it can be repeated."""
    return re.sub(r"(?<!\\)\((?!\?)", "(?:", pattern)
