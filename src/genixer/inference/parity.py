"""Whether two backends say the same when asked the same: text, log-probabilities, boxes.

Sampled text proves nothing, since two backends never draw alike; only greedy answers are compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from statistics import median
from typing import Any, NamedTuple

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from genixer.data import Box, Completion, Generation, Quarantined
from genixer.errors import ParityError
from genixer.frames import check_frame
from genixer.tasks import load_task
from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.recognise import recognise

__all__ = ["Compared", "ParityBar", "ParityReport", "compare", "lost", "report_on", "unlike"]

_WORST = 5
"""Examples that a report shows."""


class ParityBar(BaseModel):
    """What two backends must agree in before their rows may be mixed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: int = Field(100, ge=1)
    """Requests compared at most: the first ones that the first backend answered."""
    same_text: float = Field(0.95, ge=0.0, le=1.0)
    """Least share of requests whose greedy text is the same to the letter."""
    answered: float = Field(0.95, ge=0.0, le=1.0)
    """Least share of the second backend's answers to requests that the first one answered, too."""
    logprob_gap: float = Field(0.05, ge=0.0)
    """Most that the median difference of a token's log-probability may be, in nats."""
    raw_logprobs: bool = True
    """Whether both give raw log-probabilities; false leaves these out."""
    box_iou: float = Field(0.95, ge=0.0, le=1.0)
    """Least overlap of a box with the other backend's, to count as the same."""
    same_boxes: float = Field(0.95, ge=0.0, le=1.0)
    """Least share of boxes that are the same."""


