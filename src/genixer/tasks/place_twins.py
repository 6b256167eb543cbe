"""Wrong twins of PointQA, Q->C^Box A and referential dialogue."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from genixer.data import Box, Point, Sample, Turn, split_marks
from genixer.tasks.grammar import join_marks
from genixer.tasks.mistakes import (
    changed,
    is_color,
    is_plain,
    opening,
    opposite,
    said_in,
    swapped,
    wrong_text,
)
from genixer.tasks.pointing import holds
from genixer.tasks.region_twins import OTHER_PLACE, corners, moved
from genixer.tasks.shape import conclusion, place_count

__all__ = ["at_a_place", "referring", "thinking"]


def at_a_place(
    sample: Sample, pool: Sequence[Sample], rng: random.Random
) -> tuple[Turn, ...] | None:
    """Another candidate; for words a number, colour or side changed, or what is said elsewhere."""
    question, answer = sample.turns
    if place_count(answer):
        chosen = _other_candidate(question, answer, rng)
        return None if chosen is None else (question, chosen)
    if not place_count(question):
        return None
    wrong = changed(answer.text, rng) or _other_words(sample, pool, rng)
    return None if wrong is None else (question, Turn("assistant", wrong))


def _other_candidate(question: Turn, answer: Turn, rng: random.Random) -> Turn | None:
    if answer.boxes:
        true = answer.boxes[0]
        boxes = [box for box in question.boxes if box.iou(true) < OTHER_PLACE]
        return Turn("assistant", "<box>", (rng.choice(boxes),)) if boxes else None
    point = answer.points[0]
    right = [box for box in question.boxes if holds(box, point)]
    points = [other for other in question.points if other != point]
    points += [
        centre
        for centre in map(_centre, question.boxes)
        if not any(holds(box, centre) for box in right)
    ]
    return Turn("assistant", "<point>", points=(rng.choice(points),)) if points else None


def _centre(box: Box) -> Point:
    return Point((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)


def _other_words(sample: Sample, pool: Sequence[Sample], rng: random.Random) -> str | None:
    """A colour or side changed, or what questions that open alike get of this image elsewhere."""
    question, answer = sample.turns
    true = _place(question)
    right, wrong = {answer.text.lower()}, set()
    for other in pool:
        if other.task != sample.task or other.image_sha256 != sample.image_sha256:
            continue
        asked, said = other.turns
        if place_count(said) or not place_count(asked):
            continue
        fits = is_plain(said.text) and is_color(said.text) == is_color(answer.text)
        if not _apart(_place(asked), true):
            right.add(said.text.lower())
        elif fits and opening(asked.text) == opening(question.text):
            wrong.add(said.text)
    fitting = sorted(text for text in wrong if text.lower() not in right)
    swap = swapped(answer.text, rng)
    if swap is not None and swap.lower() not in right and (not fitting or rng.random() < 0.5):
        return swap
    return rng.choice(fitting) if fitting else None


def _place(question: Turn) -> Box | Point:
    return question.boxes[0] if question.boxes else question.points[0]


def _apart(one: Box | Point, two: Box | Point) -> bool:
    """Whether two places are surely different; two points never are: both may be on one thing."""
    if isinstance(one, Box):
        return one.iou(two) < OTHER_PLACE if isinstance(two, Box) else not holds(one, two)
    return isinstance(two, Box) and not holds(two, one)


def thinking(sample: Sample, pool: Sequence[Sample], rng: random.Random) -> tuple[Turn, ...] | None:
    """The conclusion made false, in the thought too, or one box of the thought put elsewhere."""
    question, answer = sample.turns
    concluded = _other_conclusion(answer, rng)
    misplaced = _misplaced(answer, sample, rng) if answer.boxes else None
    if concluded is not None and (misplaced is None or rng.random() < 0.5):
        misplaced = concluded
    return None if misplaced is None else (question, misplaced)


def _other_conclusion(answer: Turn, rng: random.Random) -> Turn | None:
    old = conclusion(answer)
    new = changed(old, rng) or swapped(old, rng)
    if new is None:
        return None
    pieces, kinds = split_marks(answer.text)
    before, _, after = pieces[-1].rpartition(old)
    thought = [*pieces[:-1], before]
    if opposite(old) is None:
        # A thought that goes on speaking of the old word would give the mistake away unseen.
        word = re.compile(rf"\b{re.escape(old)}\b")
        thought = [word.sub(lambda _: new, piece) for piece in thought]
    thought[-1] += new + after
    return Turn("assistant", join_marks(thought, kinds), answer.boxes, (), answer.groups)


def _misplaced(turn: Turn, sample: Sample, rng: random.Random) -> Turn | None:
    """`turn` with one of its boxes put on another thing of the dialogue, or near where it was."""
    at = rng.randrange(len(turn.boxes))
    own, head = _phrase(turn, at), _heads(turn)[at]
    # Another thing of the same name may be meant as well, and so may one without a name.
    others = {
        box
        for other in sample.turns
        for name, box in zip(_heads(other), other.boxes, strict=True)
        if head and name not in ("", head) and _elsewhere(box, own)
    }
    near = moved(turn.boxes[at], rng)
    if near is not None and not _elsewhere(near, own):
        near = None
    if others and (near is None or rng.random() < 0.5):
        near = rng.choice(sorted(others, key=corners))
    if near is None:
        return None
    boxes = (*turn.boxes[:at], near, *turn.boxes[at + 1 :])
    return Turn(turn.role, turn.text, boxes, turn.points, turn.groups)


def _phrase(turn: Turn, at: int) -> tuple[Box, ...]:
    """The boxes of the phrase that box number `at` belongs to."""
    start = 0
    for size in turn.groups:
        if at < start + size:
            return turn.boxes[start : start + size]
        start += size
    return (turn.boxes[at],)


def _heads(turn: Turn) -> list[str]:
    """For each box of `turn` the word before it, in the singular; empty where none is."""
    pieces, kinds = split_marks(turn.text)
    heads, head = [], ""
    for piece, kind in zip(pieces, kinds, strict=False):
        if piece.strip():
            words = re.findall(r"\w+", piece.lower())
            head = words[-1].removesuffix("s") if words else ""
        if kind == "box":
            heads.append(head)
    return heads


def _elsewhere(box: Box, places: Sequence[Box]) -> bool:
    return all(box.iou(place) < OTHER_PLACE for place in places)


def referring(
    sample: Sample, pool: Sequence[Sample], rng: random.Random
) -> tuple[Turn, ...] | None:
    """One answer made wrong, the first that can be in an order drawn with `rng`."""
    said = said_in([*pool, sample], sample)
    for at in rng.sample(range(1, len(sample.turns), 2), len(sample.turns) // 2):
        question, answer = sample.turns[at - 1 : at + 1]
        if answer.boxes:
            wrong = _misplaced(answer, sample, rng)
        elif answer.points:
            continue
        else:
            # What was said of another place is no answer to a question about this one.
            known = [] if place_count(question) else said
            text = wrong_text(question.text, answer.text, known, rng)
            wrong = None if text is None else Turn("assistant", text)
        if wrong is not None:
            return (*sample.turns[:at], wrong, *sample.turns[at + 1 :])
    return None
