"""What a lenient reader is: it finds question and answer, and leaves the rest to the codec.

So a box is read by the one grammar there is, digits and frame included, and a task's rules hold
whatever the form: a reader may know other marks, it never mends what stands between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.grammar import ANSWER, QUESTION
from genixer.tasks.readers import load_reader

__all__ = ["Pair", "Reader", "read_leniently", "strict_text"]

T = TypeVar("T")

Pair = tuple[str, str]
"""A question and its answer as they were printed."""


@runtime_checkable
class Reader(Protocol):
    """Reader of one family of forms. Implementations are stateless."""

    name: ClassVar[str]
    other_form: ClassVar[str]
    """Reason it gives for text that is not of its family at all."""

    def pairs(self, text: str, canvas: Canvas) -> list[Pair] | ParseError:
        """Questions and answers that `text` holds, or why there are none.

        `canvas` says how coordinates are printed, for forms in which they are no text.
        """
        ...


def strict_text(pairs: Sequence[Pair]) -> str | ParseError:
    r"""`pairs` as a task's codec reads them; refused where their words hold its own marks.

    >>> strict_text([("What is it?", "a cat"), ("Old?", "no")])
    'Question: What is it? Answer: a cat\nQuestion: Old? Answer: no'
    """
    for pair in pairs:
        for words in pair:
            if QUESTION in words or ANSWER in words:
                return ParseError("delimiter", words)
    return "\n".join(f"{QUESTION} {asked} {ANSWER} {said}" for asked, said in pairs)


def read_leniently(
    text: str,
    canvas: Canvas,
    names: Sequence[str],
    decode: Callable[[str], T | ParseError],
    refused: ParseError,
) -> tuple[T, str] | ParseError:
    """What the first reader of `names` that can makes of `text`, and that reader's name.

    `decode` reads strict text, and has given `refused` for this one. Where no reader can, the
    reason is that of the first whose form the text has, else `refused`.
    """
    reasons = []
    for name in names:
        reader = load_reader(name)
        pairs = reader.pairs(text, canvas)
        if isinstance(pairs, ParseError) and pairs.reason == reader.other_form:
            continue
        strict = pairs if isinstance(pairs, ParseError) else strict_text(pairs)
        found = strict if isinstance(strict, ParseError) else decode(strict)
        if not isinstance(found, ParseError):
            return found, name
        reasons.append(found)
    return reasons[0] if reasons else refused
