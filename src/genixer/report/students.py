"""The students' table: what training on each arm's mixture was worth, in percent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from genixer.data import Score
from genixer.evaluation.ablation import AblationRow, Run, ablation
from genixer.report.model import Effect, StudentRow, Students

__all__ = ["students"]


def students(
    runs: Iterable[Run], baseline: str, metrics: Mapping[str, str] | None = None
) -> Students | None:
    """Table over the marked answers of all `runs`; None when there are none.

    Raises `ConfigError` when no arm is called `baseline`, `DataError` when the runs answered
    different questions.
    """
    rows = ablation(runs, baseline, metrics)
    if not rows:
        return None
    table: dict[tuple[str, str], StudentRow] = {}
    for row in rows:
        new = StudentRow(row.benchmark, row.kind, row.score.metric, row.score.n, {})
        table.setdefault((row.benchmark, row.kind), new).arms[row.arm] = _effect(row)
    return Students(list(dict.fromkeys(row.arm for row in rows)), baseline, list(table.values()))


def _effect(row: AblationRow) -> Effect:
    difference = row.difference
    return Effect(
        row.score.value * 100,
        row.seeds,
        _percent(row.score),
        None if difference is None else difference.value * 100,
        None if difference is None else _percent(difference),
    )


def _percent(score: Score) -> tuple[float, float]:
    return score.ci95[0] * 100, score.ci95[1] * 100
