"""A backend without a model: its words follow from the request alone, some are broken on purpose.

It stands in wherever the machinery is looked at and the words are not: fault tests, dry runs,
examples.
"""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import xxhash
from pydantic import Field

from genixer.data import Box, Completion, Point, Request, Turn, content_id, random_for
from genixer.errors import BackendError, CannotEncodeError
from genixer.inference.base import NOT_OF_ROWS, BackendSettings, Choice
from genixer.store.images import ImageError, open_image
from genixer.tasks import load_task
from genixer.tasks.base import Canvas, ParseError, Task
from genixer.tasks.zero_shot import write_json

__all__ = ["ScriptedBackend", "ScriptedSettings"]

_THINGS = ("dog", "red apple", "green book", "umbrella", "bicycle", "blue heart", "teapot", "owl")
_FREE = (
    *("common_vqa", "adv_vqa", "mc_vqa", "md", "rec", "reg"),
    *("point_qa", "qcboxa", "rd"),
)
"""What a request without a task may be answered with."""
_END = 0
_PIECE = re.compile(r"\s*\S+|\s+$")
_NUMBER = re.compile(r"0\.(\d+)")


class ScriptedSettings(BackendSettings):
    """How the stand-in behaves."""

    malformed: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of completions that their task cannot decode: cut off, no answer, a box outside."""
    delay_s: float = Field(default=0.0, ge=0.0, json_schema_extra=NOT_OF_ROWS)
    """Seconds every call takes, to leave time for something to happen in between."""
    fail_every: int = Field(default=0, ge=0, json_schema_extra=NOT_OF_ROWS)
    """Every n-th call of this object raises `BackendError`; 0 is never."""


class ScriptedBackend:
    """Answers that depend on request id, image content, task and (unless greedy) the seed.

    >>> ScriptedBackend("any", 1, ScriptedSettings(malformed=0.0)).canvas(640, 480).frame
    'unit'
    """

    name: ClassVar[str] = "scripted"
    reproducible: ClassVar[bool] = True
    Settings: ClassVar[type[ScriptedSettings]] = ScriptedSettings

    def __init__(self, model: str, threads: int, settings: ScriptedSettings) -> None:
        """Keep `settings`; `model` and `threads` change nothing."""
        self.settings = settings
        self.revision = content_id("scripted", settings.malformed)
        self._calls = 0

    def canvas(self, width: int, height: int) -> Canvas:
        """Fractions of the image, three decimals."""
        return Canvas("unit", 3, width, height)

    def generate(self, requests: Sequence[Request], images: Path) -> list[Completion]:
        """One completion a request, in order; every image is opened, as a model would have to."""
        self._start_call()
        return [
            self._complete(request)
            if _readable(request, images)
            else Completion(request.id, "", (), (), "error")
            for request in requests
        ]

    def choose(
        self, requests: Sequence[Request], options: Sequence[str], images: Path
    ) -> list[Choice]:
        """Pseudo-random weights of `options`, which share the probability with an unnamed rest."""
        self._start_call()
        tokens = tuple(len(_pieces(option)) for option in options)
        choices = []
        for request in requests:
            key = content_id(request.id, request.image.sha256, request.prompt)
            *weights, rest = [
                0.01 + random_for(0, "scripted choice", f"{key} {option}").random()
                for option in (*options, "")
            ]
            total = sum(weights) + rest if _readable(request, images) else math.nan
            logprobs = tuple(math.log(weight / total) for weight in weights)
            choices.append(Choice(request.id, logprobs, tokens))
        return choices

    def _start_call(self) -> None:
        """Count the call, take its time, fail if it is its turn."""
        self._calls += 1
        if self.settings.delay_s:
            time.sleep(self.settings.delay_s)
        if self.settings.fail_every and self._calls % self.settings.fail_every == 0:
            raise BackendError(f"scripted failure of call {self._calls} (setting fail_every)")

    def _complete(self, request: Request) -> Completion:
        """Text of the request's task, broken in the set share of cases, cut at its token limit."""
        sampling = request.sampling
        seed = sampling.seed if sampling.temperature > 0 else 0
        rng = random_for(seed, "scripted", f"{request.id} {request.image.sha256} {request.task}")
        canvas = self.canvas(request.image.width, request.image.height)
        name = request.task or rng.choice(_FREE)
        task = load_task(name)
        try:
            turns = _turns(name, rng)
            # Whoever sends a schema wants JSON; what the task cannot carry stays an empty text.
            text = task.encode(turns, canvas)
            text = write_json(turns, canvas) if request.schema else text
        except CannotEncodeError:  # a task of someone else's that the stand-in has no words for
            text = ""
        if text and rng.random() < self.settings.malformed:
            text = _break(text, task, canvas, rng)
        pieces = _pieces(text)
        kept = pieces[: sampling.max_new_tokens]
        stopped = len(pieces) < sampling.max_new_tokens
        ids = [xxhash.xxh32_intdigest(piece.encode()) % 32_000 + 1 for piece in kept] + [
            _END
        ] * stopped
        logprobs = tuple(round(-2.0 * rng.random(), 6) for _ in ids)
        return Completion(
            request.id, "".join(kept), tuple(ids), logprobs, "stop" if stopped else "length"
        )


