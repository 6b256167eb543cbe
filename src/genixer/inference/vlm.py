"""Any image-text model of the transformers library, zero-shot or fine-tuned, as generator or judge.

The library's own `generate` runs the model, so that every family keeps its positions and masks;
which token comes next is decided here, by the request's own seed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from genixer.data import Completion, Request
from genixer.errors import BackendError
from genixer.inference.base import BackendSettings, Choice
from genixer.inference.computing import computing
from genixer.inference.hints import Hint
from genixer.inference.pens import Pen, Rail
from genixer.inference.vlm_prompt import vlm_prompt
from genixer.models.sight import Sight
from genixer.models.vlm import LoadedVlm, Seen, load_vlm
from genixer.store.images import ImageError, open_image

if TYPE_CHECKING:
    from genixer.tasks.base import Canvas

__all__ = ["VlmBackend", "VlmSettings"]

_DECIMALS = 6
"""Decimals of a log-probability: finer than what the order of a sum changes in float32."""


class VlmSettings(BackendSettings):
    """How the model is loaded, what it is told beside the instruction, how much at a time."""

    preset: str = ""
    """How the model's text writes boxes: a shipped preset (`qwen2_vl`, `paligemma` ..) or a YAML
    file; empty for a folder that was trained here and says so itself."""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    """Number format of the weights; `auto` is that of the folder."""
    device: str = "auto"
    """Where the model runs: `cpu`, `cuda`, `cuda:1` ..; `auto` takes a GPU where there is one."""
    most_px: int | None = Field(None, ge=1)
    """Most pixels an image may keep, for models that take any size; the processor's by default."""
    batch: int = Field(8, ge=1)
    """Requests computed together."""
    hint: Hint = "none"
    """What a model without training here is told of the form of its answer: `pairs` for
    `Question: .. Answer: ..`, `json` for an object that the reader `json` takes."""


class _Asked(NamedTuple):
    """A request the model can read: its place in the block, its tokens and its image."""

    place: int
    ids: list[int]
    path: str
    seen: Seen


class _Eyes:
    """Looks at every image of a block once, and forgets it after the last row about it."""

    def __init__(self, loaded: LoadedVlm, asked: Sequence[_Asked]) -> None:
        self._loaded = loaded
        self._waiting = Counter(row.path for row in asked)
        self._sights: dict[str, Sight] = {}

    def sights(self, rows: Sequence[_Asked]) -> list[Sight] | None:
        """What each of `rows` sees; None where the model has to look for each row by itself."""
        if not self._loaded.shares_sights:
            return None
        new = {row.path: row.seen for row in rows if row.path not in self._sights}
        found = self._loaded.sights(list(new.values())) if new else []
        if found is None:
            return None
        self._sights.update(zip(new, found, strict=True))
        sights = [self._sights[row.path] for row in rows]
        self._waiting.subtract(row.path for row in rows)
        self._sights = {path: one for path, one in self._sights.items() if self._waiting[path]}
        return sights


