"""Any image-text model that vLLM runs, in its engine, in this process.

The engine batches by itself and keeps what prompts begin with: requests about one image are given
to it side by side, under the image's own hash, so that the image is encoded once and the common
words are read once. Tokens are ours in both directions: the prompt's come from the model's chat
template, the answer's are spelled here, as on the backend `vlm`.

vLLM is imported here and nowhere else.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from genixer.data import Completion, Request
from genixer.errors import BackendError, ConfigError
from genixer.inference.base import Choice
from genixer.inference.hints import Hint
from genixer.inference.json_form import answer_schema, fits_form
from genixer.inference.option_tree import Start, follow_ups, weigh_options
from genixer.inference.vllm_settings import VllmSettings
from genixer.inference.vlm_prompt import vlm_prompt
from genixer.models.vlm_words import load_words
from genixer.store.images import ImageError, open_image

if TYPE_CHECKING:
    from PIL.Image import Image

    from genixer.models.vlm import LoadedVlm
    from genixer.tasks.base import Canvas

__all__ = ["VllmBackend", "VllmSettings"]

log = logging.getLogger(__name__)
K = TypeVar("K")

_DECIMALS = 6
_MOST_OPEN = 512
"""Requests the engine has at a time: enough to fill its batches, few enough to hold."""
_MOST_WEIGHED = 128
"""Tokens that one request may weigh (`MAX_LOGPROB_TOKEN_IDS` of vLLM)."""
_QUIET = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # In a process of its own it would outlive a worker that is killed, and keep the GPU.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}
"""Environment of the engine: it reports nothing, fetches nothing, claims no core for itself, and is
gone when this process is."""


class _Ask(NamedTuple):
    """One thing for the engine: a prompt, its image, how to draw."""

    ids: list[int]
    request: Request
    params: dict[str, Any]


class VllmBackend:
    """vLLM's engine. Log-probabilities are raw and rounded to 6 decimals.

    A request's seed decides its luck, but numbers depend on what is computed together: the same
    block need not give the same bytes. An unusable request is one whose image cannot be read, whose
    words hold one of the model's control tokens, or that is longer than the model reads.
    """

    name: ClassVar[str] = "vllm"
    reproducible: ClassVar[bool] = False
    Settings: ClassVar[type[VllmSettings]] = VllmSettings

    def __init__(self, model: str, threads: int, settings: VllmSettings) -> None:
        """Start the engine with the model in folder `model`."""
        words = load_words(model, settings.preset, settings.most_px)
        self._take(_start(words, threads, settings), words, settings)

    @classmethod
    def of(cls, engine: Any, words: LoadedVlm, settings: VllmSettings | None = None) -> VllmBackend:
        """Backend around an engine (`vllm.LLM(..).llm_engine`) that runs already."""
        backend = cls.__new__(cls)
        backend._take(engine, words, settings or VllmSettings())
        return backend

    def _take(self, engine: Any, words: LoadedVlm, settings: VllmSettings) -> None:
        self._engine, self.words, self.settings = engine, words, settings
        self.revision = words.revision
        self._numbers = count()

    def canvas(self, width: int, height: int) -> Canvas:
        """Frame and decimals of the model's preset."""
        return self.words.canvas(width, height)

    def generate(self, requests: Sequence[Request], images: Path) -> list[Completion]:
        """One completion a request, in order."""
        found = dict(self._completions(requests, images))
        return [found[place] for place in range(len(requests))]

    def stream(self, requests: Sequence[Request], images: Path) -> Iterator[Completion]:
        """Completion of each request as soon as it is there; closing drops what is still open."""
        for _, completion in self._completions(requests, images):
            yield completion

    def choose(
        self, requests: Sequence[Request], options: Sequence[str], images: Path
    ) -> list[Choice]:
        """Weights of `options`: a prompt for each distinct beginning of one, and one token of work.

        The engine reads what these prompts have in common once. Nothing is asked of its log-
        probabilities of prompts, which would pass by the cache.
        """
        coded = [self.words.chat.reply_ids(option) for option in options]
        if not all(coded):
            raise ConfigError(f"options {list(options)}: each needs at least one token")
        starts = follow_ups(coded)
        if any(len(tokens) > _MOST_WEIGHED for tokens in starts.values()):
            raise ConfigError(f"{len(options)} options: vLLM weighs {_MOST_WEIGHED} at a time")
        found: dict[tuple[int, Start], Mapping[int, float]] = {}
        asked: list[tuple[tuple[int, Start], _Ask]] = []
        for place, ids, request in self._answerable(requests, "none"):
            for start, tokens in starts.items():
                params = {"max_tokens": 1, "temperature": 0.0, "logprob_token_ids": tokens}
                asked.append(((place, start), _Ask([*ids, *start], request, params)))
        for key, output in self._run(asked, images):
            if output is not None:
                found[key] = {t: one.logprob for t, one in output.logprobs[0].items()}
        counts = tuple(len(ids) for ids in coded)
        return [
            Choice(request.id, self._weights(place, coded, starts, found), counts)
            for place, request in enumerate(requests)
        ]

    def _weights(
        self,
        place: int,
        coded: Sequence[Sequence[int]],
        starts: Iterable[Start],
        found: Mapping[tuple[int, Start], Mapping[int, float]],
    ) -> tuple[float, ...]:
        if any((place, start) not in found for start in starts):
            return (math.nan,) * len(coded)
        weights = weigh_options(coded, lambda start: found[place, start])
        self._check(weights)
        return tuple(round(weight, _DECIMALS) for weight in weights)

    def _completions(
        self, requests: Sequence[Request], images: Path
    ) -> Iterator[tuple[int, Completion]]:
        """Completions with their places, as they come."""
        asked = [
            (place, _Ask(ids, request, self._drawn(request)))
            for place, ids, request in self._answerable(requests, self.settings.hint)
        ]
        left = set(range(len(requests))) - {place for place, _ in asked}
        for place in sorted(left):
            yield place, Completion(requests[place].id, "", (), (), "error")
        for place, output in self._run(asked, images):
            yield place, self._completion(requests[place], output)

    def _answerable(
        self, requests: Sequence[Request], hint: Hint
    ) -> list[tuple[int, list[int], Request]]:
        """Place, prompt and request of all that can be put in words, by image."""
        first: dict[str, int] = {}
        found = []
        for place, request in enumerate(requests):
            first.setdefault(request.image.path, place)
            ids = vlm_prompt(self.words, request, hint)
            if ids is not None:
                found.append((place, ids, request))
        return sorted(found, key=lambda one: (first[one[2].image.path], one[0]))

    def _drawn(self, request: Request) -> dict[str, Any]:
        """How vLLM is told to draw for `request`."""
        sampling = request.sampling
        params: dict[str, Any] = {
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "seed": sampling.seed,
            "logprobs": 0,
            "stop_token_ids": list(self.words.end_ids),
        }
        if self.settings.guided_json:
            params["structured_outputs"] = answer_schema(request.schema)
        return params

    def _completion(self, request: Request, output: Any) -> Completion:
        if output is None or output.finish_reason not in ("stop", "length"):
            return Completion(request.id, "", (), (), "error")
        tokens = tuple(output.token_ids)
        text = self.words.decode(tokens)
        if self.settings.guided_json:
            if output.finish_reason == "stop" and not fits_form(text, request.schema):
                log.warning("request %s: guided, and yet no JSON of the form", request.id)
                return Completion(request.id, "", (), (), "error")
            return Completion(request.id, text, tokens, (), output.finish_reason)
        pairs = zip(output.logprobs, tokens, strict=True)
        logprobs = [step[token].logprob for step, token in pairs]
        self._check(logprobs)
        rounded = tuple(round(value, _DECIMALS) for value in logprobs)
        return Completion(request.id, text, tokens, rounded, output.finish_reason)

    def _check(self, logprobs: Iterable[float]) -> None:
        if any(math.isnan(value) for value in logprobs):
            raise BackendError(f"model {self.words.name}: its weights give no probabilities")

    def _run(self, asked: Iterable[tuple[K, _Ask]], images: Path) -> Iterator[tuple[K, Any | None]]:
        """Output of each of `asked` under its key, as they come; None for what cannot be asked."""
        album = _Album(images, self.words)
        todo, open_keys = iter(asked), dict[str, K]()
        with _failures(self.words.name):
            try:
                while True:
                    while len(open_keys) < _MOST_OPEN and (following := next(todo, None)):
                        key, ask = following
                        number = str(next(self._numbers))
                        if self._add(number, ask, album):
                            open_keys[number] = key
                        else:
                            yield key, None
                    if not open_keys:
                        return
                    for output in self._engine.step():
                        if output.finished:
                            yield open_keys.pop(output.request_id), output.outputs[0]
            finally:
                if open_keys:
                    self._engine.abort_request(list(open_keys))

    def _add(self, number: str, ask: _Ask, album: _Album) -> bool:
        """Give the engine one request; whether it has taken it."""
        image = album.picture(ask.request)
        if image is None:
            return False
        prompt: dict[str, Any] = {
            "prompt_token_ids": ask.ids,
            "multi_modal_data": {"image": [image]},
        }
        if ask.request.image.sha256:
            prompt["multi_modal_uuids"] = {"image": [ask.request.image.sha256]}
        params = _sampling_params(ask.params)
        try:
            (rendered,) = self._engine.renderer.render_cmpl([prompt])
            self._engine.add_request(number, rendered, params)
        except _refusals() as error:
            log.warning("request %s cannot be asked: %s", ask.request.id, error)
            return False
        return True


