"""Rules of form: what can be refused without looking at the picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from genixer.data import Box, ImageRef, Sample, Turn, Verdict, split_marks
from genixer.filters.base import FilterSettings
from genixer.tasks.shape import LETTERS, is_bare, options, place_count, stem

__all__ = ["RulesFilter", "RulesSettings"]

_YES_NO = (
    *("is", "are", "was", "were", "am", "do", "does", "did", "has", "have", "had"),
    *("can", "could", "will", "would", "should"),
)
_OPEN = ("what", "which", "where", "who", "whom", "whose", "when", "why", "how")
_TELL = (
    *("describe", "list", "name", "tell", "give", "explain", "count", "find", "locate", "identify"),
    *("compare", "show", "point", "write", "suggest", "please", "in", "on", "at", "from", "based"),
    *("if", "besides", "among", "compared", "considering"),
)
"""Words that open a question or a request even where the question mark is missing."""
_LONG_REPLY_WORDS = 4
"""From so many words on, an answer may do without `yes` or `no` ("The dog is asleep")."""
_REPEATS = re.compile(r"\b(\w+(?:\W+\w+){0,5}?)(?:\W+\1\b){2,}", re.IGNORECASE)
"""One to six words said three times in a row: how small models get stuck."""
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


class RulesSettings(FilterSettings):
    """Limits of form. Lengths are characters, sides px of the upright image, shares of its area."""

    max_question_chars: int = Field(default=500, ge=1)
    """Longest question."""
    max_answer_chars: int = Field(default=1000, ge=1)
    """Longest answer."""
    min_side_px: float = Field(default=8.0, ge=0.0)
    """Shortest side of a box; the paper used 50 px on photographs."""
    max_box_share: float = Field(default=0.95, gt=0.0, le=1.0)
    """Largest share of the image that a box may cover."""
    max_box_aspect: float = Field(default=10.0, ge=1.0)
    """Longer side of a box over its shorter side, in px."""
    template_words: tuple[str, ...] = (
        *("Question:", "Answer:", "USER:", "ASSISTANT:", "[INST]", "{expression}", "{box}"),
        *("<image>", "<user>", "<assistant>", "<pad>", "<s>", "</s>"),
    )
    """Parts of prompts that must not turn up in a conversation, upper or lower case."""


class RulesFilter:
    """Refuses empty, endless, stuck or leaking text, odd boxes, answers that fit no question.

    Gives no score. The first rule that is broken is the reason; every pair of turns is looked at.

    >>> from genixer.data import Origin
    >>> turns = Turn("user", "Is there a dog?"), Turn("assistant", "red")
    >>> sample = Sample.of("common_vqa", ImageRef("a.png", 9, 9, "ab"), turns, Origin("world"))
    >>> RulesFilter(RulesSettings()).judge([sample], Path())[0].reason
    'not_yes_no'
    """

    name: ClassVar[str] = "rules"
    reasons: ClassVar[tuple[str, ...]] = (
        "empty_text",
        "question_too_long",
        "answer_too_long",
        "template_words",
        "stuck_repeating",
        "repeated_question",
        "answer_is_question",
        "not_a_question",
        "duplicate_options",
        "answer_not_an_option",
        "not_yes_no",
        "yes_no_unasked",
        "box_too_small",
        "box_too_large",
        "box_too_thin",
    )
    Settings: ClassVar[type[RulesSettings]] = RulesSettings

    def __init__(self, settings: RulesSettings) -> None:
        """Keep `settings`."""
        self.settings = settings
        self._leaks = tuple(word.lower() for word in settings.template_words)

    def judge(self, samples: Sequence[Sample], images: Path) -> list[Verdict]:
        """One verdict a sample; `images` is not looked at."""
        reasons = [self._reason(sample) for sample in samples]
        return [Verdict(keep=not reason, reason=reason) for reason in reasons]

    def _reason(self, sample: Sample) -> str:
        """First rule that `sample` breaks, or an empty string."""
        for turn in sample.turns:
            reason = self._text(turn)
            if reason:
                return reason
        for question, answer in pairwise(sample.turns):
            if question.role == "user" and answer.role == "assistant":
                reason = _pair(question, answer)
                if reason:
                    return reason
        asked = [turn for turn in sample.turns if turn.role == "user"]
        # Words that point at another place are another question.
        if len({(_plain(turn.text), turn.boxes, turn.points) for turn in asked}) < len(asked):
            return "repeated_question"
        boxes = [box for turn in sample.turns for box in turn.boxes]
        return next(filter(None, (self._box(box, sample.picture) for box in boxes)), "")

    def _text(self, turn: Turn) -> str:
        limits = self.settings
        if not turn.text.strip():
            return "empty_text"
        is_question = turn.role == "user"
        if len(turn.text) > (limits.max_question_chars if is_question else limits.max_answer_chars):
            return "question_too_long" if is_question else "answer_too_long"
        pieces = split_marks(turn.text)[0]
        text = "".join(pieces).lower()
        if any(leak in text for leak in self._leaks):
            return "template_words"
        # Piece by piece: three dogs with a box each are not a repetition.
        return "stuck_repeating" if any(map(_REPEATS.search, pieces)) else ""

    def _box(self, box: Box, image: ImageRef) -> str:
        width, height = (box.x1 - box.x0) * image.width, (box.y1 - box.y0) * image.height
        shorter, longer = sorted((width, height))
        # Half a thousandth of a pixel is rounding, not size.
        if shorter < self.settings.min_side_px - 5e-4 or shorter <= 0.0:
            return "box_too_small"
        if box.area > self.settings.max_box_share:
            return "box_too_large"
        return "box_too_thin" if longer > self.settings.max_box_aspect * shorter else ""


def _plain(text: str) -> str:
    return " ".join(_WORD.findall(text.lower()))


def _pair(question: Turn, answer: Turn) -> str:
    """What is wrong between a question and its answer."""
    if _plain(question.text) == _plain(answer.text):
        return "answer_is_question"
    if place_count(answer) and is_bare(answer) and _repeats(question):
        return "duplicate_options"
    if place_count(question) or place_count(answer):
        return ""  # Grounding questions are often requests; their answers have a form of their own.
    first = next(iter(_plain(question.text).split()), "")
    if not stem(question.text).rstrip().endswith("?") and first not in (*_YES_NO, *_OPEN, *_TELL):
        return "not_a_question"
    choices = options(question.text)
    if choices:
        return _choice(choices, answer.text)
    return _yes_no(first, _plain(question.text).split(), _plain(answer.text).split())


def _repeats(question: Turn) -> bool:
    """Whether a place to choose from stands twice."""
    return any(len(set(kind)) < len(kind) for kind in (question.boxes, question.points))


def _choice(choices: Sequence[str], answer: str) -> str:
    if len({_plain(choice) for choice in choices}) < len(choices):
        return "duplicate_options"
    letter = answer.strip().rstrip(".").upper()
    return "" if letter in tuple(LETTERS[: len(choices)]) else "answer_not_an_option"


def _yes_no(first: str, question: Sequence[str], answer: Sequence[str]) -> str:
    said = answer[:1] in (["yes"], ["no"])
    if first in _YES_NO and "or" not in question and not said:
        return "not_yes_no" if len(answer) < _LONG_REPLY_WORDS else ""
    return "yes_no_unasked" if first in _OPEN and said else ""
