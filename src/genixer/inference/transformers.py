"""The model in this process: a block of requests at a time, nothing left to chance or neighbours.

Shapes: B rows, S side in px, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from genixer.data import Completion, Message, Request, Sampling
from genixer.errors import BackendError, ConfigError
from genixer.inference.ahead import Ahead
from genixer.inference.base import BackendSettings, Choice
from genixer.inference.computing import computing
from genixer.inference.sampling import Luck, pick
from genixer.inference.state import State
from genixer.models.base import Device, Dtype
from genixer.models.llava import LoadedModel, load
from genixer.store.images import ImageError

if TYPE_CHECKING:
    from genixer.tasks.base import Canvas

__all__ = ["TransformersBackend", "TransformersSettings"]

_DECIMALS = 6
"""Decimals of a log-probability: finer than what the order of a sum changes in float32."""
_DROP_BELOW = 0.5
"""Share of a batch that must still be writing; below it, finished rows are dropped."""


class TransformersSettings(BackendSettings):
    """How the model is loaded."""

    preset: str = ""
    """Preset of a folder without one: of `genixer list presets`, or a YAML file."""
    dtype: Dtype = "float32"
    """Number format that it computes in; `auto` is that of the weights."""
    device: Device = "auto"
    """Where it computes; `auto` is a GPU where there is one."""


class _Written(NamedTuple):
    """What a row has so far: tokens, the end token included, and their raw log-probabilities."""

    tokens: list[int]
    logprobs: list[float]


class _Answerable(NamedTuple):
    """Requests of a block that the model can read: their places in it, prompts and pictures.

    `pixels` has a [1, 3, S, S] for each distinct image: 64 photographs as they came would take
    gigabytes. `picture_of[i]` is the place of row i's image in it.
    """

    rows: list[int]
    prompts: list[list[int]]
    pixels: list[Tensor]
    picture_of: list[int]

    def read_by(self, loaded: LoadedModel) -> State:
        """What the model knows once it has read them."""
        return State.of(loaded, self.prompts, torch.cat(self.pixels), self.picture_of)


class TransformersBackend:
    """A LLaVA through the transformers library, in float32 unless told otherwise.

    The same block with the same thread count gives the same bytes. Log-probabilities are rounded to
    6 decimals. A request whose prompt is longer than the model reads counts as unreadable.
    """

    name: ClassVar[str] = "transformers"
    reproducible: ClassVar[bool] = True
    Settings: ClassVar[type[TransformersSettings]] = TransformersSettings

    def __init__(self, model: str, threads: int, settings: TransformersSettings) -> None:
        """Load `model`, a shipped name or a folder."""
        how = settings.model_dump()
        self._take(load(model, **how), threads)

    @classmethod
    def of(cls, loaded: LoadedModel, threads: int = 1) -> TransformersBackend:
        """Backend around a model that is in memory already."""
        backend = cls.__new__(cls)
        backend._take(loaded, threads)
        return backend

    def _take(self, loaded: LoadedModel, threads: int) -> None:
        self.loaded, self.threads, self.revision = loaded, threads, loaded.revision
        self._ahead = Ahead(self._read)
        text: Any = loaded.model.config.text_config
        self.most_tokens: int = text.max_position_embeddings

    def canvas(self, width: int, height: int) -> Canvas:
        """Frame and decimals of the model's preset."""
        return self.loaded.canvas(width, height)

    def expect(self, requests: Sequence[Request], images: Path) -> None:
        """Open their images while it computes."""
        self._ahead.expect((images, request.image.path) for request in requests)

    def generate(self, requests: Sequence[Request], images: Path) -> list[Completion]:
        """One completion a request, in order."""
        answers = [Completion(request.id, "", (), (), "error") for request in requests]
        with computing(self.loaded.name, self.threads):
            asked = self._answerable(requests, images)
            written = self._write(asked, [requests[row].sampling for row in asked.rows])
        for row, (tokens, logprobs) in zip(asked.rows, written, strict=True):
            answers[row] = Completion(
                requests[row].id,
                self.loaded.decode(tokens),
                tuple(tokens),
                tuple(round(value, _DECIMALS) for value in logprobs),
                "stop" if tokens[-1:] == [self.loaded.end_id] else "length",
            )
        return answers

    def choose(
        self, requests: Sequence[Request], options: Sequence[str], images: Path
    ) -> list[Choice]:
        """Weights of `options`: one pass for all prompts, one more per option of several tokens."""
        coded = [self.loaded.encode_text(option) for option in options]
        if not all(coded):
            raise ConfigError(f"options {list(options)}: each needs at least one token")
        counts = tuple(len(ids) for ids in coded)
        choices = [Choice(request.id, (math.nan,) * len(coded), counts) for request in requests]
        with computing(self.loaded.name, self.threads):
            asked = self._answerable(requests, images)
            if not asked.rows:
                return choices
            state = asked.read_by(self.loaded)
            weights = torch.stack([_weigh(state, ids) for ids in coded], dim=1).tolist()
        for row, values in zip(asked.rows, weights, strict=True):
            logprobs = tuple(round(value, _DECIMALS) for value in values)
            choices[row] = Choice(requests[row].id, logprobs, counts)
        return choices

    def _answerable(self, requests: Sequence[Request], images: Path) -> _Answerable:
        """Requests whose image can be opened and whose prompt fits; each image once."""
        places: dict[str, int | None] = {}
        found = _Answerable([], [], [], [])
        for row, request in enumerate(requests):
            prompt = self.loaded.prompt_ids([Message("user", request.prompt)])
            path = request.image.path
            if path not in places:
                places[path] = self._look(images, path, found.pixels)
            picture = places[path]
            if picture is not None and len(prompt) < self.most_tokens:
                found.rows.append(row)
                found.prompts.append(prompt)
                found.picture_of.append(picture)
        return found

    def _look(self, images: Path, path: str, pixels: list[Tensor]) -> int | None:
        """Place of the image in `pixels`, where it is put; None if it cannot be read."""
        try:
            pixels.append(self._ahead.get((images, path)))
        except ImageError:
            return None
        return len(pixels) - 1

    def _read(self, image: tuple[Path, str]) -> Tensor:
        """Pixels [1, 3, S, S] of the image at a path below a root; raises `ImageError`."""
        root, path = image
        return self.loaded.read_pixels(root, [path])

    def _write(self, asked: _Answerable, samplings: Sequence[Sampling]) -> list[_Written]:
        """What the model writes after each prompt."""
        written = [_Written([], []) for _ in asked.rows]
        if not written:
            return written
        room = [self.most_tokens - len(prompt) for prompt in asked.prompts]
        most = [min(s.max_new_tokens, free) for s, free in zip(samplings, room, strict=True)]
        state = asked.read_by(self.loaded)
        luck = Luck(samplings)
        live = list(range(len(written)))
        for step in range(max(most)):
            tokens = pick(state.logits, [samplings[row] for row in live], luck, live, step)
            logprobs = state.logits.log_softmax(-1).gather(-1, tokens[:, None])[:, 0]
            going = self._note(written, most, live, tokens.tolist(), logprobs.tolist())
            if not going:
                break
            if len(going) < len(live) * _DROP_BELOW:
                state.keep(going)
                live, tokens = [live[place] for place in going], tokens[going]
            state.read(tokens[:, None])
        return written

    def _note(
        self,
        written: list[_Written],
        most: Sequence[int],
        live: Sequence[int],
        tokens: Sequence[int],
        logprobs: Sequence[float],
    ) -> list[int]:
        """Add a token to each live row that still writes; the places of those that go on."""
        going = []
        for place, row in enumerate(live):
            own = written[row]
            if self._ended(own, most[row]):
                continue
            if not math.isfinite(logprobs[place]):
                raise BackendError(f"model {self.loaded.name}: its weights give no probabilities")
            own.tokens.append(tokens[place])
            own.logprobs.append(logprobs[place])
            if not self._ended(own, most[row]):
                going.append(place)
        return going

    def _ended(self, written: _Written, most: int) -> bool:
        return len(written.tokens) >= most or written.tokens[-1:] == [self.loaded.end_id]


def _weigh(state: State, option: list[int]) -> Tensor:
    """Summed raw log-probability of `option` after every prompt, [B]."""
    total = state.logits.log_softmax(-1)[:, option[0]]
    if len(option) == 1:
        return total
    ids = torch.tensor(option).expand(len(total), -1)
    logprobs = state.fork().read(ids[:, :-1]).log_softmax(-1)
    return total + logprobs.gather(-1, ids[:, 1:, None])[..., 0].sum(-1)
