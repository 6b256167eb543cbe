"""Batches made ready while the step before them computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

__all__ = ["ahead"]

T = TypeVar("T")
R = TypeVar("R")


def ahead(
    items: Iterable[T], prepare: Callable[[T], R], workers: int = 1, depth: int | None = None
) -> Generator[R, None, None]:
    """What `prepare` makes of each item, in order, up to `depth` of them before they are asked for.

    Without `depth` two a worker: one that is done early need not wait for the one before it.
    `workers` threads prepare: decoding and resizing pictures let others run meanwhile. What
    `prepare` raises comes out at its item's turn. Without workers each is made when asked for.
    Items are drawn no further ahead than `depth`, so a stream without end is as good as a list.

    >>> list(ahead(range(4), lambda number: number * number, workers=2))
    [0, 1, 4, 9]
    """
    if workers < 1:
        yield from map(prepare, items)
        return
    stream, depth = iter(items), 2 * workers if depth is None else max(1, depth)
    pool = ThreadPoolExecutor(workers, "loader")
    waiting: deque[Future[R]] = deque()
    try:
        waiting.extend(pool.submit(prepare, item) for item in islice(stream, depth))
        while waiting:
            found = waiting.popleft().result()
            waiting.extend(pool.submit(prepare, item) for item in islice(stream, 1))
            yield found
    finally:
        # Who stops early does not wait for what nobody will read.
        pool.shutdown(wait=True, cancel_futures=True)