class VlmBackend:
    """An image-text model of transformers in this process.

    On the CPU in float32 the same block gives the same bytes. Log-probabilities are raw and rounded
    to 6 decimals. An image is looked at once, however many requests of a block are about it. An
    unusable request is one whose image cannot be read, or that is longer than the model reads.
    """

    name: ClassVar[str] = "vlm"
    reproducible: ClassVar[bool] = True
    Settings: ClassVar[type[VlmSettings]] = VlmSettings

    def __init__(self, model: str, threads: int, settings: VlmSettings) -> None:
        """Load the model in folder `model`."""
        self._take(
            load_vlm(model, settings.preset, settings.dtype, settings.device, settings.most_px),
            threads,
            settings,
        )

    @classmethod
    def of(
        cls, loaded: LoadedVlm, threads: int = 1, settings: VlmSettings | None = None
    ) -> VlmBackend:
        """Backend around a model that is in memory already."""
        backend = cls.__new__(cls)
        backend._take(loaded, threads, settings or VlmSettings())
        return backend

    def _take(self, loaded: LoadedVlm, threads: int, settings: VlmSettings) -> None:
        self.loaded, self.settings = loaded, settings
        self.revision = loaded.revision
        self._computing: Callable[[], AbstractContextManager[None]] = lambda: computing(
            loaded.name, threads
        )

    def canvas(self, width: int, height: int) -> Canvas:
        """Frame and decimals of the model's preset."""
        return self.loaded.canvas(width, height)

    def generate(self, requests: Sequence[Request], images: Path) -> list[Completion]:
        """One completion a request, in order."""
        answers = [Completion(request.id, "", (), (), "error") for request in requests]
        with self._computing():
            asked = self._answerable(requests, images, self.settings.hint)
            eyes = _Eyes(self.loaded, asked)
            for rows in self._batches(asked):
                written = self._write(rows, requests, eyes.sights(rows))
                for row, answer in zip(rows, written, strict=True):
                    answers[row.place] = answer
        return answers

    def choose(
        self, requests: Sequence[Request], options: Sequence[str], images: Path
    ) -> list[Choice]:
        """Weights of `options`: one pass a batch, one step more for each further token."""
        coded = [self.loaded.chat.reply_ids(option) for option in options]
        counts = tuple(len(ids) for ids in coded)
        choices = [Choice(request.id, (math.nan,) * len(coded), counts) for request in requests]
        with self._computing():
            asked = self._answerable(requests, images, "none")
            eyes = _Eyes(self.loaded, asked)
            for rows in self._batches(asked):
                weighed = self._weigh(rows, coded, eyes.sights(rows))
                for row, weights in zip(rows, weighed, strict=True):
                    logprobs = tuple(round(value, _DECIMALS) for value in weights)
                    choices[row.place] = Choice(requests[row.place].id, logprobs, counts)
        return choices

    def _answerable(self, requests: Sequence[Request], images: Path, hint: Hint) -> list[_Asked]:
        """Requests the model can read; each image is prepared once."""
        looks: dict[str, Seen | None] = {}
        found = []
        for place, request in enumerate(requests):
            path = request.image.path
            if path not in looks:
                looks[path] = self._look(images, path)
            seen, ids = looks[path], vlm_prompt(self.loaded, request, hint)
            if seen is None or ids is None:
                continue
            ids = self.loaded.insert(ids, seen)
            if len(ids) < self.loaded.most_tokens:
                found.append(_Asked(place, ids, path, seen))
        return found

    def _look(self, images: Path, path: str) -> Seen | None:
        try:
            return self.loaded.look(open_image(images, path))
        except (ImageError, ValueError):
            # ValueError: the model's processor takes no image of such a shape.
            return None

    def _batches(self, asked: Sequence[_Asked]) -> list[Sequence[_Asked]]:
        size = self.settings.batch
        return [asked[start : start + size] for start in range(0, len(asked), size)]

    def _write(
        self, rows: Sequence[_Asked], requests: Sequence[Request], sights: list[Sight] | None
    ) -> list[Completion]:
        """What the model writes after each prompt."""
        samplings = [requests[row.place].sampling for row in rows]
        most = [
            min(sampling.max_new_tokens, self.loaded.most_tokens - len(row.ids))
            for sampling, row in zip(samplings, rows, strict=True)
        ]
        pen = Pen(samplings, most, self.loaded.end_ids)
        pen.run(self.loaded, [row.ids for row in rows], [row.seen for row in rows], sights)
        return [
            Completion(
                requests[row.place].id,
                self.loaded.decode(tokens),
                tuple(tokens),
                tuple(round(value, _DECIMALS) for value in logprobs),
                "stop" if tokens[-1] in self.loaded.end_ids else "length",
            )
            for row, tokens, logprobs in zip(rows, pen.tokens, pen.logprobs, strict=True)
        ]

    def _weigh(
        self,
        rows: Sequence[_Asked],
        options: Sequence[list[int]],
        sights: list[Sight] | None,
    ) -> list[list[float]]:
        """Summed raw log-probability of every option, a list a row."""
        copies = 1 if all(len(ids) == 1 for ids in options) else len(options)
        rail = Rail(options, copies)
        repeated = [row for row in rows for _ in range(copies)]
        if sights is not None:
            sights = [sight for sight in sights for _ in range(copies)]
        rail.run(self.loaded, [row.ids for row in repeated], [row.seen for row in repeated], sights)
        weights = rail.weights()
        if any(math.isnan(value) for row in weights for value in row):
            raise BackendError(f"model {self.loaded.name}: its weights give no probabilities")
        return weights
