"""Wrong twins: samples with an answer made false in a way that is hard to see, for judges."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import msgspec

from genixer.data import Sample, Turn
from genixer.tasks.mistakes import said_in, wrong_text
from genixer.tasks.place_twins import at_a_place, referring, thinking
from genixer.tasks.region_twins import OTHER_PLACE, comprehension, generation
from genixer.tasks.shape import LETTERS, are_pairs, options, place_count

__all__ = ["OTHER_PLACE", "is_judgeable", "wrong_twin"]

_DIALOGUES = ("md", "rd")
_ANSWERED_IN_WORDS = ("common_vqa", "adv_vqa", "mc_vqa", "md", "reg")


def wrong_twin(sample: Sample, pool: Sequence[Sample], rng: random.Random) -> Sample | None:
    """`sample` with a wrong answer drawn with `rng`, or None where none can be made.

    `pool` holds other samples of the same image and of the same question type (for regions: of the
    same task): their answers, boxes and expressions make the hardest mistakes. An answer that the
    pool gives to the very same question is never taken. The twin's only parent is `sample`. Nothing
    is made of a sample that is not in its task's form, or taken from one.
    """
    if not is_judgeable(sample):
        return None
    others = [other for other in pool if other.id != sample.id and is_judgeable(other)]
    change = _CHANGES.get(sample.task)
    turns = change(sample, others, rng) if change else None
    if turns is None:
        return None
    origin = msgspec.structs.replace(sample.origin, parents=(sample.id,))
    return Sample.of(sample.task, sample.image, turns, origin)


def is_judgeable(sample: Sample) -> bool:
    """Whether a sample has the pairs of its task: one, or some in a dialogue; places where due."""
    turns, task = sample.turns, sample.task
    if not are_pairs(turns) or (len(turns) > 2 and task not in _DIALOGUES):
        return False
    return task not in _ANSWERED_IN_WORDS or not any(map(place_count, turns[1::2]))


def _question_answer(
    sample: Sample, pool: Sequence[Sample], rng: random.Random
) -> tuple[Turn, ...] | None:
    question, answer = sample.turns
    wrong = wrong_text(question.text, answer.text, said_in(pool, sample), rng)
    return None if wrong is None else (question, Turn("assistant", wrong))


def _choice(sample: Sample, pool: Sequence[Sample], rng: random.Random) -> tuple[Turn, ...] | None:
    question, answer = sample.turns
    letters = [letter for letter in LETTERS[: len(options(question.text))] if letter != answer.text]
    return (question, Turn("assistant", rng.choice(letters))) if letters else None


def _dialogue(
    sample: Sample, pool: Sequence[Sample], rng: random.Random
) -> tuple[Turn, ...] | None:
    """One answer made wrong, the first that can be in an order drawn with `rng`."""
    said = said_in([*pool, sample], sample)
    for at in rng.sample(range(1, len(sample.turns), 2), len(sample.turns) // 2):
        question, answer = sample.turns[at - 1 : at + 1]
        wrong = wrong_text(question.text, answer.text, said, rng)
        if wrong is not None:
            return (*sample.turns[:at], Turn("assistant", wrong), *sample.turns[at + 1 :])
    return None


_Change = Callable[[Sample, Sequence[Sample], random.Random], tuple[Turn, ...] | None]
_CHANGES: dict[str, _Change] = {
    "common_vqa": _question_answer,
    "adv_vqa": _question_answer,
    "mc_vqa": _choice,
    "md": _dialogue,
    "rec": comprehension,
    "reg": generation,
    "point_qa": at_a_place,
    "qcboxa": thinking,
    "rd": referring,
}
