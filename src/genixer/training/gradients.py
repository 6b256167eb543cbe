"""One step's gradients: of the mean weighted loss over the whole batch, however it is cut up.

A batch is cut among processes, then into parts that a process does one after the other
(accumulation) and lanes that it does side by side. Sums are divided once, at the end, by the sum of
the weights of all; so cutting changes nothing but rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from genixer.data import content_id
from genixer.errors import BadLossError
from genixer.training.lesson import Learner, Lesson
from genixer.training.parallel import Together
from genixer.training.schedule import Schedule

__all__ = ["Found", "Gradients", "LossScale", "Work"]

_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Found(NamedTuple):
    """What a step found: its loss, and how many tokens it read."""

    loss: float
    tokens: int


class Work(NamedTuple):
    """What a process has to do in a step.

    `mine` are its rows; `parts` say of each part whether it counts (1 or 0), and hold the rows of
    its lanes, or with `made` the batches of these.
    """

    mine: Sequence[Any]
    parts: list[tuple[float, list[Any]]]
    made: bool


class _Part(NamedTuple):
    """Sum of weighted losses and of weights of one part, and its tokens."""

    total: float
    weight: float
    tokens: int


class LossScale:
    """What the loss is multiplied by in `fp16`: as much as gradients can bear.

    It is halved when they overflow, and that step is left out; after `patience` good steps it is
    doubled.

    >>> scale = LossScale(value=8.0)
    >>> scale.bears(float("inf")), scale.value
    (False, 4.0)
    """

    patience = 1000
    least = 2.0**-14
    """What overflows at this scale, the least number that `fp16` holds in full, is no overflow."""

    def __init__(self, value: float = 1024.0, good: int = 0) -> None:
        """Start with `value`, after `good` steps in a row."""
        self.value, self.good = value, good

    def bears(self, norm: float) -> bool:
        """Whether gradients of this `norm` may move the weights."""
        if not math.isfinite(norm):
            self.value, self.good = self.value / 2, 0
            return False
        self.good += 1
        if self.good >= self.patience:
            self.value, self.good = self.value * 2, 0
        return True


class Gradients:
    """Computes gradients of a batch; see the module. A context manager: it holds threads."""

    def __init__(
        self,
        learner: Learner,
        lesson: Lesson[Any],
        schedule: Schedule,
        together: Together,
        seed: int = 0,
        threads: int = 1,
        sharded: bool = False,
    ) -> None:
        """`sharded`: the weights of `learner` are cut among the processes."""
        self._learner, self._lesson, self._schedule = learner, lesson, schedule
        self._together, self._seed, self._sharded = together, seed, sharded
        self.parameters = [p for p in learner.parameters() if p.requires_grad]
        self.dtype = _PRECISIONS[schedule.precision]
        self.scale = LossScale() if schedule.precision == "fp16" else LossScale(1.0)
        self._lanes = 1 if sharded else schedule.lanes
        self._pool = ThreadPoolExecutor(
            self._lanes, "lane", initializer=torch.set_num_threads, initargs=(threads,)
        )

    def __enter__(self) -> Gradients:
        """Ready."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the threads."""
        self._pool.shutdown()

    def cut(self, rows: Sequence[Any], made: bool = False) -> Work:
        """This process's parts of `rows`, which are those of all processes.

        `made`: batches are made of them now, not when they are needed; other threads may do that.
        """
        together, count = self._together, self._schedule.accumulate
        mine = rows[together.rank :: together.world]
        parts: list[tuple[float, list[Any]]] = []
        for number in range(count):
            part = mine[number::count]
            if part or self._sharded:
                # A process without a row goes along for its weights' sake: with one that counts 0.
                live, part = (1.0, part) if part else (0.0, rows[:1])
                lanes = min(self._lanes, len(part))
                pieces: list[Any] = [part[lane::lanes] for lane in range(lanes)]
                parts.append((live, [self._lesson.batch(p) for p in pieces] if made else pieces))
        return Work(mine, parts, made)

    def compute(self, work: Work, step: int) -> Found:
        """Set every parameter's gradient of the mean weighted loss over the rows of all processes.

        Raises `BadLossError` when the loss is no number.
        """
        for parameter in self.parameters:
            parameter.grad = None
        done: list[_Part] = []
        for number, (live, lanes) in enumerate(work.parts):
            self._synchronise(number == len(work.parts) - 1)
            done += self._lane_by_lane(lanes, work.made, live, step, number)
        sums = [sum(column) for column in zip(*done, strict=True)] or [0.0, 0.0, 0.0]
        total, weight, tokens = self._together.sum(*sums)
        loss = total / weight if weight else math.nan
        if not math.isfinite(loss):
            raise self._bad(work.mine, step, f"loss is {loss}")
        self._reduce(weight)
        return Found(loss, round(tokens))

    def clip(self, work: Work, step: int) -> bool:
        """Shorten the gradient to `clip`; whether it may move the weights.

        In `fp16` it may not when it overflowed. Otherwise, or where no scale of the loss is small
        enough, `BadLossError` is raised for one that is no number.
        """
        norm = nn.utils.clip_grad_norm_(self.parameters, self._schedule.clip)
        length = float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
        if self._schedule.precision == "fp16":
            bears = self.scale.bears(length)
            if self.scale.value < LossScale.least:
                raise self._bad(
                    work.mine, step, "gradients overflow whatever the loss is scaled by"
                )
            return bears
        if not math.isfinite(length):
            raise self._bad(work.mine, step, f"the gradient's norm is {length}")
        return True

    def move(self, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        """Let every optimiser take its step; no two move the same weights."""
        list(self._pool.map(lambda one: one.step(), optimisers))

    def _synchronise(self, last: bool) -> None:
        if self._sharded:
            self._learner.set_requires_gradient_sync(last)  # type: ignore[operator]

    def _lane_by_lane(
        self, lanes: list[Any], made: bool, live: float, step: int, number: int
    ) -> list[_Part]:
        if len(lanes) == 1:
            with self._chance(step, number):
                total, part = self._forward(lanes[0], made, live)
                total.backward()
            return [part]
        # Two threads that each run half a batch finish sooner than one run that two threads share,
        # because little of a small model's work can be shared. Added in a fixed order.
        done = list(self._pool.map(partial(self._lane, made=made), lanes))
        for place, parameter in enumerate(self.parameters):
            found = [gradients[place] for _, gradients in done]
            summed = sum(found[1:], found[0])
            parameter.grad = summed if parameter.grad is None else parameter.grad + summed
        return [part for part, _ in done]

    def _lane(self, rows: Any, made: bool) -> tuple[_Part, tuple[Tensor, ...]]:
        total, part = self._forward(rows, made, 1.0)
        return part, torch.autograd.grad(total, self.parameters, materialize_grads=True)

    def _forward(self, rows: Any, made: bool, live: float) -> tuple[Tensor, _Part]:
        device = self._together.device
        batch = (rows if made else self._lesson.batch(rows)).to(device)
        half = self.dtype != torch.float32
        # No cache: it is one for all threads, and a lane must not differentiate another's casts.
        with torch.autocast(device.type, self.dtype, enabled=half, cache_enabled=False):
            total, weight = self._learner(batch)
        part = _Part(float(total.detach()) * live, float(weight) * live, batch.tokens * bool(live))
        factor = self.scale.value * live
        return total * factor if factor != 1 else total, part

    @contextmanager
    def _chance(self, step: int, number: int) -> Iterator[None]:
        """Dropout by step, part and process: nothing that a checkpoint has to hold."""
        device = self._together.device
        seed = int(content_id(self._seed, step, number, self._together.rank)[:15], 16)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield

    def _reduce(self, weight: float) -> None:
        """From this process's sums to the mean over all."""
        world = self._together.world if self._sharded else 1
        for parameter in self.parameters:
            if parameter.grad is None and not self._sharded:
                parameter.grad = torch.zeros_like(parameter)
        found = [p.grad for p in self.parameters if p.grad is not None]
        if not self._sharded:
            self._together.add_up(found)
        # Sharded gradients come as means over the processes.
        for gradient in found:
            gradient.div_(weight * self.scale.value / world)

    def _bad(self, mine: Sequence[Any], step: int, what: str) -> BadLossError:
        ids = self._lesson.batch(mine).row_ids if mine else []
        every = [one for many in self._together.gather(ids) for one in many]
        return BadLossError(
            f"step {step}: {what}; rows of the batch: {', '.join(every)}; "
            "lower the learning rate or look at these rows; the weights did not move"
        )
