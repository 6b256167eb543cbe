"""The numbers of a report: shares with intervals, the judge against the truth, rows to show."""

from __future__ import annotations

import bisect
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Generic, TypeVar

import msgspec

from genixer.evaluation.statistics import wilson
from genixer.report.model import (
    THRESHOLDS,
    Judge,
    Page,
    PrecisionRow,
    Reliability,
    Share,
    Students,
)

__all__ = ["EvenChoice", "JudgeTally", "Tile", "precision_rows", "share", "thin", "tiles"]

T = TypeVar("T")

_TENTHS = 10
_VERDICTS = ("right", "wrong", "unknown")


def share(right: int, n: int) -> Share:
    """Share of `right` in `n` with its 95 % interval after Wilson; no value where `n` is 0.

    >>> one = share(9, 10)
    >>> one.value, round(one.low, 3), round(one.high, 3)
    (0.9, 0.596, 0.982)
    """
    if n == 0:
        return Share(0, 0)
    score = wilson("share", right, n)
    return Share(right, n, score.value, *score.ci95)


def precision_rows(columns: Mapping[str, Mapping[str, Mapping[str, int]]]) -> list[PrecisionRow]:
    """One row a task from `columns[column][task][verdict]`, and a last one over all tasks.

    >>> rows = precision_rows({"raw": {"rec": {"right": 1, "wrong": 1, "unknown": 3}}, "kept": {}})
    >>> rows[0].columns["raw"].value, rows[0].columns["kept"].n, rows[0].unknown["raw"]
    (0.5, 0, 3)
    """
    # From the generator's rows on the left to what the filters left on the right.
    order = sorted(columns, key=lambda name: (name != "raw", name == "kept", name))
    columns = {name: columns[name] for name in order}
    tasks = sorted({task for column in columns.values() for task in column})
    rows = [_precision_row(task, [task], columns) for task in tasks]
    if len(tasks) > 1:
        rows.append(_precision_row("all tasks", tasks, columns))
    return rows


def _precision_row(
    label: str, tasks: Sequence[str], columns: Mapping[str, Mapping[str, Mapping[str, int]]]
) -> PrecisionRow:
    def total(column: str, verdict: str) -> int:
        return sum(columns[column].get(task, {}).get(verdict, 0) for task in tasks)

    shares = {
        name: share(total(name, "right"), total(name, "right") + total(name, "wrong"))
        for name in columns
    }
    return PrecisionRow(label, shares, {name: total(name, "unknown") for name in columns})


class JudgeTally:
    """Counts a judge's scores against the truth as they stream by, in memory of fixed size.

    >>> tally = JudgeTally()
    >>> for score, verdict in [(0.9, "right"), (0.4, "wrong"), (float("nan"), "wrong")]:
    ...     tally.add("rec", score, verdict)
    >>> judge = tally.judge("judge", 0.5)
    >>> judge.passing["rec"]["wrong"][79:82], judge.passing[""]["right"][100]
    ([1, 1, 0], 1)
    """

    def __init__(self) -> None:
        """Start with nothing counted."""
        self._bins: dict[str, dict[str, list[int]]] = {}
        self._sums = [0.0] * _TENTHS
        self._tenths = [[0, 0] for _ in range(_TENTHS)]

    def add(self, task: str, score: float, verdict: str) -> None:
        """Count one row; a score outside [0, 1] is moved to the nearest end, NaN is left out."""
        if verdict not in _VERDICTS or math.isnan(score):
            return
        score = min(1.0, max(0.0, score))
        # The last threshold it reaches; the small term undoes the rounding of i / THRESHOLDS.
        reached = math.floor(score * THRESHOLDS + 1e-9)
        for name in ("", task):
            bins = self._bins.setdefault(name, {v: [0] * (THRESHOLDS + 1) for v in _VERDICTS})
            bins[verdict][reached] += 1
        if verdict != "unknown":
            tenth = min(_TENTHS - 1, int(score * _TENTHS))
            self._sums[tenth] += score
            self._tenths[tenth][verdict == "right"] += 1

    def judge(self, score: str, threshold: float) -> Judge | None:
        """What was counted, under the score's name and the threshold in force; None for nothing."""
        if not self._bins:
            return None
        passing = {
            task: {verdict: _at_least(bins) for verdict, bins in verdicts.items()}
            for task, verdicts in sorted(self._bins.items())
        }
        reliability = [
            Reliability(total / (wrong + right), share(right, wrong + right))
            for total, (wrong, right) in zip(self._sums, self._tenths, strict=True)
            if wrong + right
        ]
        return Judge(score, threshold, passing, reliability)


