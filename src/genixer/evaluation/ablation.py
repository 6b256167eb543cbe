"""Arms of a study side by side: what each mixture is worth, and against which control."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from genixer.data import Record, Score
from genixer.errors import ConfigError, DataError
from genixer.evaluation.base import Prediction, ScoreFile
from genixer.evaluation.statistics import mean_over_seeds, paired_difference

__all__ = ["AblationRow", "Run", "ablation", "arm_and_seed", "main_metrics"]


class AblationRow(Record, frozen=True):
    """One arm on one kind of question; an empty `kind` means all.

    `score` is the mean of the marks over seeds and items, `difference` that minus the baseline's,
    paired by item and seed; None for the baseline itself.
    """

    benchmark: str
    kind: str
    arm: str
    seeds: int
    score: Score
    difference: Score | None = None


class Run(NamedTuple):
    """The marked answers of one student."""

    arm: str
    seed: str
    predictions: Iterable[Prediction]


def arm_and_seed(step: str, labels: Mapping[str, str]) -> tuple[str, str]:
    """Arm and seed of an evaluate step: what it is labelled, else the end of its name.

    >>> arm_and_seed("evaluate-kept-2", {}), arm_and_seed("x", {"arm": "none", "seed": "1"})
    (('kept', '2'), ('none', '1'))
    """
    parts = step.rsplit("-", 2)
    arm, seed = (parts[1], parts[2]) if len(parts) == 3 else (step, "")
    return labels.get("arm", arm), labels.get("seed", seed)


def main_metrics(file: ScoreFile) -> dict[str, str]:
    """What the mean mark of each benchmark is called, from one run's scores."""
    first: dict[str, str] = {}
    for one in file.scores:
        first.setdefault(one.benchmark, one.score.metric)
    return first


def ablation(
    runs: Iterable[Run], baseline: str = "none", metrics: Mapping[str, str] | None = None
) -> list[AblationRow]:
    """Rows by benchmark, kind and arm, arms in the order they first come, the baseline first.

    An item that some run did not answer is left out of all, so that every run is compared on the
    same items; runs over different questions raise `DataError`. `metrics` names the mean mark of
    each benchmark (`main_metrics`). Memory: about 200 bytes a prediction.
    """
    table = _Table()
    for run in runs:
        table.add(run)
    if not table.runs:
        return []
    arms = list(dict.fromkeys(arm for arm, _ in table.runs))
    if baseline not in arms:
        raise ConfigError(f"no arm is called {baseline!r}; there are {', '.join(arms)}")
    arms.sort(key=lambda arm: arm != baseline)
    return [
        row
        for (benchmark, kind), items in table.groups().items()
        for row in _rows(
            table, benchmark, kind, items, arms, (metrics or {}).get(benchmark, "mark")
        )
    ]


class _Table:
    """Marks of every run by item."""

    def __init__(self) -> None:
        self.runs: dict[tuple[str, str], dict[str, float]] = {}
        self.items: dict[str, tuple[str, str]] = {}

    def add(self, run: Run) -> None:
        key = (run.arm, run.seed)
        if key in self.runs:
            raise ConfigError(
                f"arm {run.arm!r}, seed {run.seed!r} comes twice; give the evaluate steps labels "
                "arm and seed that tell them apart"
            )
        marks = {}
        for one in run.predictions:
            self.items[one.id] = (one.benchmark, one.kind)
            marks[one.id] = one.correct
        self.runs[key] = marks

    def groups(self) -> dict[tuple[str, str], list[str]]:
        """Items that every run answered, by benchmark and kind, all kinds together first."""
        shared = [id for id in self.items if all(id in marks for marks in self.runs.values())]
        if not shared and self.items:
            raise DataError("the runs answered no question in common; are their benchmarks alike?")
        kinds: dict[str, dict[str, list[str]]] = {}
        for id in shared:
            benchmark, kind = self.items[id]
            kinds.setdefault(benchmark, {}).setdefault(kind, []).append(id)
        found: dict[tuple[str, str], list[str]] = {}
        for benchmark, by_kind in kinds.items():
            found[benchmark, ""] = [id for ids in by_kind.values() for id in ids]
            if len(by_kind) > 1:
                found.update({(benchmark, kind): by_kind[kind] for kind in sorted(by_kind)})
        return found

    def marks(self, arm: str, items: Sequence[str]) -> dict[str, list[float]]:
        """Marks of `items` by seed."""
        return {
            seed: [marks[id] for id in items]
            for (one, seed), marks in sorted(self.runs.items())
            if one == arm
        }


def _rows(
    table: _Table, benchmark: str, kind: str, items: Sequence[str], arms: Sequence[str], metric: str
) -> Iterable[AblationRow]:
    control = table.marks(arms[0], items)
    for arm in arms:
        marks = table.marks(arm, items)
        row = AblationRow(
            benchmark, kind, arm, len(marks), mean_over_seeds(metric, list(marks.values()))
        )
        if arm != arms[0]:
            # The same seed means the same first weights and order of rows: pairs where there are.
            shared = [seed for seed in marks if seed in control]
            pairs = shared or list(marks)
            theirs = [control[seed] for seed in shared] or list(control.values())
            gap = paired_difference(metric, [marks[seed] for seed in pairs], theirs)
            row = msgspec.structs.replace(row, difference=gap)
        yield row
