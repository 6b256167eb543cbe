import itertools
import threading

import pytest

from genixer.training.loader import ahead


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_order_is_that_of_the_items_however_long_each_takes(workers):
    gate = threading.Event()

    def prepare(number: int) -> int:
        if number == 0 and workers > 1:
            assert gate.wait(10)  # the first is ready last
        if number == 2:
            gate.set()
        return number * 10

    assert list(ahead(range(6), prepare, workers, depth=3)) == [0, 10, 20, 30, 40, 50]


def test_no_more_than_depth_items_are_drawn_ahead():
    drawn = []

    def numbers():
        for number in itertools.count():
            drawn.append(number)
            yield number

    stream = ahead(numbers(), lambda number: number, workers=2, depth=3)
    assert [next(stream) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(drawn) <= 5 + 3
    stream.close()
    assert threading.active_count() == 1 or not any(
        thread.name.startswith("loader") for thread in threading.enumerate()
    )


def test_a_worker_goes_on_while_an_earlier_item_takes_long():
    gate, later = threading.Event(), threading.Event()

    def prepare(number: int) -> int:
        if number == 0:
            assert gate.wait(10)
        if number == 3:
            later.set()
        return number

    stream = ahead(range(5), prepare, workers=2)
    # Items are prepared from the first that is asked for, so another has to ask.
    asks = threading.Thread(target=lambda: next(stream))
    asks.start()
    assert later.wait(10)
    gate.set()
    asks.join()
    assert list(stream) == [1, 2, 3, 4]


def test_an_error_comes_out_at_its_items_turn():
    def prepare(number: int) -> int:
        if number == 2:
            raise ValueError("row 2")
        return number

    stream = ahead(range(5), prepare, workers=2, depth=4)
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(ValueError, match="row 2"):
        next(stream)


def test_batches_are_ready_before_they_are_asked_for():
    ready = threading.Event()

    def prepare(number: int) -> int:
        if number == 1:
            ready.set()
        return number

    stream = ahead(range(3), prepare, workers=1, depth=2)
    assert next(stream) == 0
    assert ready.wait(10)
    assert list(stream) == [1, 2]
