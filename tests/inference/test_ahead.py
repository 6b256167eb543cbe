import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from genixer.data import ImageRef, Request
from genixer.inference.ahead import Ahead, announce
from genixer.inference.scripted import ScriptedBackend, ScriptedSettings
from genixer.inference.transformers import TransformersBackend
from genixer.models.llava import LoadedModel


def test_what_is_announced_is_read_once_and_elsewhere() -> None:
    read: list[tuple[str, int]] = []

    def note(key: str) -> str:
        read.append((key, threading.get_ident()))
        return key.upper()

    ahead = Ahead(note)
    ahead.expect(["a", "b", "a"])
    assert [ahead.get(key) for key in ("b", "a")] == ["B", "A"]
    assert [key for key, _ in read] == ["a", "b"]
    assert threading.get_ident() not in {thread for _, thread in read}
    assert ahead.get("a") == "A"
    assert read[-1] == ("a", threading.get_ident())


def test_reading_goes_on_while_the_caller_works() -> None:
    ahead = Ahead(lambda key: time.sleep(0.2) or key)
    ahead.expect(range(3))
    time.sleep(0.9)
    start = time.perf_counter()
    assert [ahead.get(key) for key in range(3)] == [0, 1, 2]
    assert time.perf_counter() - start < 0.15


def test_what_went_wrong_ahead_is_raised_where_it_is_asked_for() -> None:
    ahead = Ahead(lambda key: 1 // key)
    ahead.expect([0, 1])
    assert ahead.get(1) == 1
    with pytest.raises(ZeroDivisionError):
        ahead.get(0)


def test_two_announcements_are_kept_and_no_more() -> None:
    read: list[int] = []
    ahead = Ahead(lambda key: read.append(key) or key)
    for start in range(0, 100, 10):
        ahead.expect(range(start, start + 10))
    assert sorted(ahead._coming) == list(range(80, 100))
    assert [ahead.get(key) for key in range(80, 100)] == list(range(80, 100))
    assert ahead.get(0) == 0
    assert read[-1] == 0


def test_a_backend_says_the_same_ahead_or_not(
    model: LoadedModel,
    pictures: list[ImageRef],
    ask: Callable[..., list[Request]],
    tmp_path: Path,
) -> None:
    requests = ask(pictures, 16)
    plain = TransformersBackend.of(model).generate(requests, tmp_path)
    backend = TransformersBackend.of(model)
    announce(backend, requests, tmp_path)
    assert backend.generate(requests, tmp_path) == plain
    assert [one.finish for one in plain].count("error") == 4


def test_an_image_read_ahead_is_not_opened_again(
    model: LoadedModel,
    pictures: list[ImageRef],
    ask: Callable[..., list[Request]],
    tmp_path: Path,
) -> None:
    requests = ask(pictures[:2], 4)
    backend = TransformersBackend.of(model)
    plain = backend.generate(requests, tmp_path)
    announce(backend, requests, tmp_path)
    backend._ahead._thread.shutdown(wait=True)  # type: ignore[union-attr]
    for picture in pictures[:2]:
        Image.new("RGB", (31, 20)).save(tmp_path / picture.path)
    assert backend.generate(requests, tmp_path) == plain


def test_a_backend_that_does_not_care_is_left_alone(tmp_path: Path) -> None:
    announce(ScriptedBackend("any", 1, ScriptedSettings()), [], tmp_path)
