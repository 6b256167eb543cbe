"""Batches made ready ahead of the step that needs them. Loads no torch by itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from genixer.errors import DataError

__all__ = ["ahead", "blame"]

T = TypeVar("T")
R = TypeVar("R")


def ahead(
    items: Iterable[T], prepare: Callable[[T], R], workers: int = 2, depth: int = 4
) -> Generator[R, None, None]:
    """`prepare` of every item, in order, while up to `depth` later ones are being made.

    Threads do it: Pillow and numpy let others run while they decode and resize. Items are asked for
    in this thread and one at a time; at most `depth` of them, made or being made, are held beside
    the one given out. What `prepare` raises comes out at its item's place, after all before it.
    With no `workers` everything happens in this thread. Leaving early waits for what has begun and
    begins nothing more.

    >>> list(ahead("abc", str.upper, workers=2, depth=2))
    ['A', 'B', 'C']
    """
    if workers < 1:
        yield from map(prepare, items)
        return
    pool = ThreadPoolExecutor(workers, "ahead")
    waiting: deque[Future[R]] = deque()
    source = iter(items)
    try:
        waiting.extend(pool.submit(prepare, one) for one in islice(source, max(1, depth)))
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(pool.submit(prepare, one) for one in islice(source, 1))
            yield done
    finally:
        pool.shutdown(cancel_futures=True)


def blame(name: str, prepare: Callable[[T], R], item: T) -> R:
    """`prepare(item)`; broken data that stops it is named after row `name`.

    >>> blame("row-7", bytes.fromhex, "00ff")
    b'\\x00\\xff'
    """
    try:
        return prepare(item)
    except DataError as error:
        raise DataError(f"row {name}: {error}") from error
