"""An event loop in a thread of its own: asynchronous inside, plain iteration outside.

The loop goes on while the caller writes what it has, so that neither waits for the other.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from queue import SimpleQueue
from typing import Any, TypeVar, cast

__all__ = ["LoopThread"]

T = TypeVar("T")
Job = Callable[[], Awaitable[T]]


class LoopThread:
    """Runs coroutines; `close` ends the thread and everything in it."""

    def __init__(self, name: str) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Result of `coroutine`, waited for."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def each(self, jobs: Sequence[Job[T]], room: int) -> Generator[tuple[int, T], None, None]:
        """Number and result of every job, as they end; at most `room` are open or not yet taken.

        Closing the iterator cancels what is open and waits until it is gone. A job that fails ends
        the others, and its exception comes out here.
        """
        ended: SimpleQueue[tuple[int, T] | asyncio.Task[None]] = SimpleQueue()
        free = asyncio.Semaphore(room)
        # Waking the loop for every single one that is taken takes longer than handing it over.
        together, taken = max(1, room // 8), 0

        def make_room(places: int) -> None:
            for _ in range(places):
                free.release()

        started: SimpleQueue[asyncio.Task[None]] = SimpleQueue()

        def start() -> None:
            task = self._loop.create_task(_run(jobs, free, ended.put))
            task.add_done_callback(ended.put)
            started.put(task)

        self._loop.call_soon_threadsafe(start)
        task = started.get()
        item: tuple[int, T] | asyncio.Task[None] | None = None
        try:
            while not isinstance(item := ended.get(), asyncio.Task):
                taken += 1
                if taken == together:
                    self._loop.call_soon_threadsafe(make_room, taken)
                    taken = 0
                yield item
        finally:
            if item is not task:
                self._loop.call_soon_threadsafe(task.cancel)
                while ended.get() is not task:
                    pass
        _raise_first(task)

    def close(self) -> None:
        """Cancel whatever runs, and end the thread; does nothing the second time."""
        if self._loop.is_closed():
            return
        self.call(_cancel_all())
        self.call(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _run(
    jobs: Sequence[Job[T]], free: asyncio.Semaphore, put: Callable[[tuple[int, T]], None]
) -> None:
    async def one(at: int, job: Job[T]) -> None:
        put((at, await job()))

    async with asyncio.TaskGroup() as group:
        for at, job in enumerate(jobs):
            await free.acquire()
            group.create_task(one(at, job))


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {cast("asyncio.Task[Any]", asyncio.current_task())}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _raise_first(task: asyncio.Task[None]) -> None:
    """The failure of one job, out of the group it came in."""
    error = task.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if error is not None:
        raise error
