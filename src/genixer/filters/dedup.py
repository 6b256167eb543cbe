"""What makes two samples the same, for the stage that drops the second one."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

import msgspec
import xxhash

from genixer.data import Sample, encode_row

__all__ = ["SameBy", "duplicate_key", "normalised"]

SameBy = Literal["question", "content"]
"""`question`: same image and same questions, whatever the answers. `content`: answers too."""

_NOT_WORD = re.compile(r"[\W_]+")


def normalised(text: str) -> str:
    """Words of `text` in lower case, width and accents of the code points unified, marks kept.

    >>> normalised("  What colour is it ?")
    'what colour is it'
    >>> normalised("What is at <box>?")
    'what is at box'
    """
    return _NOT_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def duplicate_key(sample: Sample, by: SameBy = "question") -> bytes:
    """16 bytes that two samples share exactly when they count as the same.

    Image content and words count, not file names, case, punctuation, task or source. A box or point
    in a question is part of it, to a hundredth of the image.

    >>> from genixer.data import ImageRef, Origin, Turn
    >>> cat = ImageRef("cat.png", 9, 9, "ab")
    >>> def ask(text): return Sample.of("common_vqa", cat, (Turn("user", text),), Origin("x"))
    >>> duplicate_key(ask("Is it new?")) == duplicate_key(ask("is it new"))
    True
    """
    turns = [
        (
            turn.role,
            normalised(turn.text),
            [_rounded(place) for place in (*turn.boxes, *turn.points)],
        )
        for turn in sample.turns
        if by == "content" or turn.role == "user"
    ]
    return xxhash.xxh3_128_digest(encode_row((sample.image.sha256, turns)))


def _rounded(place: msgspec.Struct) -> tuple[float, ...]:
    return tuple(round(side, 2) for side in msgspec.structs.astuple(place))
