"""Wrong twins: samples with an answer made false in a way that is hard to see, for judges."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import msgspec

from genixer.data import Box, Sample, Turn, escape_marks
from genixer.tasks.caption import caption_names
from genixer.tasks.mistakes import changed, is_color, is_plain, swapped
from genixer.tasks.shape import LETTERS, options

__all__ = ["OTHER_PLACE", "wrong_twin"]

OTHER_PLACE = 0.4
"""Boxes whose IoU is below this count as different places."""

_TRIES = 60


def wrong_twin(sample: Sample, pool: Sequence[Sample], rng: random.Random) -> Sample | None:
    """`sample` with a wrong answer drawn with `rng`, or None where none can be made.

    `pool` holds other samples of the same image and of the same question type (for regions: of the
    same task): their answers, boxes and expressions make the hardest mistakes. An answer that the
    pool gives to the very same question is never taken. The twin's only parent is `sample`.
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
    wrong = _wrong_text(question.text, answer.text, _said(sample, pool), rng)
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
    question: str, answer: str, said: Sequence[tuple[str, str, bool]], rng: random.Random
) -> str | None:
    """Yes for no, one more or less, another colour or side, or another answer of the same type."""
    certain = changed(answer, rng)
    if certain is not None:
        return certain
    right = {a.lower() for q, a, here in said if here and q == question} | {answer.lower()}
    fitting = [
        (here, _opening(q) == _opening(question), a)
        for q, a, here in said
        if a.lower() not in right and is_plain(a) and is_color(a) == is_color(answer)
    ]
    swap = swapped(answer, rng)
    if swap is not None and swap.lower() not in right and (not fitting or rng.random() < 0.5):
        return swap
    # The hardest mistake: what was said of this image to a question that opens alike.
    best = max((found[:2] for found in fitting), default=None)
    if best is not None and rng.random() < 0.5:
        fitting = [found for found in fitting if found[:2] == best]
    alike = [found for found in fitting if found[1]] or fitting
    answers = sorted({a for _, _, a in alike})
    return rng.choice(answers) if answers else None


def _opening(question: str) -> str:
    """The first two words, which tell what sort of answer is wanted."""
    return " ".join(question.lower().split()[:2])


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
    """Another object's expression, or this one with a colour or side changed.

    One from another image shares no word with it: it would often be right.
    """
    question, answer = sample.turns
    true = question.boxes[0]
    named = _named_boxes(sample, pool)
    right = {name.lower() for name, box in named if box.iou(true) >= OTHER_PLACE}
    right.add(answer.text.lower())
    words = {word for name in right for word in name.split()}
    swap = swapped(answer.text, rng)
    choices = [
        {swap} if swap else set(),
        {name for name, box in named if box.iou(true) < OTHER_PLACE},
        {
            other.turns[1].text
            for other in pool
            if other.task == "reg" and words.isdisjoint(other.turns[1].text.lower().split())
        },
    ]
    first = rng.choices(range(3), (0.3, 0.5, 0.2))[0]
    for names in (choices[first], choices[1], choices[2], choices[0]):
        fitting = sorted(name for name in names if name and name.lower() not in right)
        if fitting:
            return question, Turn("assistant", rng.choice(fitting))
    return None


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
        wrong = _wrong_text(question.text, answer.text, said, rng)
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
