import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from genixer.errors import DataError
from genixer.models import pixels
from genixer.models.base import load_preset
from genixer.training.loader import ahead, blame


@given(st.lists(st.integers(), max_size=30), st.integers(0, 3), st.integers(1, 5))
def test_order_is_that_of_the_items(items: list[int], workers: int, depth: int) -> None:
    assert list(ahead(items, lambda n: n + 1, workers, depth)) == [n + 1 for n in items]


def test_a_slow_item_does_not_lose_its_place() -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.05 if number == 0 else 0.0)
        return number

    assert list(ahead(range(8), slow_at_first, 3, 4)) == list(range(8))


@pytest.mark.parametrize("depth", [1, 3])
def test_no_more_than_depth_are_asked_for_beyond_the_one_in_use(depth: int) -> None:
    asked: list[int] = []

    def source() -> Iterator[int]:
        for number in range(20):
            asked.append(number)
            yield number

    for place, _ in enumerate(ahead(source(), str, 2, depth)):
        assert len(asked) <= place + 1 + depth
    assert asked == list(range(20))


def test_the_next_is_made_while_one_is_in_use() -> None:
    begun = threading.Event()

    def prepare(number: int) -> int:
        if number == 1:
            begun.set()
        return number

    found = ahead(range(3), prepare, 1, 1)
    next(found)
    assert begun.wait(10)
    found.close()  # type: ignore[attr-defined]


def test_an_error_comes_at_its_place_and_ends_the_threads() -> None:
    before = threading.active_count()
    found = ahead(["1", "x", "3"], int, 2, 3)
    assert next(found) == 1
    with pytest.raises(ValueError, match="invalid literal"):
        next(found)
    assert threading.active_count() == before


def test_leaving_early_ends_the_threads() -> None:
    before = threading.active_count()
    for _ in ahead(range(100), str, 2, 4):
        break
    assert threading.active_count() == before


def test_a_picture_that_is_gone_names_its_row(tmp_path: Path) -> None:
    preset = load_preset("tiny")
    names = ["0.png", "1.png", "2.png"]
    for number, name in enumerate(names):
        Image.new("RGB", (30, 20), (number, 0, 0)).save(tmp_path / name)
    (tmp_path / "1.png").unlink()

    def one(row: int) -> np.ndarray:
        read = partial(pixels.read, tmp_path, preset=preset)
        return blame(f"row-{row}", read, names[row])

    found = ahead(range(3), one)
    assert next(found).shape == (preset.image_side_px, preset.image_side_px, 3)
    with pytest.raises(DataError, match=r"row row-1: 1\.png: missing_image"):
        next(found)
