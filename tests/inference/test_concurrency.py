import asyncio

import pytest

from genixer.inference.concurrency import AdaptiveLimit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def round_trip(
    limit: AdaptiveLimit, clock: Clock, seconds: float, strain: bool = False
) -> int:
    """Fills every slot there is, lets `seconds` pass, and ends them all."""
    asked = limit.value
    inside, gate = asyncio.Semaphore(0), asyncio.Event()

    async def one() -> None:
        async with limit.slot():
            started = clock()
            inside.release()
            await gate.wait()
            (limit.strained if strain else limit.answered)(started)

    tasks = [asyncio.create_task(one()) for _ in range(asked)]
    for _ in range(asked):
        await inside.acquire()
    clock.now += seconds
    gate.set()
    await asyncio.gather(*tasks)
    return limit.value


def test_it_grows_fast_to_its_most_and_no_further() -> None:
    async def run() -> list[int]:
        clock = Clock()
        limit = AdaptiveLimit(1, 64, 8.0, clock)
        return [await round_trip(limit, clock, 1.0) for _ in range(12)]

    values = asyncio.run(run())
    assert values[-1] == 64
    assert values == sorted(values)
    assert values.index(64) <= 8


def test_strain_halves_it_once_a_round_trip_and_it_recovers_slowly() -> None:
    async def run() -> None:
        clock = Clock()
        limit = AdaptiveLimit(2, 64, 8.0, clock)
        while limit.value < 64:
            await round_trip(limit, clock, 1.0)
        assert await round_trip(limit, clock, 1.0, strain=True) == 32
        assert await round_trip(limit, clock, 1.0) in (32, 33)
        for _ in range(6):
            await round_trip(limit, clock, 1.0, strain=True)
        assert limit.value == 2

    asyncio.run(run())


def test_slow_answers_are_strain_too() -> None:
    async def run() -> None:
        clock = Clock()
        limit = AdaptiveLimit(1, 64, 4.0, clock)
        while limit.value < 64:
            await round_trip(limit, clock, 1.0)
        assert await round_trip(limit, clock, 3.0) == 64
        assert await round_trip(limit, clock, 5.0) < 64

    asyncio.run(run())


def test_what_takes_milliseconds_is_never_slow() -> None:
    async def run() -> int:
        clock = Clock()
        limit = AdaptiveLimit(1, 64, 4.0, clock)
        while limit.value < 64:
            await round_trip(limit, clock, 0.001)
        return await round_trip(limit, clock, 0.5)

    assert asyncio.run(run()) == 64


def test_a_limit_that_is_not_reached_does_not_grow() -> None:
    async def run() -> int:
        limit = AdaptiveLimit(1, 64, 8.0)
        for _ in range(50):
            async with limit.slot():
                limit.answered(0.0)
        return limit.value

    assert asyncio.run(run()) == 4


@pytest.mark.parametrize("cancelled", [0, 1, 2])
def test_a_cancelled_wait_takes_no_slot(cancelled: int) -> None:
    async def run() -> None:
        limit = AdaptiveLimit(1, 1, 8.0)
        got: list[int] = []

        async def one(number: int) -> None:
            async with limit.slot():
                got.append(number)

        async with limit.slot():
            tasks = [asyncio.create_task(one(number)) for number in range(3)]
            await asyncio.sleep(0)
        # The first in line is woken by now, and not yet running.
        tasks[cancelled].cancel()
        await asyncio.wait(tasks, timeout=1.0)
        assert got == [number for number in range(3) if number != cancelled]
        assert limit.in_use == 0

    asyncio.run(run())
