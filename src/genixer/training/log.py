"""What a training tells of itself: loss, rates, tokens, speed, memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from genixer.training.gradients import Found

__all__ = ["History", "timeless"]

_LINES = 100
"""Lines of a whole log, about."""
_FLEETING = ("tokens_per_second", "memory_mb")


class History:
    """Collects what steps found; `log` gets a line every hundredth of the training.

    A line: `step`, `loss` (smoothed), `lr` and for other parts `lr_PART`, `tokens` so far,
    `tokens_per_second` and `memory_mb` (the peak of this process).
    """

    def __init__(self, steps: int, log: Callable[[dict[str, Any]], None]) -> None:
        """Of a training of `steps`."""
        self._steps, self._every, self._log = steps, max(1, steps // _LINES), log
        self._lines: list[dict[str, Any]] = []
        self._tokens, self._running = 0, 0.0
        self._since, self._tokens_before = time.monotonic(), 0

    def add(self, step: int, found: Found, rates: Mapping[str, float]) -> None:
        """Take in what `step` found."""
        self._tokens += found.tokens
        self._running = found.loss if step == 1 else 0.95 * self._running + 0.05 * found.loss
        if step % self._every and step != self._steps:
            return
        seconds = time.monotonic() - self._since
        lr = rates.get("language", next(iter(rates.values())))
        line = {
            "step": step,
            "loss": round(self._running, 4),
            "lr": lr,
            **{f"lr_{part}": one for part, one in rates.items() if one != lr},
            "tokens": self._tokens,
            "tokens_per_second": round((self._tokens - self._tokens_before) / seconds),
            "memory_mb": _peak_memory_mb(),
        }
        self._lines.append(line)
        self._log(line)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"lines": self._lines, "tokens": self._tokens, "running": self._running}

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave; its lines are told again."""
        self._tokens, self._running = state["tokens"], state["running"]
        self._since, self._tokens_before = time.monotonic(), self._tokens
        for line in state["lines"]:
            self._lines.append(line)
            self._log(line)


def _peak_memory_mb() -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated() >> 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def timeless(line: Mapping[str, Any]) -> dict[str, Any]:
    """A log line without speed and memory, so that the same training writes the same bytes."""
    return {key: value for key, value in line.items() if key not in _FLEETING}