def _readable(request: Request, images: Path) -> bool:
    try:
        open_image(images, request.image.path)
    except ImageError:
        return False
    return True


def _pieces(text: str) -> list[str]:
    """Words with the space before them: the stand-in's tokens."""
    return _PIECE.findall(text)


def _break(text: str, task: Task, canvas: Canvas, rng: random.Random) -> str:
    """`text` made unreadable for `task`, in one of the ways models do it."""
    broken = rng.choice(
        [
            text[: rng.randrange(1, len(text))],
            text[: text.rfind(":") + 1],
            _NUMBER.sub(r"1.\1", text),
            text[len(text) // 2 :],
        ]
    )
    return broken if isinstance(task.decode(broken, canvas), ParseError) else ""


def _exchange(question: str, answer: str, *boxes: Box) -> tuple[Turn, Turn]:
    """Question and answer; `boxes` belong to whichever holds the mark."""
    asked = boxes if "<box>" in question else ()
    return Turn("user", question, asked), Turn("assistant", answer, () if asked else boxes)


def _turns(task: str, rng: random.Random) -> tuple[Turn, ...]:
    """Made-up conversation of `task`; an open question for tasks the stand-in has no words for."""
    return _SCRIPTS.get(task, _plain)(rng)


def _plain(rng: random.Random) -> tuple[Turn, ...]:
    return _exchange("What is in the picture?", rng.choice(_THINGS))


def _yes_no(rng: random.Random) -> tuple[Turn, ...]:
    thing, answer = rng.choice(_THINGS), rng.choice(("yes", "no"))
    return _exchange(f"Is there a {thing} in the image?", answer)


def _multiple_choice(rng: random.Random) -> tuple[Turn, ...]:
    options = "\n".join(
        f"{letter}. {thing}" for letter, thing in zip("ABCD", _some(rng, 4), strict=True)
    )
    return _exchange(f"What is in the picture?\n{options}", rng.choice("ABCD"))


def _dialogue(rng: random.Random) -> tuple[Turn, ...]:
    first, second = _some(rng, 2)
    return (
        *_exchange("What is in the picture?", f"A {first}."),
        *_exchange("What else?", f"A {second}."),
    )


def _locate(rng: random.Random) -> tuple[Turn, ...]:
    return _exchange(f"Where is the {rng.choice(_THINGS)}?", "<box>", _box(rng))


def _describe(rng: random.Random) -> tuple[Turn, ...]:
    return _exchange("What is at <box>?", f"the {rng.choice(_THINGS)}", _box(rng))


def _point_at(rng: random.Random) -> tuple[Turn, ...]:
    point = Point(rng.randrange(1000) / 1000, rng.randrange(1000) / 1000)
    asked = Turn("user", "What is at <point>?", points=(point,))
    return asked, Turn("assistant", rng.choice(_THINGS))


def _reason(rng: random.Random) -> tuple[Turn, ...]:
    thing, other = _some(rng, 2)
    answer = f"There is a {thing} <box>. So the answer is the {thing}."
    return _exchange(f"Is it the {thing} or the {other}?", answer, _box(rng))


def _refer(rng: random.Random) -> tuple[Turn, ...]:
    thing, box = rng.choice(_THINGS), _box(rng)
    return (
        *_exchange("What is at <box>?", f"A {thing}.", box),
        *_exchange("What is by it?", f"By the {thing} <box> is nothing.", box),
    )


def _list(rng: random.Random) -> tuple[Turn, ...]:
    things = _some(rng, 2)
    answer = ", ".join(f"{thing} <box>" for thing in things)
    return _exchange("List what is in the picture.", answer, *(_box(rng) for _ in things))


def _some(rng: random.Random, count: int) -> list[str]:
    return rng.sample(_THINGS, count)


def _box(rng: random.Random) -> Box:
    x, y = rng.randrange(600), rng.randrange(600)
    right, bottom = x + rng.randrange(50, 400), y + rng.randrange(50, 400)
    return Box(x / 1000, y / 1000, right / 1000, bottom / 1000)


_SCRIPTS: dict[str, Callable[[random.Random], tuple[Turn, ...]]] = {
    "common_vqa": _plain,
    "adv_vqa": _yes_no,
    "mc_vqa": _multiple_choice,
    "md": _dialogue,
    "rec": _locate,
    "reg": _describe,
    "point_qa": _point_at,
    "qcboxa": _reason,
    "rd": _refer,
    "dense_caption": _list,
}
