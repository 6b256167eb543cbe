"""What generating would cost, with error bars: headers are sampled, rates stated or probed."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import msgspec

from genixer.config import Costs, RunConfig
from genixer.data import random_for
from genixer.pipeline.estimate import StepForecast
from genixer.pipeline.plan import Plan, PlannedStep
from genixer.pipeline.probe import Probe, probe
from genixer.pipeline.progress import Progress
from genixer.pipeline.tables import text_table
from genixer.sources.unlabelled import find_pools, pool_images
from genixer.stages.base import Step
from genixer.stages.requests import GenerateSettings, RequestPlan
from genixer.store.images import MAX_PIXELS, ImageError, header_of, image_bytes

__all__ = [
    "CostForecast",
    "Interval",
    "cost_table",
    "forecast_costs",
    "mean_interval",
    "share_interval",
]

log = logging.getLogger(__name__)

T = TypeVar("T")

SAMPLED = 200
"""Images whose headers are read."""
_MOST_BYTES = 1 << 28
_Z = 1.645
"""Of the normal distribution: 90 % lie within so many deviations."""
_T = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812)
"""The same of Student's t with 1 to 10 degrees of freedom."""


class Interval(NamedTuple):
    """A middle value and the ends of its 90 % interval."""

    low: float
    mid: float
    high: float

    def times(self, other: Interval | float) -> Interval:
        """Product; both ends take the ends of both, so it is rather too wide.

        >>> Interval(1, 2, 3).times(10)
        Interval(low=10, mid=20, high=30)
        """
        by = other if isinstance(other, Interval) else Interval(other, other, other)
        return Interval(self.low * by.low, self.mid * by.mid, self.high * by.high)


def exactly(value: float) -> Interval:
    """An interval without width."""
    return Interval(value, value, value)


def mean_interval(values: Sequence[float]) -> Interval:
    """Mean of what the values are a sample of, never below 0; one value gives no width.

    >>> mean_interval([1.0, 2.0, 3.0]).mid
    2.0
    """
    count, mean = len(values), math.fsum(values) / len(values)
    if count < 2:
        return exactly(mean)
    deviation = math.sqrt(math.fsum((one - mean) ** 2 for one in values) / (count - 1))
    wide = (_T[count - 2] if count - 2 < len(_T) else _Z) * deviation / math.sqrt(count)
    return Interval(max(0.0, mean - wide), mean, mean + wide)


def share_interval(hits: int, count: int) -> Interval:
    """Share of hits with Wilson's interval.

    >>> [round(one, 3) for one in share_interval(0, 100)]
    [0.0, 0.0, 0.026]
    """
    if not count:
        return Interval(0.0, 0.0, 1.0)
    share, square = hits / count, _Z * _Z
    middle = (share + square / (2 * count)) / (1 + square / count)
    spread = math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    wide = _Z * spread / (1 + square / count)
    return Interval(max(0.0, min(share, middle - wide)), share, max(share, middle + wide))


class CostForecast(msgspec.Struct, frozen=True):
    """What is left of a generate step would cost; intervals are 90 %."""

    step: str
    basis: str
    """`stated`: rates of the config's `costs`; `probe`: counted and timed."""
    images: int
    megapixels: Interval
    """Of one image."""
    unreadable: Interval
    """Share of the images."""
    requests: int
    """Left to ask."""
    read_tokens: Interval
    written_tokens: Interval
    hours: Interval
    """On the clock, with the config's workers."""
    gpu_hours: Interval
    cost: Interval
    currency: str
    megabytes: Interval
    """Of rows on disk."""


@dataclass(frozen=True)
class PoolSample:
    """Some images of a pool, drawn evenly."""

    images: int
    """In the whole pool."""
    names: tuple[str, ...]
    """The sampled ones, relative to the image root."""
    sizes: tuple[tuple[int, int], ...]
    """Width and height in px of those that can be read."""


def sample_pool(step: Step, images: str, size: int = SAMPLED) -> PoolSample | None:
    """Count a pool and read the headers of `size` of its images; None where it is not there yet."""
    pools = find_pools(step.resolve(images))
    if not pools or not step.images.is_dir():
        return None
    rng = random_for(step.seed, "plan", step.name)
    found = (one for pool in pools for one in pool_images(pool, step.images))
    count, drawn = _reservoir(found, size, rng)
    names = [one for one in drawn if isinstance(one, str)]
    sizes = []
    for name in names:
        try:
            data = image_bytes(step.images, name, _MOST_BYTES)
            if data is not None:
                sizes.append(header_of(name, data, MAX_PIXELS)[1:])
        except ImageError:
            continue
    return PoolSample(count, tuple(names), tuple(sizes))


