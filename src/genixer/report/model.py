"""What a report page shows, as plain records.

The report stage fills them, `genixer.report.page` draws them. Every section may be absent; the page
then says what is missing instead of leaving a hole.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from genixer.filters.decontaminate import LeakTable

__all__ = [
    "THRESHOLDS",
    "Curve",
    "Effect",
    "Exhibit",
    "Gallery",
    "Judge",
    "Ledger",
    "Outcome",
    "Page",
    "PrecisionRow",
    "Reliability",
    "Seen",
    "Share",
    "StudentRow",
    "Students",
    "Words",
]

Outcome = Literal["kept", "rejected", "unreadable"]
"""`unreadable`: the completion did not parse, so there is no question and answer, only text."""

THRESHOLDS = 200
"""Thresholds of the judge are multiples of 1 / THRESHOLDS."""


class Share(msgspec.Struct, frozen=True):
    """`right` out of `n`, as a share in [0, 1] with its 95 % interval; an empty count has no value.

    >>> Share(0, 0).value is None
    True
    """

    right: int
    n: int
    value: float | None = None
    low: float = 0.0
    high: float = 1.0


class Ledger(msgspec.Struct, frozen=True):
    """One step's account: `items` = `kept` + all `rejected` + all `quarantined`, both by reason."""

    step: str
    stage: str
    items: int
    kept: int
    rejected: dict[str, int] = {}
    quarantined: dict[str, int] = {}


class Seen(msgspec.Struct, frozen=True):
    """What one model was trained on: `rows` of text by their source, from the weights `start`."""

    step: str
    start: str
    rows: dict[str, int]


class PrecisionRow(msgspec.Struct, frozen=True):
    """Share of true rows of one task, by column (`raw`, `kept`).

    Rows without an exact truth are counted in `unknown` and left out of the shares.
    """

    task: str
    columns: dict[str, Share]
    unknown: dict[str, int] = {}


class Reliability(msgspec.Struct, frozen=True):
    """Rows with a judge score in one tenth of [0, 1]: their `mean` score, and how many are true."""

    mean: float
    share: Share


class Judge(msgspec.Struct, frozen=True):
    """One scoring filter against the exact truth, over every row that reached it.

    `passing[task][verdict][i]` is how many rows score at least i / `THRESHOLDS`; verdicts are
    `right`, `wrong`, `unknown`. The empty task name is all of them together.
    """

    score: str
    threshold: float
    passing: dict[str, dict[str, list[int]]]
    reliability: list[Reliability]


class Effect(msgspec.Struct, frozen=True):
    """Mean of one metric over `seeds` runs of an arm, and its difference against the baseline arm.

    In percent, with 95 % intervals; `difference` is None for the baseline.
    """

    value: float
    seeds: int
    ci95: tuple[float, float]
    difference: float | None = None
    difference_ci95: tuple[float, float] | None = None


class StudentRow(msgspec.Struct, frozen=True):
    """One metric of one benchmark across arms, over `n` items; an empty `kind` means all."""

    benchmark: str
    kind: str
    metric: str
    n: int
    arms: dict[str, Effect]


class Students(msgspec.Struct, frozen=True):
    """What training on each arm's mixture gave; differences are against the arm `baseline`."""

    arms: list[str]
    baseline: str
    rows: list[StudentRow]

    @property
    def seeds(self) -> str:
        """How many seeds the arms were run with, in words.

        >>> row = StudentRow("pope", "", "accuracy", 9, {"none": Effect(50.0, 3, (40.0, 60.0))})
        >>> Students(["none"], "none", [row]).seeds
        '3 seeds'
        """
        found = sorted({one.seeds for row in self.rows for one in row.arms.values()})
        if found in ([], [1]):
            return "1 seed"
        return f"{'-'.join(str(end) for end in dict.fromkeys((found[0], found[-1])))} seeds"


class Words(msgspec.Struct, frozen=True):
    """One turn: `parts` are pieces of text and, for a mark, its index in `Exhibit.marks`."""

    role: str
    parts: list[str | int]


class Exhibit(msgspec.Struct, frozen=True):
    """One row in the gallery; `marks` are boxes (4 numbers) and points (2) in [0, 1], un-padded.

    `image` is an index into the gallery's pictures, or -1 where there is none; `size` is that of
    the original in px. `reason` says why the row was not kept, at `step`.
    """

    id: str
    task: str
    mode: str
    outcome: Outcome
    image: int
    size: tuple[int, int]
    words: list[Words]
    marks: list[list[float]] = []
    step: str = ""
    reason: str = ""
    scores: dict[str, float] = {}
    truth: Literal["right", "wrong", "unknown"] = "unknown"
    detail: str = ""


class Gallery(msgspec.Struct, frozen=True):
    """Rows to look at, drawn evenly over outcomes from `total`; `pictures` are data URIs."""

    total: int
    rows: list[Exhibit]
    pictures: list[str]


class Curve(msgspec.Struct, frozen=True):
    """Training loss of one step: (optimiser step, loss) in order."""

    step: str
    points: list[tuple[float, float]]


class Page(msgspec.Struct, frozen=True):
    """The whole page. `funnel` has the steps from images to kept rows, `ledgers` all of them."""

    title: str
    digest: str
    funnel: list[Ledger] = []
    ledgers: list[Ledger] = []
    seen: list[Seen] = []
    precision: list[PrecisionRow] = []
    judge: Judge | None = None
    students: Students | None = None
    gallery: Gallery | None = None
    curves: list[Curve] = []
    leaks: dict[str, LeakTable] = {}
    """What the check of each mixture against benchmarks found, by step."""
    versions: dict[str, str] = {}
    licences: list[str] = []
    config: str = ""
    """The resolved config, as YAML."""
