"""Any server that speaks the OpenAI API (vLLM, SGLang, llama.cpp, a cloud), as generator or judge.

Requests are answered one by one, in any order. The key comes from the environment and nothing else
does; the server is the one that the settings name.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec

from genixer.data import Completion, Request, Sampling, content_id
from genixer.errors import BackendError, CannotEncodeError, ConfigError
from genixer.inference.api_key import ApiKey
from genixer.inference.base import Choice
from genixer.inference.chat_api import BadReplyError, Reply, chat_body, read_reply
from genixer.inference.concurrency import AdaptiveLimit
from genixer.inference.control_tokens import refuse_control_tokens
from genixer.inference.data_url import DataUrls
from genixer.inference.hints import hint_for
from genixer.inference.http_server import HttpServer, Patience, RefusedError
from genixer.inference.json_form import fits_form, response_format
from genixer.inference.loop_thread import LoopThread
from genixer.inference.openai_settings import OpenAiSettings
from genixer.inference.options import check_options, weigh
from genixer.inference.served import see_same_model, served_model
from genixer.inference.served_tokens import read_tokens, reply_bodies, token_name, weighed_ids
from genixer.models.box_text import read_boxes, write_boxes
from genixer.models.vlm_preset import VlmPreset, load_vlm_preset
from genixer.store.images import ImageError

if TYPE_CHECKING:
    from yarl import URL

    from genixer.tasks.base import Canvas

__all__ = ["OpenAiBackend", "OpenAiSettings"]

T = TypeVar("T")

_GREY_64 = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAAAAACPAi4CAAAAK0lEQVR42u3MMR"
    "EAAAgEoNfkRjeEmwcBqMlNRyAQCAQCgUAgEAgEAsHzYAFAdAEArKmlZAAAAABJRU5ErkJggg=="
)
"""A picture of 64 x 64 px."""
_MANNER = 2
"""Manners of asking and weighing there have been: the rows of two are not mixed in a step."""
_TOLD = ("dialect", "preset", "hint", "guided_json", "most_px", "extra")
"""Settings that change what is asked."""


class OpenAiBackend:
    """The model called `model` on a server.

    An unusable request is one whose image cannot be read, whose words hold signs of a chat
    template, or that the server will not answer; `detail` says which. Seeds are sent, but no server
    promises to draw the same twice. Log-probabilities are as the server gives them, raw by its
    defaults; where it gives no token ids, `token_ids` is empty.
    """

    name: ClassVar[str] = "openai"
    reproducible: ClassVar[bool] = False
    Settings: ClassVar[type[OpenAiSettings]] = OpenAiSettings

    def __init__(self, model: str, threads: int, settings: OpenAiSettings) -> None:
        """Wait for the server and see that it has `model`; `threads` is the server's own matter.

        Raises `ConfigError` for a model it does not have, a key that is missing or a proxy that
        cannot be used, `BackendError` when it is not there within `patience_s`.
        """
        self.model, self.settings, self._spoken = model, settings, settings.spoken
        self._preset = _preset(settings)
        self._weighs = False
        """Whether the server has ever weighed options."""
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        key = ApiKey(settings.api_key_env)
        if settings.api_key_env and not key and not settings.loopback:
            raise ConfigError(
                f"no key for {settings.base_url}: put it into the environment variable "
                f"{settings.api_key_env} (setting api_key_env; empty for a server without keys)"
            )
        proxy = _proxy(settings.base_url) if settings.trust_env else None
        key.guard_logs()
        self._key = key
        self._thread = LoopThread("genixer-openai")
        self._pictures = DataUrls(settings.most_px, self._preset.frame == "padded_square")
        self._server = self._thread.call(_connect(settings, key, self._trial(), proxy))
        self._end = weakref.finalize(self, _disconnect, self._thread, self._server)
        try:
            served = self._served()
        except BaseException:
            self.close()
            raise
        told = settings.model_dump(mode="json", include=set(_TOLD))
        preset = self._preset.model_dump(mode="json")
        self.revision = content_id("openai", _MANNER, served, told, preset)

    def _served(self) -> dict[str, Any]:
        """What the server says of the model once it is up; looked at again whenever it was away."""
        if not self._spoken.lists:
            self._thread.call(self._server.models())
            return {}
        self._server.when_up = partial(served_model, model=self.model)
        served = served_model(self._thread.call(self._server.models()), self.model)
        self._server.when_up = partial(see_same_model, served, self.model)
        return served

    def close(self) -> None:
        """End connections and thread; done by itself when the backend is no longer used."""
        self._end()

    def canvas(self, width: int, height: int) -> Canvas:
        """Frame and decimals of the preset."""
        return self._preset.canvas(width, height)

    def generate(self, requests: Sequence[Request], images: Path) -> list[Completion]:
        """One completion a request, in order."""
        return self._all([partial(self._complete, request, images) for request in requests])

    def stream(self, requests: Sequence[Request], images: Path) -> Iterator[Completion]:
        """Completion of each request once, as soon as it is there."""
        jobs = [partial(self._complete, request, images) for request in requests]
        answers = self._thread.each(jobs, 2 * self.settings.concurrency_max)
        try:
            for _, completion in answers:
                yield completion
        finally:
            answers.close()

    def choose(
        self, requests: Sequence[Request], options: Sequence[str], images: Path
    ) -> list[Choice]:
        """Log-probability of each of `options`, single words, as the answer's first token.

        Natural logs. vLLM weighs just these tokens, other servers list their likeliest, and `weigh`
        says what an unlisted one gets. NaN for a request that is unusable. Raises `ConfigError` for
        a dialect without log-probabilities and for an option of several words or tokens,
        `BackendError` for a server that weighs or spells none.
        """
        if "choose" in self.settings.lacking:
            raise ConfigError(
                f"a server of the dialect {self.settings.dialect} gives no log-probabilities, so "
                "that it can weigh no options"
            )
        check_options(options)
        names = self._named(tuple(options)) if self._spoken.token_ids and requests else options
        return self._all([partial(self._choose, one, names, images) for one in requests])

    def _named(self, options: tuple[str, ...]) -> tuple[str, ...]:
        """What the server calls the token that begins each option, when asked to name its ids.

        The word alone does not tell: a model may know it with and without a space before it.
        """
        if options not in self._names:
            asked = [partial(self._first_token, option) for option in options]
            self._names[options] = tuple(self._all(asked))
        return self._names[options]

    async def _first_token(self, option: str) -> str:
        async def tokens(body: bytes) -> list[int]:
            return await self._server.ask(
                option, lambda _: body, read_tokens, self._server.tokens_url
            )

        try:
            bodies = reply_bodies(self.model, option, self.settings.extra)
            before, said = [await tokens(body) for body in bodies]
        except RefusedError as error:
            raise BackendError(f"the server does not spell {option!r} in tokens: {error}") from None
        return token_name(before, said, option)

    def _all(self, jobs: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
        """Results of all `jobs`, in their order."""
        found = dict(self._thread.each(jobs, 2 * self.settings.concurrency_max))
        return [found[at] for at in range(len(jobs))]

    async def _complete(self, request: Request, images: Path) -> Completion:
        try:
            words = self._words(request, hinted=True)
            picture = await self._pictures.of(images, request.image.path)
            body = partial(self._body, words, picture, request.sampling, schema=request.schema)
            read = partial(self._read, schema=request.schema)
            reply = await self._server.ask(request.id, body, read)
        except (CannotEncodeError, ImageError, RefusedError) as error:
            return Completion(request.id, "", (), (), "error", str(error))
        text = read_boxes(self._key.redact(reply.text), self._preset.boxes)
        return Completion(request.id, text, reply.token_ids, reply.logprobs, reply.finish)

    async def _choose(self, request: Request, options: Sequence[str], images: Path) -> Choice:
        counts = (1,) * len(options)
        # At temperature 1 what is drawn from is the raw distribution, whichever a server shows.
        sampling = Sampling(1, temperature=1.0, seed=request.sampling.seed)
        try:
            words = self._words(request, hinted=False)
            picture = await self._pictures.of(images, request.image.path)
            body = partial(self._body, words, picture, sampling, weighed=options)
            reply = await self._server.ask(request.id, body, _read_list)
        except (CannotEncodeError, ImageError):
            return Choice(request.id, (math.nan,) * len(options), counts)
        except RefusedError:
            if not self._weighs:
                await self._try_to_weigh(options)
            return Choice(request.id, (math.nan,) * len(options), counts)
        self._weighs = True
        return Choice(request.id, weigh(reply.first, options), counts)

    async def _try_to_weigh(self, options: Sequence[str]) -> None:
        """Raise `BackendError` if it is the weighing that is refused, not one request."""
        sampling = Sampling(1, temperature=1.0)
        body = partial(self._body, "Hi", _GREY_64, sampling, weighed=options)
        try:
            await self._server.ask("trial", body, _read_list)
        except RefusedError as error:
            raise BackendError(
                f"the server weighs no options, though its dialect should: {error}; is it another "
                "one? (setting dialect)"
            ) from None
        self._weighs = True

    def _words(self, request: Request, hinted: bool) -> str:
        """What is asked, boxes spelled the model's way; raises `CannotEncodeError`."""
        refuse_control_tokens(request.prompt)
        words = write_boxes(request.prompt, self._preset.boxes)
        hint = self.settings.hint if hinted else "none"
        told = hint_for(request, hint, self._preset)
        return "\n".join(part for part in (words, told) if part)

    def _body(
        self,
        words: str,
        picture: str,
        sampling: Sampling,
        redrawn: int = 0,
        *,
        weighed: Sequence[str] = (),
        schema: Mapping[str, Any] | None = None,
    ) -> bytes:
        """What is sent, after `redrawn` answers of the model that were none."""
        if sampling.top_k and not self._spoken.top_k:
            raise ConfigError(
                f"top_k: a server of the dialect {self.settings.dialect} does not know it; set 0"
            )
        body = chat_body(self.model, self._spoken, words, picture, sampling, redrawn)
        if weighed:
            body["top_logprobs"] = self._spoken.listed
            body |= weighed_ids(weighed) if self._spoken.token_ids else {}
        elif self.settings.guided_json:
            body["response_format"] = response_format(schema)
        if self._preset.boxes in ("box_marks", "location_tokens") and self._spoken.control_tokens:
            body["skip_special_tokens"] = False
        return msgspec.json.encode({**body, **self.settings.extra})

    def _read(self, content: bytes, schema: Mapping[str, Any] | None = None) -> Reply:
        reply = read_reply(content)
        # What was cut off cannot be whole; that is told apart later.
        whole = self.settings.guided_json and reply.finish == "stop"
        if whole and not fits_form(reply.text, schema):
            raise BadReplyError(
                "the answer does not keep to the form that was asked for", drawn=True
            )
        return reply

    def _trial(self) -> bytes:
        return self._body("Hi", _GREY_64, Sampling(1))