class _Album:
    """The images of a stream, the latest of them kept: requests about one stand side by side."""

    def __init__(self, root: Path, words: LoadedVlm) -> None:
        self._root, self._words = root, words
        self._last: tuple[str, Image | None] = ("", None)

    def picture(self, request: Request) -> Image | None:
        """The image of `request`, as the engine's processor is to get it; None if unreadable."""
        path = request.image.path
        if self._last[0] != path:
            try:
                image = self._words.framed(open_image(self._root, path))
            except ImageError:
                self._last = (path, None)
            else:
                self._last = (path, image)
        return self._last[1]


def _start(words: LoadedVlm, threads: int, settings: VllmSettings) -> Any:
    """A running engine."""
    os.environ.update(_QUIET)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    try:
        from vllm import LLM
    except ImportError as error:
        raise ConfigError(f"the backend vllm needs vLLM: pip install vllm ({error})") from error
    cache = settings.cache_gb
    with _failures(words.name):
        return LLM(
            model=str(words.folder),
            trust_remote_code=False,
            load_format="safetensors",
            dtype=settings.dtype,
            generation_config="vllm",
            logprobs_mode="raw_logprobs",
            enable_prefix_caching=True,
            limit_mm_per_prompt={"image": 1},
            mm_processor_kwargs=_pixels(words),
            # Free to, a model that is unsure writes spaces until it is cut.
            structured_outputs_config={"backend": "xgrammar", "disable_any_whitespace": True},
            tensor_parallel_size=settings.gpus,
            gpu_memory_utilization=settings.memory,
            kv_cache_memory_bytes=None if cache is None else int(cache * 1e9),
            max_model_len=settings.most_tokens,
            enforce_eager=settings.eager,
            seed=0,
        ).llm_engine