class Compared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request, answered by both.

    `gaps` are absolute differences of the tokens' log-probabilities, as far as both wrote the same
    tokens; `ious` the overlap of every box with the other's at its place, 0 where there is none.
    `second` is None where the second backend has no answer.
    """

    id: str
    task: str
    first: str
    second: str | None
    gaps: tuple[float, ...] = ()
    ious: tuple[float, ...] = ()

    @property
    def same(self) -> bool:
        """Whether both wrote the same."""
        return self.first == self.second


class Lost(NamedTuple):
    """How many of `answers`, those of the second backend, the first one failed to give."""

    rows: int
    answers: int

    @property
    def answered(self) -> float | None:
        """Share that the first one gave, too."""
        return (self.answers - self.rows) / self.answers if self.answers else None


class ParityReport(msgspec.Struct, frozen=True):
    """What came of a comparison. A figure is None where there was nothing to take it from."""

    bar: dict[str, Any]
    requests: int
    same_text: float
    answered: float | None
    """Share of all that the second backend answered that the first one answered, too."""
    tokens: int
    logprob_gap: float | None
    boxes: int
    same_boxes: float | None
    failures: tuple[str, ...]
    worst: tuple[Compared, ...]

    @property
    def passed(self) -> bool:
        """Whether the backends are the same, as far as the bar asks for it."""
        return not self.failures

    @property
    def lines(self) -> list[str]:
        """The figures, a line each."""
        found = [f"same greedy text: {self.same_text:.1%} of {self.requests} requests"]
        if self.answered is not None:
            found.append(f"answered by the first, too: {self.answered:.1%}")
        if self.logprob_gap is not None:
            gap = f"{self.logprob_gap:.4f}"
            found.append(f"median difference of log-probabilities: {gap} over {self.tokens} tokens")
        if self.same_boxes is not None:
            found.append(f"same boxes: {self.same_boxes:.1%} of {self.boxes}")
        return found

    def check(self) -> None:
        """Raise `ParityError`, which shows the worst examples, unless passed."""
        if self.passed:
            return
        examples = [
            f"{one.id} ({one.task or 'agnostic'})\n    first:  {one.first!r}\n"
            f"    second: {one.second!r}"
            for one in self.worst
        ]
        raise ParityError(
            "\n  ".join(["the two backends do not say the same:", *self.failures, *examples])
        )


def unlike(first: Generation, second: Generation | None) -> str:
    """Why answers to one request id cannot be compared, as a snake_case reason; empty if they can.

    `other_request`: asked in other words or drawn otherwise; `sampled`: not greedy.
    """
    one = first.request
    if second is not None and (one.prompt, one.image.sha256, one.sampling) != (
        second.request.prompt,
        second.request.image.sha256,
        second.request.sampling,
    ):
        return "other_request"
    return "sampled" if one.sampling.temperature > 0 else ""


def compare(first: Generation, second: Generation | None) -> Compared:
    """The two answers to one request side by side."""
    text, task = first.completion.text.strip(), first.request.task
    if second is None:
        return Compared(first.id, task, text, None)
    boxes = zip_longest(_boxes(first), _boxes(second))
    ious = (one.iou(other) if one and other else 0.0 for one, other in boxes)
    return Compared(
        first.id,
        task,
        text,
        second.completion.text.strip(),
        _gaps(first.completion, second.completion),
        tuple(round(iou, 6) for iou in ious),
    )


def lost(first: Iterable[Quarantined], second: Iterable[Generation]) -> Lost:
    """What the first backend failed at (its `quarantine`) and the second one answered.

    Requests that both failed at say nothing of how like each other they are.
    """
    failed = {row.where for row in first}
    found = Counter(row.id in failed for row in second)
    return Lost(found[True], found.total())


def report_on(
    rows: Iterable[Compared], bar: ParityBar, missing: Lost | None = None
) -> ParityReport:
    """Figures of `rows` against `bar`; raises `ParityError` when there are none.

    `missing` is what the first one has no row of.

    >>> same = Compared("1", "rec", "a", "a", (0.01,), (1.0,))
    >>> report_on([same], ParityBar()).passed
    True
    """
    compared = list(rows)
    if not compared:
        failed = (
            f"; the first failed at {missing.rows} of {missing.answers} that the second answered"
            if missing and missing.rows
            else ""
        )
        raise ParityError(
            f"nothing to compare: no request was asked of both backends with temperature: 0{failed}"
        )
    gaps = [gap for one in compared for gap in one.gaps] if bar.raw_logprobs else []
    ious = [iou for one in compared for iou in one.ious]
    text = sum(one.same for one in compared) / len(compared)
    gap = median(gaps) if gaps else None
    boxes = sum(iou >= bar.box_iou for iou in ious) / len(ious) if ious else None
    failures = []
    if text < bar.same_text:
        failures.append(f"same greedy text: {text:.1%} of {len(compared)} requests, "
                        f"at least {bar.same_text:.1%} expected")  # fmt: skip
    answered = missing.answered if missing else None
    if missing and answered is not None and answered < bar.answered:
        failures.append(f"answers of the second that the first gave, too: {answered:.1%} "
                        f"of {missing.answers}, at least {bar.answered:.1%} expected")  # fmt: skip
    if gap is not None and gap > bar.logprob_gap:
        failures.append(f"median difference of log-probabilities: {gap:.4f}, "
                        f"at most {bar.logprob_gap:.4f} expected")  # fmt: skip
    if boxes is not None and boxes < bar.same_boxes:
        failures.append(f"boxes with an IoU of {bar.box_iou} or more: {boxes:.1%} of {len(ious)}, "
                        f"at least {bar.same_boxes:.1%} expected")  # fmt: skip
    worst = sorted((one for one in compared if _badness(one) > (False, 0.0, 0.0)), key=_badness)
    return ParityReport(
        bar.model_dump(),
        len(compared),
        text,
        answered,
        len(gaps),
        gap,
        len(ious),
        boxes,
        tuple(failures),
        tuple(worst[::-1][:_WORST]),
    )


def _badness(one: Compared) -> tuple[bool, float, float]:
    return not one.same, 1.0 - min(one.ious, default=1.0), max(one.gaps, default=0.0)


def _gaps(first: Completion, second: Completion) -> tuple[float, ...]:
    """Differences over the tokens both wrote before they part."""
    pairs = zip(first.logprobs, second.logprobs, strict=False)
    differences = [round(abs(one - other), 6) for one, other in pairs]
    if first.token_ids and second.token_ids:
        return tuple(differences[: _shared(first.token_ids, second.token_ids)])
    # A server does not tell tokens by number: equal text then stands for equal tokens.
    return tuple(differences) if first.text == second.text else ()


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens are the same from the start."""
    for place, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine != theirs:
            return place
    return min(len(one), len(other))


def _boxes(row: Generation) -> list[Box]:
    """Boxes of a completion in order; none where its task cannot read it."""
    image, request = row.request.image, row.request
    canvas = Canvas(check_frame(row.frame), row.decimals, image.width, image.height)
    text = row.completion.text.strip()
    if request.task:
        turns = load_task(request.task).decode(text, canvas)
    else:
        found = recognise(text, canvas)
        turns = found if isinstance(found, ParseError) else found[1]
    return [] if isinstance(turns, ParseError) else [box for turn in turns for box in turn.boxes]
