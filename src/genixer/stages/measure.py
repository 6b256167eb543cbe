"""Measures samples by the exact truth: for the report, never for the filter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from genixer.data import Measured, Origin, Sample, encode_row
from genixer.sources.scene_truth import Truth, check
from genixer.sources.scenes import Scene
from genixer.stages.base import FileWriter, RowWriter, Stage, Step, StepOutput

__all__ = ["CorrectStage", "MeasureStage"]


class _Truths:
    """The scenes of role `world` by picture, read once a process."""

    def __init__(self) -> None:
        self._scenes: dict[str, Scene] | None = None

    def of(self, step: Step, sample: Sample) -> Truth:
        """Verdict on `sample`; `unknown` for a picture that is not of this world."""
        if self._scenes is None:
            self._scenes = {scene.image: scene for scene in step.rows(Scene, role="world")}
        scene = self._scenes.get(sample.image.path) if sample.image else None
        return check(sample, scene) if scene else Truth("unknown", detail="not of this world")


class MeasureStage(Stage):
    """Gives every sample of role `rows` a verdict.

    It needs the roles `world` (the truth) and `kept` (what the filters left).

    A kept row is `Measured`. Files: `precision.json` (right, wrong and unknown by task, for all
    rows and for kept ones).
    """

    name = "measure"
    rows_per_shard = 4096

    def __init__(self, settings: Any) -> None:
        """Read nothing yet."""
        super().__init__(settings)
        self._truths = _Truths()

    def items(self, step: Step) -> int:
        """One item a sample."""
        return step.count()

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Check samples `first` to `first + count`."""
        for sample in step.rows(Sample, first, count):
            truth = self._truths.of(step, sample)
            out.keep(
                Measured(
                    sample.id,
                    sample.task,
                    sample.origin.mode,
                    truth.verdict,
                    truth.detail,
                    truth.kind,
                )
            )

    def finish(self, step: Step, out: FileWriter, rows: StepOutput) -> None:
        """Count verdicts by task, for all samples and for those that were kept."""
        kept = {sample.id for sample in step.rows(Sample, role="kept")}
        measured = list(rows.rows(Measured))
        tables = {
            "raw": _table(measured),
            "kept": _table(one for one in measured if one.id in kept),
        }
        out.file("precision.json", encode_row(tables))


def _table(measured: Iterable[Measured]) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for one in measured:
        row = table.setdefault(one.task, {"right": 0, "wrong": 0, "unknown": 0})
        row[one.verdict] += 1
    return table


class CorrectStage(Stage):
    """Samples of role `rows` with their true answers (role `world`): the upper bound of any filter.

    What the truth has no answer for is rejected. A kept sample's `origin.parents` is the id of the
    sample set right.
    """

    name = "correct"
    version = 2
    rows_per_shard = 4096

    def __init__(self, settings: Any) -> None:
        """Read nothing yet."""
        super().__init__(settings)
        self._truths = _Truths()

    def items(self, step: Step) -> int:
        """One item a sample."""
        return step.count()

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Set samples `first` to `first + count` right."""
        for sample in step.rows(Sample, first, count):
            truth = self._truths.of(step, sample)
            if not truth.true_turns:
                out.reject(sample.id, "no_true_answer", sample)
                continue
            origin = Origin(
                "scenes", sample.origin.licence, parents=(sample.id,), question_type=truth.kind
            )
            out.keep(Sample.of(sample.task, sample.image, truth.true_turns, origin))