def _read_list(content: bytes) -> Reply:
    reply = read_reply(content, may_be_empty=True)
    if not reply.first:  # llama.cpp gives none for a token that is half a sign
        raise BadReplyError("the answer lists no log-probabilities", drawn=True)
    return reply


def _preset(settings: OpenAiSettings) -> VlmPreset:
    preset = load_vlm_preset(settings.preset) if settings.preset else VlmPreset(name="fractions")
    in_pixels = preset.frame == "pixel" or preset.frame.startswith("resized_")
    if in_pixels and settings.most_px is not None:
        raise ConfigError(
            f"preset {preset.name} counts pixels of the image as the model sees it; leave most_px "
            "out, which changes it on the way"
        )
    if preset.boxes == "box_marks" and not settings.spoken.control_tokens:
        raise ConfigError(
            f"preset {preset.name}: its box marks are control tokens, which a server of the "
            f"dialect {settings.dialect} leaves out of its text; vllm and sglang can show them"
        )
    return preset


async def _connect(
    settings: OpenAiSettings, key: ApiKey, trial: bytes, proxy: URL | None
) -> HttpServer:
    """The server, and connections to it that remember nothing of each other."""
    import aiohttp

    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),  # slots are handed out above it
        timeout=aiohttp.ClientTimeout(total=None, connect=settings.connect_timeout_s),
        headers={"User-Agent": "genixer"},
        cookie_jar=aiohttp.DummyCookieJar(),
        proxy=proxy,
    )
    limit = AdaptiveLimit(settings.concurrency_min, settings.concurrency_max, settings.slow_after)
    patience = Patience(
        settings.connect_timeout_s,
        settings.timeout_s,
        settings.first_wait_s,
        settings.longest_wait_s,
        settings.patience_s,
        settings.attempts,
        settings.stop_after,
    )
    return HttpServer(settings.base_url, session, key, limit, patience, trial)


def _proxy(base_url: str) -> URL | None:
    """The proxy that the environment names for a server, looked up once for all requests.

    aiohttp's own `trust_env` asks for it at every one, goes past a proxy it cannot use, and takes
    logins from `.netrc`, which cannot be sent beside a key.
    """
    from yarl import URL

    parts = urlsplit(base_url)
    named = getproxies()
    name = parts.scheme if named.get(parts.scheme) else "all"
    told = named.get(name)
    if not told or proxy_bypass(parts.hostname or "") or proxy_bypass(parts.netloc):
        return None
    try:
        proxy = URL(told if "://" in told else f"http://{told}")
    except ValueError:
        proxy = URL()
    if proxy.scheme not in ("http", "https") or not proxy.host:
        # Not shown: it may hold a password.
        raise ConfigError(
            f"the proxy in {name.upper()}_PROXY is no address of an HTTP proxy; write it as "
            "http://127.0.0.1:3128, or set trust_env: false"
        )
    return proxy


def _disconnect(thread: LoopThread, server: HttpServer) -> None:
    thread.call(server.close())
    thread.close()
