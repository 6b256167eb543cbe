"""Draws a training mixture for one arm of a study."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from pydantic import Field

from genixer.data import Sample, Turn, decode_row, encode_row, random_for
from genixer.errors import ConfigError, StoreError
from genixer.filters.decontaminate import DISTANCE
from genixer.stages.base import (
    Estimate,
    FileWriter,
    RowWriter,
    Stage,
    StageSettings,
    Step,
    StepOutput,
)
from genixer.stages.keyed_rows import KeyedRows, key_of, write_keyed_rows
from genixer.stages.leak_check import LeakCheck
from genixer.store.hamming import MAX_DISTANCE
from genixer.tasks.shape import are_pairs, options

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Arm", "MixSettings", "MixStage"]

_log = logging.getLogger(__name__)

Arm = Literal["none", "kept", "shuffled", "truth"]
DRAWN = "drawn.bin"


class MixSettings(StageSettings):
    """Which arm, and how much of each part."""

    arm: Arm = "kept"
    """`none`: base alone; `kept`: base and synthetic; `shuffled`: the same, answers exchanged among
    synthetic samples; `truth`: the same, synthetic samples replaced by their true versions."""
    base_fraction: float = Field(1.0, ge=0.0, le=1.0)
    """Share of the base samples, drawn by the run's seed: the same ones in every arm."""
    max_synthetic: int | None = Field(None, ge=0)
    """At most this many synthetic samples, drawn by the run's seed: the same ones in every arm."""
    leak_index: str = ""
    """Hashes of benchmarks: `@STEP/benchmarks.leaks` of a step of the stage `leak_index`, or a
    file. Samples that share a picture or question with one are rejected; empty checks nothing."""
    leak_distance: int = Field(DISTANCE, ge=0, le=MAX_DISTANCE)
    """Pictures are the same when their perceptual hashes differ in at most this many of 64 bits."""