def _at_least(bins: Sequence[int]) -> list[int]:
    counts, running = [], 0
    for count in reversed(bins):
        running += count
        counts.append(running)
    return counts[::-1]


class EvenChoice(Generic[T]):
    """Up to `limit` rows, spread evenly over groups; which ones depends on their ids alone.

    Ids are content hashes, so taking the smallest of a group draws from it at random. Memory:
    `limit` rows a group.

    >>> choice = EvenChoice(3)
    >>> for number in range(10):
    ...     choice.add("common" if number else "rare", f"{number:02}", number)
    >>> choice.chosen()
    [1, 0, 2]
    """

    def __init__(self, limit: int) -> None:
        """Keep at most `limit` rows in the end."""
        self._limit = limit
        self._groups: dict[Hashable, list[tuple[str, T]]] = {}

    def add(self, group: Hashable, id: str, row: T) -> None:
        """Offer `row` of `group`."""
        rows = self._groups.setdefault(group, [])
        if len(rows) < self._limit or (rows and id < rows[-1][0]):
            bisect.insort(rows, (id, row), key=itemgetter(0))
            del rows[self._limit :]

    def chosen(self) -> list[T]:
        """Rows drawn group by group in turn, the groups in the order of their names."""
        groups = sorted(self._groups.items(), key=lambda pair: str(pair[0]))
        queues = [[row for _, row in rows] for _, rows in groups]
        turns = max(map(len, queues), default=0)
        drawn = [queue[turn] for turn in range(turns) for queue in queues if turn < len(queue)]
        return drawn[: self._limit]


def thin(points: Iterable[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most `most` points of a curve: neighbours are averaged, so a noisy loss stays readable.

    >>> thin([(1, 4.0), (2, 2.0), (3, 1.0), (4, 1.0)], 2)
    [(1.5, 3.0), (3.5, 1.0)]
    """
    rows = list(points)
    size = max(1, math.ceil(len(rows) / most))
    return [
        (sum(x for x, _ in block) / len(block), sum(y for _, y in block) / len(block))
        for block in (rows[start : start + size] for start in range(0, len(rows), size))
    ]


class Tile(msgspec.Struct, frozen=True):
    """One headline figure of the page."""

    label: str
    value: str
    note: str


def tiles(page: Page) -> list[Tile]:
    """The figures a reader wants first; a section that is absent gives none.

    >>> from genixer.report.model import Ledger
    >>> tiles(Page("demo", "0", funnel=[Ledger("generate", "generate", 8, 8)]))[0].value
    '8'
    """
    found: list[Tile] = []
    if page.funnel:
        first, last = page.funnel[0], page.funnel[-1]
        found.append(Tile("Asked of the generator", f"{first.items:,}", "requests about images"))
        part = f"{last.kept / first.items:.1%} of them, after {last.step}" if first.items else ""
        found.append(Tile("Kept", f"{last.kept:,}", part))
    if page.precision:
        values = {name: one.value for name, one in page.precision[-1].columns.items()}
        known = {name: f"{value:.1%}" for name, value in values.items() if value is not None}
        if known:
            arrow = " → ".join(known.values())
            found.append(Tile("True by the exact truth", arrow, " → ".join(known)))
    if page.students:
        found.extend(_student_tile(page.students))
    return found


def _student_tile(students: Students) -> list[Tile]:
    others = [name for name in students.arms if name != students.baseline]
    arm = "kept" if "kept" in others else next(iter(others), "")
    effects = [row.arms[arm] for row in students.rows if arm in row.arms and not row.kind]
    gains = [one for one in effects if one.difference is not None and one.difference > 0]
    sure = [one for one in gains if one.difference_ci95 and one.difference_ci95[0] > 0]
    if not effects:
        return []
    note = f"benchmarks higher with {arm} than {students.baseline}; {len(sure)} clear of zero"
    return [Tile("Students", f"{len(gains)} of {len(effects)}", note)]
