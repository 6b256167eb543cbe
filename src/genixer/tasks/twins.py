"""Wrong twins: samples with an answer made false in a way that is hard to see, for judges."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import msgspec

from genixer.data import Box, Sample, Turn, escape_marks
from genixer.tasks.caption import caption_names
from genixer.tasks.shape import LETTERS, options

__all__ = ["OTHER_PLACE", "wrong_twin"]

OTHER_PLACE = 0.4
"""Boxes whose IoU is below this count as different places."""

_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
_COLORS = (
    *("red", "orange", "yellow", "green", "blue", "purple"),
    *("pink", "brown", "black", "white", "gray"),
)
_TRIES = 60


def wrong_twin(sample: Sample, pool: Sequence[Sample], rng: random.Random) -> Sample | None:
    """`sample` with a wrong answer drawn with `rng`, or None where none can be made.

    `pool` holds other samples of the same image and of the same question type: their answers, boxes
    and expressions make the hardest mistakes. An answer that the pool gives to the very same
    question is never taken. The twin's only parent is `sample`.
    """
    others = [other for other in pool if other.id != sample.id]
    change = _CHANGES.get(sample.task)
    turns = change(sample, others, rng) if change else None
    if turns is None:
        return None
    origin = msgspec.structs.replace(sample.origin, parents=(sample.id,))
    return Sample.of(sample.task, sample.image, turns, origin)


def _question_answer(
    sample: Sample, pool: Sequence[Sample], rng: random.Random
) -> tuple[Turn, ...] | None:
    question, answer = sample.turns
    wrong = _wrong_text(question.text, answer.text, _said(sample, pool), sample, rng)
    return None if wrong is None else (question, Turn("assistant", wrong))


def _said(sample: Sample, pool: Sequence[Sample]) -> list[tuple[str, str, bool]]:
    """(question, answer, same image) of the pool's pairs of the same task and question type."""
    return [
        (question.text, answer.text, other.image.sha256 == sample.image.sha256)
        for other in pool
        if other.task == sample.task and other.origin.question_type == sample.origin.question_type
        for question, answer in zip(other.turns[::2], other.turns[1::2], strict=True)
        if not question.boxes and not answer.boxes
    ]


def _wrong_text(
    question: str,
    answer: str,
    said: Sequence[tuple[str, str, bool]],
    sample: Sample,
    rng: random.Random,
) -> str | None:
    """Yes for no, one more or less, another colour, or another answer of the same type."""
    simple = _flipped(answer) or _counted(answer, rng)
    if simple is not None:
        return simple
    right = {a.lower() for q, a, here in said if here and q == question} | {answer.lower()}
    near = sorted({a for _, a, here in said if here})
    far = sorted({a for _, a, _ in said})
    for answers in (near, far) if rng.random() < 0.5 else (far,):
        fitting = [a for a in answers if a.lower() not in right and _same_kind(a, answer)]
        if fitting:
            return rng.choice(fitting)
    if answer.lower() in _COLORS:
        return rng.choice([color for color in _COLORS if color not in right])
    return None


def _flipped(answer: str) -> str | None:
    """No for yes and yes for no, in the same case."""
    for one, other in (("yes", "no"), ("Yes", "No"), ("YES", "NO")):
        if answer in (one, other):
            return other if answer == one else one
    return None


def _counted(answer: str, rng: random.Random) -> str | None:
    """One more or one less than a number, in digits or words."""
    step = rng.choice((-1, 1))
    if answer.isascii() and answer.isdigit() and len(answer) < 6:
        number = int(answer)
        return str(number + (step if number else 1))
    if answer.lower() in _WORDS[:-1]:
        at = _WORDS.index(answer.lower())
        word = _WORDS[at + (step if at else 1)]
        return word.capitalize() if answer[0].isupper() else word
    return None


def _same_kind(one: str, other: str) -> bool:
    """Whether both are colours or neither is, and neither is a number or yes or no."""
    kinds = [(text.lower() in _COLORS) for text in (one, other)]
    plain = one.lower() not in ("yes", "no", *_WORDS) and not one.isdigit()
    return plain and kinds[0] == kinds[1]


