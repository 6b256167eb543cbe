"""Line charts as geometry: numbers in, SVG coordinates out; the template draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from genixer.report.model import Curve, Judge

__all__ = ["Dot", "Frame", "Plot", "Tick", "loss_plot", "precision_recall", "reliability_plot"]

Points = Sequence[tuple[float, float]]


class Frame(msgspec.Struct, frozen=True):
    """Where a plot lies in its SVG, in px, and the values at its edges.

    >>> Frame(x=(0, 1), y=(0, 1)).at(0.0, 0.0)
    (44.0, 204.0)
    """

    x: tuple[float, float]
    y: tuple[float, float]
    width: int = 360
    height: int = 240
    left: int = 44
    right: int = 12
    top: int = 12
    bottom: int = 36

    def at(self, x: float, y: float) -> tuple[float, float]:
        """SVG coordinates of the value (x, y), clipped to the plot, to a tenth of a px."""
        across = _part(x, self.x) * (self.width - self.left - self.right)
        up = _part(y, self.y) * (self.height - self.top - self.bottom)
        return round(self.left + across, 1), round(self.height - self.bottom - up, 1)


def _part(value: float, ends: tuple[float, float]) -> float:
    span = ends[1] - ends[0]
    return min(1.0, max(0.0, (value - ends[0]) / span)) if span > 0 else 0.5


class Tick(msgspec.Struct, frozen=True):
    """A label at `place` px along its axis."""

    place: float
    label: str


class Dot(msgspec.Struct, frozen=True):
    """A point with its vertical interval, all in px, and the words a pointer shows."""

    x: float
    y: float
    low: float
    high: float
    title: str


class Plot(msgspec.Struct, frozen=True):
    """One chart: `path` is its line, `guide` a dashed reference, `dots` single points."""

    frame: Frame
    x_label: str
    y_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    path: str = ""
    guide: str = ""
    dots: list[Dot] = []


def _path(frame: Frame, points: Points) -> str:
    places = [frame.at(x, y) for x, y in points]
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in places) if places else ""


def _ticks(frame: Frame, axis: str, values: Sequence[float], form: str) -> list[Tick]:
    if axis == "x":
        return [Tick(frame.at(value, frame.y[0])[0], format(value, form)) for value in values]
    return [Tick(frame.at(frame.x[0], value)[1], format(value, form)) for value in values]


def precision_recall(judge: Judge) -> Plot:
    """Precision against recall over all thresholds, of the true rows that reached the judge."""
    right, wrong = judge.passing[""]["right"], judge.passing[""]["wrong"]
    points = [
        (r / right[0], r / (r + w)) for r, w in zip(right, wrong, strict=True) if right[0] and r + w
    ]
    lowest = min((y for _, y in points), default=0.0)
    floor = max(0.0, math.floor(lowest * 10) / 10 - 0.1)
    frame = Frame(x=(0.0, 1.0), y=(floor, 1.0))
    return Plot(
        frame,
        "recall",
        "precision",
        _ticks(frame, "x", [0, 0.25, 0.5, 0.75, 1], ".0%"),
        _ticks(frame, "y", _spread(floor, 1.0), ".0%"),
        _path(frame, points),
    )


def reliability_plot(judge: Judge) -> Plot:
    """Share of true rows by mean score of a tenth; on the guide a score is a probability."""
    frame = Frame(x=(0.0, 1.0), y=(0.0, 1.0))
    dots = []
    for tenth in judge.reliability:
        if tenth.share.value is None:
            continue
        x, y = frame.at(tenth.mean, tenth.share.value)
        low, high = frame.at(0, tenth.share.low)[1], frame.at(0, tenth.share.high)[1]
        title = f"{tenth.share.right} of {tenth.share.n} true at mean score {tenth.mean:.2f}"
        dots.append(Dot(x, y, low, high, title))
    quarters = [0, 0.25, 0.5, 0.75, 1]
    return Plot(
        frame,
        "judge score",
        "share that is true",
        _ticks(frame, "x", quarters, ".2f"),
        _ticks(frame, "y", quarters, ".0%"),
        guide=_path(frame, [(0, 0), (1, 1)]),
        dots=dots,
    )


def loss_plot(curve: Curve) -> Plot:
    """Training loss against the optimiser step, from zero."""
    first, last = curve.points[0][0], curve.points[-1][0]
    # The first losses tower over the rest: the axis ends where all but the highest 2 % lie.
    ranked = sorted(loss for _, loss in curve.points)
    top = ranked[min(len(ranked) - 1, int(len(ranked) * 0.98))] or 1.0
    frame = Frame((first, last), (0.0, top), 240, 130, 36, 8, 8, 22)
    return Plot(
        frame,
        "step",
        "loss",
        _ticks(frame, "x", [first, last], ",.0f"),
        _ticks(frame, "y", [0.0, top / 2, top], ".2f"),
        _path(frame, curve.points),
    )


def _spread(low: float, high: float) -> list[float]:
    """About five round values from `low` to `high`.

    >>> _spread(0.5, 1.0)
    [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    """
    step = 0.1 if high - low <= 0.55 else 0.2 if high - low <= 0.8 else 0.25
    count = math.floor((high - low) / step + 1e-9)
    return [round(high - step * back, 6) for back in range(count, -1, -1)]
