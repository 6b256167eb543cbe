"""Readers of labelled text: short marks, bold labels, numbered pairs.

A label opens a question or an answer, and what stands up to the next label belongs to it, outer
space left out. The text must start with a label and labels must alternate, question first; numbers
must count the pairs from 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.readers.base import Pair

__all__ = ["BoldReader", "MarksReader", "NumberedReader"]

# An answer may follow on the question's line, in capitals: `a:` amid words is seldom a label.
_MARKS = re.compile(r"(?P<label>(?<![^\n])(?i:question|q|answer|a)|(?<=\s)(?:Answer|A)):\s*")
_LEAD = r"(?:(?<!\S)(?P<lead>[0-9]{1,6})[.)][ \t]+)?"
_BOLD = re.compile(
    _LEAD
    + r"\*\*(?P<label>(?i:question|q|answer|a))[ \t]?(?P<number>[0-9]{1,6})?(?::\*\*|\*\*:)\s*"
)
_NUMBERED = re.compile(
    _LEAD + r"(?<!\S)(?P<label>Question|Q|Answer|A)[ \t]?(?P<number>[0-9]{1,6})?:\s*"
)


class MarksReader:
    """`Q:` and `A:`, or `Question:` and `Answer:` on lines of their own, in any case.

    Reasons: `no_marks` (another form), `labels_not_in_pairs`, `mixed_labels` (long and short ones).
    """

    name: ClassVar[str] = "marks"
    other_form: ClassVar[str] = "no_marks"

    def pairs(self, text: str, canvas: Canvas) -> list[Pair] | ParseError:
        r"""Words after each mark.

        >>> MarksReader().pairs("Q: What is it?\nA: a cat", Canvas())
        [('What is it?', 'a cat')]
        """
        return _pairs(text, _MARKS, self.other_form)


class BoldReader:
    """`**Question:**` and `**Answer:**`, or their first letters, as Markdown sets labels.

    The colon may stand outside the stars; numbers may stand in a label or before a question.
    Reasons: `no_bold_labels` (another form), `labels_not_in_pairs`, `mixed_labels`,
    `bad_numbering`.
    """

    name: ClassVar[str] = "bold"
    other_form: ClassVar[str] = "no_bold_labels"

    def pairs(self, text: str, canvas: Canvas) -> list[Pair] | ParseError:
        """Words after each label.

        >>> BoldReader().pairs("**Question:** What is it? **Answer:** a cat", Canvas())
        [('What is it?', 'a cat')]
        """
        return _pairs(text, _BOLD, self.other_form)


class NumberedReader:
    """`Q1:` and `A1:`, `Question 1:` and `Answer 1:`, or `1. Q:` and `A:`.

    Reasons: `not_numbered` (another form), `labels_not_in_pairs`, `mixed_labels`, `bad_numbering`.
    """

    name: ClassVar[str] = "numbered"
    other_form: ClassVar[str] = "not_numbered"

    def pairs(self, text: str, canvas: Canvas) -> list[Pair] | ParseError:
        r"""Words after each label.

        >>> NumberedReader().pairs("1. Q: What is it?\nA: a cat\n2. Q: Old?\nA: no", Canvas())
        [('What is it?', 'a cat'), ('Old?', 'no')]
        """
        first = _NUMBERED.match(text)
        if first is None or not (first["lead"] or first["number"]):
            return ParseError(self.other_form, text)
        return _pairs(text, _NUMBERED, self.other_form)


def _pairs(text: str, pattern: re.Pattern[str], other_form: str) -> list[Pair] | ParseError:
    """What stands after each label, in pairs."""
    labels = list(pattern.finditer(text))
    if not labels or labels[0].start():
        return ParseError(other_form, text)
    kinds = [label["label"][0].lower() for label in labels]
    if kinds != ["q", "a"] * (len(labels) // 2):
        return ParseError("labels_not_in_pairs", text)
    if len({len(label["label"]) > 1 for label in labels}) > 1:
        return ParseError("mixed_labels", text)
    if not _count_from_one(labels):
        return ParseError("bad_numbering", text)
    ends = [*(label.start() for label in labels[1:]), len(text)]
    words = [text[label.end() : end].strip() for label, end in zip(labels, ends, strict=True)]
    return list(zip(words[::2], words[1::2], strict=True))


def _count_from_one(labels: Sequence[re.Match[str]]) -> bool:
    """Whether every number is that of its pair, and all questions have one or none has."""
    with_number = 0
    for at, label in enumerate(labels):
        groups = label.groupdict()
        numbers = [int(groups[key]) for key in ("lead", "number") if groups.get(key)]
        if any(number != at // 2 + 1 for number in numbers):
            return False
        with_number += bool(numbers) and not at % 2
    return with_number in (0, len(labels) // 2)