def _reservoir(items: Iterable[T], size: int, rng: random.Random) -> tuple[int, list[T]]:
    """How many items there are, and `size` of them drawn evenly."""
    held: list[T] = []
    count = 0
    for count, item in enumerate(items, 1):
        if len(held) < size:
            held.append(item)
        else:
            place = rng.randrange(count)
            if place < size:
                held[place] = item
    return count, held


def forecast_costs(
    plan: Plan,
    config: RunConfig,
    steps: Sequence[StepForecast],
    requests: int | None,
    progress: Progress,
) -> list[CostForecast]:
    """What is left of every generate step would cost, where its images are there to be looked at.

    With `requests` the rates are those of a probe of so many.
    """
    found = []
    for line in steps:
        planned = plan.by_name[line.name]
        if planned.stage_name != "generate" or line.status == "cached":
            continue
        settings = GenerateSettings.model_validate(planned.settings)
        step = planned.step()
        pool = sample_pool(step, settings.images)
        if pool is None or not pool.names:
            continue
        total = RequestPlan(settings).total(pool.images)
        total = total if plan.limit is None else min(total, plan.limit)
        rates = None
        if requests and (settings.model[0] != "@" or step.resolve(settings.model).exists()):
            rates = probe(planned, config, pool.names, requests, progress)
        elif requests:
            log.warning("%s: not probed: %s is not there yet", line.name, settings.model)
        found.append(forecast_cost(planned, config, pool, total - line.done, rates))
    return found


def forecast_cost(
    step: PlannedStep, config: RunConfig, pool: PoolSample, requests: int, rates: Probe | None
) -> CostForecast:
    """What `requests` of a generate step about `pool` would cost, at `rates`."""
    costs = config.costs
    seen = len(pool.names)
    unreadable = share_interval(seen - len(pool.sizes), seen)
    readable = Interval(1 - unreadable.high, 1 - unreadable.mid, 1 - unreadable.low)
    asked = readable.times(requests)
    if rates is None:
        tokens = exactly(costs.answer_tokens)
        seconds = exactly(costs.answer_tokens / costs.tokens_per_second)
        size = exactly(1200.0)
    else:
        tokens = mean_interval(rates.tokens)
        seconds = mean_interval(rates.seconds)
        size = mean_interval(rates.bytes)
    written, work = asked.times(tokens), asked.times(seconds)
    hours = work.times(1 / 3600)
    return CostForecast(
        step.name,
        "stated" if rates is None else "probe",
        pool.images,
        mean_interval([width * height / 1e6 for width, height in pool.sizes] or [0.0]),
        unreadable,
        requests,
        asked.times(costs.prompt_tokens),
        written,
        hours.times(1 / max(1, config.workers)),
        hours.times(costs.gpus),
        _cost(costs, asked, written, work),
        costs.currency,
        asked.times(size).times(1e-6),
    )


def _cost(costs: Costs, asked: Interval, written: Interval, seconds: Interval) -> Interval:
    return Interval(*(costs.of(*three) for three in zip(asked, written, seconds, strict=True)))


def cost_table(costs: Sequence[CostForecast]) -> str:
    """The forecasts for people: middle values with the ends of their intervals."""
    header = ["step", "rates", "images", "Mpx", "unreadable", "requests", "tokens", "hours"]
    header += ["GPU hours", "cost", "MB"]
    rows = [
        [
            one.step,
            one.basis,
            str(one.images),
            f"{one.megapixels.mid:.2f}",
            f"{100 * one.unreadable.mid:.1f} % (to {100 * one.unreadable.high:.1f})",
            str(one.requests),
            _words(one.written_tokens),
            _words(one.hours),
            _words(one.gpu_hours),
            f"{_words(one.cost)} {one.currency}",
            _words(one.megabytes),
        ]
        for one in costs
    ]
    return text_table(header, rows, right=range(2, len(header)))


def _words(value: Interval) -> str:
    low, mid, high = (f"{one:.3g}" for one in value)
    return mid if low == high else f"{mid} ({low} to {high})"
