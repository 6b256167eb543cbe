"""How much to ask of a server at a time: a little more while it copes, half as much when not."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from statistics import median

__all__ = ["AdaptiveLimit"]

_WINDOW = 16
"""Answers whose median is taken for the server's present speed."""
_NEVER_SLOW_S = 1.0
"""Seconds within which no answer counts as slow: of milliseconds, a busy machine makes many."""


class AdaptiveLimit:
    """Slots for requests; their number follows how the server does.

    It doubles a round trip until the first sign of strain, then grows by one a round trip. Strain
    (429, 5xx, a time-out, answers `slow_after` times as slow as its quickest were) halves it, once
    a round trip. For one event loop.

    >>> limit = AdaptiveLimit(1, 64, slow_after=8.0)
    >>> limit.value
    4
    """

    def __init__(
        self, least: int, most: int, slow_after: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Stay between `least` and `most`; start at 4, or where these allow."""
        self._least, self._most, self._slow_after, self._clock = least, most, slow_after, clock
        self._value = float(min(max(4, least), most))
        self._untroubled = True
        self._cut_at = -float("inf")
        self._in_use = self._peak = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._recent: deque[float] = deque(maxlen=_WINDOW)
        self._quickest = float("inf")
        self._answers = 0

    @property
    def value(self) -> int:
        """Requests that may be open now."""
        return int(self._value)

    @property
    def in_use(self) -> int:
        """Requests that are open now."""
        return self._in_use

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """One of the slots, in the order of asking."""
        while self._in_use >= self.value:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                # Woken and cancelled at once: the next in line gets the turn.
                if turn.done() and not turn.cancelled():
                    self._wake()
                raise
        self._in_use += 1
        self._peak = max(self._peak, self._in_use)
        try:
            yield
        finally:
            self._in_use -= 1
            self._wake()

    def answered(self, started: float) -> None:
        """Note an answer to what was asked at `started`."""
        self._recent.append(self._clock() - started)
        self._answers += 1
        if self._answers % _WINDOW == 0:
            self._peak = self._in_use
        if len(self._recent) == _WINDOW:
            usual = median(self._recent)
            self._quickest = min(self._quickest, usual)
            if usual > max(self._slow_after * self._quickest, _NEVER_SLOW_S):
                self.strained(started)
                return
        # A limit that was not nearly reached says nothing of what the server can take.
        if 2 * self._peak >= self.value:
            step = 1.0 if self._untroubled else 1.0 / self._value
            self._value = min(float(self._most), self._value + step)
            self._wake()

    def strained(self, started: float) -> None:
        """Note that the server did badly with what was asked at `started`."""
        if started < self._cut_at:
            return  # asked before the last cut, which it is the reason for
        self._untroubled = False
        self._cut_at = self._clock()
        self._value = max(float(self._least), self._value / 2)
        self._recent.clear()

    def _wake(self) -> None:
        free = self.value - self._in_use
        while free > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1
