import time
from pathlib import Path

import pytest

from genixer.data import ImageRef, Request, Sampling
from genixer.errors import BackendError, ConfigError
from genixer.inference import load_backend
from genixer.inference.base import Backend
from genixer.tasks import TASKS, load_task
from genixer.tasks.base import ParseError


def scripted(**settings: float) -> Backend:
    return load_backend("scripted", "any", settings=settings)


def asked(task: str, count: int = 200, sha256: str = "aa", **sampling: float) -> list[Request]:
    image = ImageRef("a.png", 40, 30, sha256)
    settings = {"temperature": 0.7, **sampling}
    return [
        Request.of(image, task, "specific", draw, "Ask.", Sampling(seed=draw, **settings))
        for draw in range(count)
    ]


def malformed(backend: Backend, task: str, requests: list[Request], root: Path) -> int:
    texts = [one.text for one in backend.generate(requests, root)]
    canvas = backend.canvas(40, 30)
    return sum(isinstance(load_task(task).decode(text, canvas), ParseError) for text in texts)


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_task_gets_texts_it_can_decode_and_the_set_share_it_cannot(
    task: str, root: Path
) -> None:
    assert malformed(scripted(malformed=0.0), task, asked(task), root) == 0
    assert malformed(scripted(malformed=1.0), task, asked(task), root) == 200
    assert 60 < malformed(scripted(malformed=0.25), task, asked(task, 400), root) < 140


def test_malformed_texts_are_broken_in_several_ways(root: Path) -> None:
    texts = [one.text for one in scripted(malformed=1.0).generate(asked("rec"), root)]
    canvas = scripted().canvas(40, 30)
    reasons = {load_task("rec").decode(text, canvas).reason for text in texts}
    assert {"box_outside", "no_question", "empty_answer"} <= reasons


def test_a_request_without_a_task_gets_one_of_several(root: Path) -> None:
    texts = [one.text for one in scripted(malformed=0.0).generate(asked(""), root)]
    canvas = scripted().canvas(40, 30)
    for task in set(TASKS) - {"dense_caption"}:
        codec = load_task(task)
        assert any(not isinstance(codec.decode(text, canvas), ParseError) for text in texts), task


def test_text_depends_on_the_content_of_the_image(root: Path) -> None:
    one, other = (scripted().generate(asked("rec", sha256=sha), root) for sha in ("aa", "bb"))
    assert [c.text for c in one] != [c.text for c in other]


def test_a_limit_of_tokens_cuts_the_text(root: Path) -> None:
    backend = scripted(malformed=0.0)
    whole = backend.generate(asked("md", 5), root)
    cut = backend.generate(asked("md", 5, max_new_tokens=3), root)
    for long, short in zip(whole, cut, strict=True):
        assert (long.finish, short.finish) == ("stop", "length")
        assert long.text.startswith(short.text)
        assert len(short.token_ids) == 3
        assert short.token_ids == long.token_ids[:3]


def test_failures_come_when_they_are_set_to(root: Path) -> None:
    backend = scripted(fail_every=3)
    backend.generate(asked("rec", 1), root)
    backend.choose(asked("rec", 1), ["Yes"], root)
    with pytest.raises(BackendError, match="call 3"):
        backend.generate(asked("rec", 1), root)
    backend.generate(asked("rec", 1), root)


def test_delay_is_taken_once_a_call(root: Path) -> None:
    backend, start = scripted(delay_s=0.05), time.monotonic()
    backend.generate(asked("rec", 3), root)
    assert time.monotonic() - start >= 0.05


def test_a_setting_it_does_not_take_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean malformed"):
        scripted(malformd=0.1)
    with pytest.raises(ConfigError, match="malformed"):
        scripted(malformed=1.5)


def test_an_unknown_backend_is_named_with_the_near_ones() -> None:
    with pytest.raises(ConfigError, match="did you mean transformers"):
        load_backend("transformer", "any")