def _pixels(words: LoadedVlm) -> dict[str, Any] | None:
    """What the engine's own image processor is told, so that it resizes as the preset says."""
    processor = words.processor.image_processor
    size: Any = getattr(processor, "size", None)
    if not (hasattr(size, "longest_edge") and hasattr(processor, "merge_size")):
        return None
    return {"size": {"shortest_edge": size.shortest_edge, "longest_edge": size.longest_edge}}


def _sampling_params(given: Mapping[str, Any]) -> Any:
    """How vLLM says it; raises `ConfigError` for what vLLM does not do, as a temperature of 3."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    params = dict(given)
    if "structured_outputs" in params:
        params["structured_outputs"] = StructuredOutputsParams(json=params["structured_outputs"])
    kind = RequestOutputKind.FINAL_ONLY
    try:
        return SamplingParams(detokenize=False, output_kind=kind, **params)
    except _refusals() as error:
        raise ConfigError(f"vLLM: {error}") from error


@contextmanager
def _failures(name: str) -> Iterator[None]:
    """The engine's own failures come out as those of model `name`."""
    try:
        yield
    except _refusals("VLLMError", RuntimeError, OSError, MemoryError) as error:
        raise BackendError(f"model {name} failed: {error}") from error


def _refusals(kind: str = "VLLMClientError", *more: type[Exception]) -> tuple[type[Exception], ...]:
    """What vLLM raises: for a request that it does not take, or at all; and `more`."""
    from vllm import exceptions

    # Their validation error was a ValueError before it had a root of its own.
    return (getattr(exceptions, kind), ValueError, *more)