class MixStage(Stage):
    """Base samples (role `base`), then synthetic ones; every candidate is a work item.

    Rejects `not_drawn`, `no_true_answer` (arm `truth`: role `truth` has no sample with this parent)
    and `no_other_answer` (arm `shuffled`: the only sample of its form, or turns that are no pairs).
    In `shuffled` no sample keeps its own answer, but it may get an equal one: answers keep their
    frequencies and say nothing about the image, which is what a control needs. Were equal answers
    kept apart, yes and no would be exactly swapped.

    What was drawn is checked against `leak_index`; a benchmark's samples are rejected as
    `benchmark_picture` or `benchmark_question`, those whose picture cannot be looked at for the
    reason it cannot (`missing_image`, ...).

    Files: `drawn.bin` (one byte a synthetic sample), `answers/` (shuffled), `truth/` (truth),
    `leaks.json` (`LeakTable`), `leaks/*.jsonl` (what each rejected sample shares with which
    benchmark).
    """

    name = "mix"
    version = 2
    Settings = MixSettings

    def __init__(self, settings: MixSettings) -> None:
        """Open no index yet."""
        super().__init__(settings)
        self._check: LeakCheck | None = None

    def items(self, step: Step) -> int:
        """Base samples, and synthetic ones unless the arm is `none`."""
        for role in self._roles():
            if role not in step.inputs:
                raise ConfigError(
                    f"step {step.name}: arm {self.settings.arm} needs the role {role!r}; "
                    f"write from: {{{role}: [some step]}}"
                )
        return self._base(step) + self._synthetic(step)

    def external(self) -> list[Path]:
        """The index, where no step of the run makes it."""
        named = self.settings.leak_index
        return [Path(named)] if named and not named.startswith("@") else []

    def prepare(self, step: Step, out: FileWriter) -> None:
        """Draw the synthetic samples and lay out what they are given."""
        self._checked(step)  # an index that cannot be read is better known now than in a shard
        if not self.settings.leak_index:
            _log.warning(
                "step %s: not checked for leaks of benchmarks; make an index with a step of the "
                "stage leak_index and set leak_index: '@STEP/benchmarks.leaks'",
                step.name,
            )
        if self.settings.arm == "none":
            return
        drawn = _draw(step, self.settings.max_synthetic)
        out.file(DRAWN, drawn.tobytes())
        if self.settings.arm == "shuffled":
            self._lay_out(out, "answers", _exchanged(step, drawn))
        if self.settings.arm == "truth":
            self._lay_out(out, "truth", _by_parent(step))

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Draw candidates `first` to `first + count`."""
        self._checked(step).put(self._candidates(step, first, count), first, step.images, out)

    def finish(self, step: Step, out: FileWriter, rows: StepOutput) -> None:
        """Add up what leaked."""
        self._checked(step).finish(step, out, rows)

    def _candidates(
        self, step: Step, first: int, count: int
    ) -> Iterator[tuple[Sample, Sample | str]]:
        """Each candidate, and what it becomes or the reason why nothing."""
        base = self._base(step)
        if first < base:
            for sample in step.rows(Sample, first, min(count, base - first), "base"):
                yield sample, sample if self._draws_base(step, sample) else "not_drawn"
        last = first + count
        if last > base:
            yield from self._synthetic_candidates(step, max(first, base) - base, last - base)

    def _checked(self, step: Step) -> LeakCheck:
        if self._check is None:
            named = self.settings.leak_index
            path = step.resolve(named) if named else None
            self._check = LeakCheck(path, self.settings.leak_distance)
        return self._check

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        """What is drawn, before leaks; 20 000 candidates a second, 1000 whose pictures are seen."""
        roles = ("base",) if self.settings.arm == "none" else ("base", "synthetic")
        counts = [[one.kept for one in inputs.get(role, ())] for role in roles]
        if any(None in of_role for of_role in counts):
            return Estimate()
        base, synthetic = (sum(n or 0 for n in of_role) for of_role in (*counts, [])[:2])
        items, most = base + synthetic, self.settings.max_synthetic
        kept = round(base * self.settings.base_fraction)
        kept += synthetic if most is None else min(synthetic, most)
        each = 1 / (1000 if self.settings.leak_index else 20_000)
        return Estimate(items, kept, seconds=items * each, bytes=items * 700)

    def _roles(self) -> tuple[str, ...]:
        if self.settings.arm == "none":
            return ("base",)
        return ("synthetic", "truth") if self.settings.arm == "truth" else ("synthetic",)

    def _base(self, step: Step) -> int:
        """Base candidates; a short run (`--limit`) leaves half its room to the synthetic ones."""
        total = step.count("base")
        if step.limit is None or not self._synthetic(step):
            return total
        return min(total, -(-step.limit // 2))

    def _synthetic(self, step: Step) -> int:
        return 0 if self.settings.arm == "none" else step.count("synthetic")

    def _draws_base(self, step: Step, sample: Sample) -> bool:
        share: float = self.settings.base_fraction
        return share >= 1.0 or random_for(step.seed, "mix/base", sample.id).random() < share

    def _lay_out(self, out: FileWriter, name: str, rows: Iterator[tuple[int, bytes]]) -> None:
        folder = out.scratch()
        write_keyed_rows(folder, rows)
        out.adopt(folder, name)

    def _synthetic_candidates(
        self, step: Step, first: int, last: int
    ) -> Iterator[tuple[Sample, Sample | str]]:
        drawn = _drawn(step)
        rows = enumerate(step.rows(Sample, first, last - first, "synthetic"), first)
        if self.settings.arm == "kept":
            for at, sample in rows:
                yield sample, sample if drawn[at] else "not_drawn"
            return
        name = {"shuffled": "answers", "truth": "truth"}[self.settings.arm]
        with KeyedRows(step.resolve(f"@{step.name}/{name}")) as given:
            change = _with_answers if self.settings.arm == "shuffled" else _true_version
            for at, sample in rows:
                yield sample, change(sample, at, given) if drawn[at] else "not_drawn"


def _draw(step: Step, most: int | None) -> np.ndarray[Any, Any]:
    """Whether each synthetic sample is drawn: the `most` smallest lots, the first of equal ones."""
    import numpy as np

    total = step.count("synthetic")
    if most is None or most >= total:
        return np.ones(total, dtype=np.uint8)
    lots = np.empty(total, dtype=np.float64)
    for at, sample in enumerate(step.rows(Sample, role="synthetic")):
        lots[at] = random_for(step.seed, "mix/synthetic", sample.id).random()
    drawn = np.zeros(total, dtype=np.uint8)
    drawn[np.argsort(lots, kind="stable")[:most]] = 1
    return drawn


def _drawn(step: Step) -> np.ndarray[Any, Any]:
    import numpy as np

    path = step.resolve(f"@{step.name}/{DRAWN}")
    drawn = np.fromfile(path, dtype=np.uint8)
    if len(drawn) != step.count("synthetic"):
        raise StoreError(f"{path}: not of this input; remove the step and run again")
    return drawn


def _form(sample: Sample) -> tuple[object, ...]:
    """What samples must share to exchange answers.

    Task, number of options, and which turns speak of boxes and which of points: an answer in words
    is none to a question that asks for a box.
    """
    places = tuple((bool(turn.boxes), bool(turn.points)) for turn in sample.turns)
    return sample.task, len(options(sample.turns[0].text)), places


def _exchanged(step: Step, drawn: np.ndarray[Any, Any]) -> Iterator[tuple[int, bytes]]:
    """(row that takes them, answers) of every drawn synthetic sample not alone in its form."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for at, sample in enumerate(step.rows(Sample, role="synthetic")):
        if drawn[at] and are_pairs(sample.turns):
            groups.setdefault(_form(sample), []).append(at)
    taker: dict[int, int] = {}
    for form, rows in groups.items():
        random_for(step.seed, "mix/shuffled", repr(form)).shuffle(rows)
        if len(rows) > 1:
            taker.update(zip(rows, [*rows[1:], rows[0]], strict=True))
    for at, sample in enumerate(step.rows(Sample, role="synthetic")):
        if at in taker:
            yield taker[at], encode_row(sample.turns[1::2])


def _with_answers(sample: Sample, at: int, given: KeyedRows) -> Sample | str:
    found = given.get(at)
    if not found:
        return "no_other_answer"
    answers = iter(decode_row(found[0], tuple[Turn, ...]))
    turns = tuple(turn if turn.role == "user" else next(answers) for turn in sample.turns)
    origin = msgspec.structs.replace(sample.origin, parents=(sample.id,), scores={})
    return Sample.of(sample.task, sample.image, turns, origin)


def _by_parent(step: Step) -> Iterator[tuple[int, bytes]]:
    for sample in step.rows(Sample, role="truth"):
        for parent in sample.origin.parents:
            yield key_of(parent), encode_row(sample)


def _true_version(sample: Sample, at: int, given: KeyedRows) -> Sample | str:
    for row in given.get(key_of(sample.id)):
        found = decode_row(row, Sample)
        if sample.id in found.origin.parents:
            return found
    return "no_true_answer"