def _choice(sample: Sample, pool: Sequence[Sample], rng: random.Random) -> tuple[Turn, ...] | None:
    question, answer = sample.turns
    letters = [letter for letter in LETTERS[: len(options(question.text))] if letter != answer.text]
    return (question, Turn("assistant", rng.choice(letters))) if letters else None


def _comprehension(
    sample: Sample, pool: Sequence[Sample], rng: random.Random
) -> tuple[Turn, ...] | None:
    question, answer = sample.turns
    true = answer.boxes[0]
    boxes = {box for _, box in _named_boxes(sample, pool)}
    elsewhere = sorted((box for box in boxes if box.iou(true) < OTHER_PLACE), key=_corners)
    near = _moved(true, rng)
    if elsewhere and (near is None or rng.random() < 0.5):
        near = rng.choice(elsewhere)
    return None if near is None else (question, Turn("assistant", "<box>", (near,)))


def _moved(box: Box, rng: random.Random) -> Box | None:
    """A box near `box`, shifted and resized until the two are different places."""
    width, height = box.x1 - box.x0, box.y1 - box.y0
    for _ in range(_TRIES):
        w, h = (min(1.0, side * rng.uniform(0.6, 1.6)) for side in (width, height))
        x = min(1.0 - w, max(0.0, box.x0 + rng.uniform(-1.2, 1.2) * width))
        y = min(1.0 - h, max(0.0, box.y0 + rng.uniform(-1.2, 1.2) * height))
        moved = Box(x, y, min(1.0, x + w), min(1.0, y + h))
        if moved.iou(box) < OTHER_PLACE and moved.area:
            return moved
    return None


def _generation(
    sample: Sample, pool: Sequence[Sample], rng: random.Random
) -> tuple[Turn, ...] | None:
    question, answer = sample.turns
    true = question.boxes[0]
    named = _named_boxes(sample, pool)
    right = {name.lower() for name, box in named if box.iou(true) >= OTHER_PLACE}
    right.add(answer.text.lower())
    near = {name for name, box in named if box.iou(true) < OTHER_PLACE}
    far = {a.text for o in pool if o.task == "reg" for a in o.turns[1::2] if _alike(o, sample)}
    for names in (near, far) if rng.random() < 0.7 else (far, near):
        fitting = sorted(name for name in names if name and name.lower() not in right)
        if fitting:
            return question, Turn("assistant", rng.choice(fitting))
    return None


def _alike(other: Sample, sample: Sample) -> bool:
    return other.origin.question_type == sample.origin.question_type


def _named_boxes(sample: Sample, pool: Sequence[Sample]) -> list[tuple[str, Box]]:
    """(name, box) of this image's regions in the pool; no name where only the box is known."""
    found: list[tuple[str, Box]] = []
    for other in pool:
        if other.image.sha256 != sample.image.sha256:
            continue
        question, answer = other.turns[:2]
        if other.task == "rec":
            found += [("", box) for box in answer.boxes]
        elif other.task == "reg":
            found += [(answer.text, box) for box in question.boxes]
        elif other.task == "dense_caption":
            names = [escape_marks(name) for name in caption_names(answer)]
            found += zip(names, answer.boxes, strict=len(names) == len(answer.boxes))
    return found


def _corners(box: Box) -> tuple[float, float, float, float]:
    return box.x0, box.y0, box.x1, box.y1


def _dialogue(
    sample: Sample, pool: Sequence[Sample], rng: random.Random
) -> tuple[Turn, ...] | None:
    """One answer made wrong, the first that can be in an order drawn with `rng`."""
    said = _said(sample, [*pool, sample])
    for at in rng.sample(range(1, len(sample.turns), 2), len(sample.turns) // 2):
        question, answer = sample.turns[at - 1 : at + 1]
        wrong = _wrong_text(question.text, answer.text, said, sample, rng)
        if wrong is not None:
            return (*sample.turns[:at], Turn("assistant", wrong), *sample.turns[at + 1 :])
    return None


_Change = Callable[[Sample, Sequence[Sample], random.Random], tuple[Turn, ...] | None]
_CHANGES: dict[str, _Change] = {
    "common_vqa": _question_answer,
    "adv_vqa": _question_answer,
    "mc_vqa": _choice,
    "rec": _comprehension,
    "reg": _generation,
    "md": _dialogue,
}
