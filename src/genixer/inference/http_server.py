"""A server that answers over HTTP, asked until it answers, refuses, or is gone for good.

What fails is told apart once, by `_fault`: what may go better next time is asked again, what is
wrong with one request costs that request, what is wrong with all of them ends the run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from io import BytesIO
from itertools import count
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from genixer.errors import BackendError
from genixer.inference.chat_api import BadReplyError
from genixer.inference.concurrency import AdaptiveLimit
from genixer.inference.http_retry import asked_pause_s, jitter_s

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

    from genixer.inference.api_key import ApiKey

__all__ = ["HttpServer", "Patience", "RefusedError"]

T = TypeVar("T")

_CHAT, _MODELS, _TOKENS = "chat/completions", "models", "tokenize"
_DOWN = (502, 503, 504)
"""What stands in front of a server says so, or the server itself while it loads."""
_MOST_BYTES = 32_000_000
_MOST_SHOWN = 300
_LONGEST_PROBE_S = 5.0


class RefusedError(Exception):
    """One request that the server will not or cannot answer; the message says why."""


class Patience(NamedTuple):
    """How long to wait for what, in seconds, and how often."""

    connect_s: float
    answer_s: float
    """Of one try, from the first byte sent to the last one read."""
    base_s: float
    longest_s: float
    gone_s: float
    attempts: int
    stop_after: int


class _Models(NamedTuple):
    """What the server said when its list of models was asked for."""

    status: int
    content: bytes
    headers: Mapping[str, str]


class _Fault(Exception):  # noqa: N818  (turned into one of the errors above, or a further try)
    """Why a try gave no answer, and what follows from it."""

    def __init__(
        self,
        detail: str,
        then: Literal["again", "down", "refuse", "stop"] = "again",
        strain: bool = False,
        pause_s: float | None = None,
        healthy: bool = False,
        drawn: bool = False,
    ) -> None:
        # A header that is no UTF-8 comes with lone surrogates, which no file takes.
        self.detail = detail.encode("utf-8", "backslashreplace").decode("utf-8")
        super().__init__(self.detail)
        self.then, self.strain, self.pause_s = then, strain, pause_s
        self.healthy, self.drawn = healthy, drawn


class HttpServer:
    """One server, its connections, and how it does. For one event loop."""

    def __init__(
        self,
        base_url: str,
        session: aiohttp.ClientSession,
        key: ApiKey,
        limit: AdaptiveLimit,
        patience: Patience,
        trial: bytes,
    ) -> None:
        """Ask what is below `base_url`, which ends in a slash; `session` is this server's to end.

        `trial` is a request that no server can mind: if it is refused, so will be all.
        """
        from yarl import URL

        self._session, self._base_url = session, base_url
        self._chat_url, self._models_url = URL(base_url + _CHAT), URL(base_url + _MODELS)
        beside = "../" if urlsplit(base_url).path.endswith("/v1/") else ""
        self.tokens_url = URL(base_url).join(URL(beside + _TOKENS))
        """Where vLLM spells text in tokens: beside the API, not in it."""
        self._key, self._limit, self._patience = key, limit, patience
        self._headers = {"Content-Type": "application/json", **key.headers}
        self._trial = trial
        self._probing, self._trying = asyncio.Lock(), asyncio.Lock()
        self._up_at = self._not_before = -float("inf")
        self._models: _Models
        self.when_up: Callable[[bytes], object] = lambda _: None
        """Told the list of models when it is up; raises `BadReplyError` while it loads."""
        self._sound = False
        """Whether the server has ever answered a request like ours."""
        self._lost = 0
        """Requests given up since it last answered one."""

    async def close(self) -> None:
        """End all connections."""
        await self._session.close()

    async def models(self) -> bytes:
        """Body of the list of models, empty where the server has none; waits until it is up."""
        since = time.monotonic()
        for attempt in count(1):
            status, content, headers = await self._until_up()
            if status == 200:
                return content
            if status in (404, 405, 501):
                return b""
            fault = _fault(status, headers, content)
            if fault.then != "again" or time.monotonic() - since > self._patience.gone_s:
                raise BackendError(self._told(fault))
            self._not_before = time.monotonic() + (fault.pause_s or 0.0)
            await self._wait("models", attempt, fault)
            await self._open_gate("models", attempt)
        raise AssertionError("count() does not end")

    async def ask(
        self,
        name: str,
        body: Callable[[int], bytes],
        read: Callable[[bytes], T],
        url: URL | None = None,
    ) -> T:
        """What `read` makes of the answer to `body(n)`, after `n` drawn answers that were none.

        `name` seeds the waits between tries. Chat completions are asked for, unless another `url`
        is given. `read` raises `BadReplyError` for what is no answer. Raises `RefusedError` when
        this request gets none, `BackendError` when no request would.
        """
        fault, url = _Fault(""), url or self._chat_url
        redrawn, said = 0, body(0)
        for attempt in range(1, self._patience.attempts + 1):
            try:
                return await self._try(name, attempt, url, said, read)
            except _Fault as found:
                fault = found
            if fault.then == "stop":
                raise BackendError(self._told(fault, url))
            if fault.then == "refuse":
                await self._look_at_refusal(fault)
                break
            if attempt < self._patience.attempts:
                await self._wait(name, attempt, fault)
                if fault.drawn:
                    redrawn += 1
                    said = body(redrawn)
        self._lost += 1
        if self._lost >= self._patience.stop_after and not await self._well_though(fault):
            raise BackendError(
                f"{self._lost} requests in a row (setting stop_after) got no answer, the last one: "
                f"{self._told(fault)}; run the same command again when the server does better"
            )
        raise RefusedError(self._key.redact(fault.detail))

    async def _try(
        self, name: str, attempt: int, url: URL, body: bytes, read: Callable[[bytes], T]
    ) -> T:
        async with self._limit.slot():
            await self._open_gate(name, attempt)
            started = time.monotonic()
            try:
                answer = read(await self._post(url, body))
            except BadReplyError as error:
                raise _Fault(str(error), healthy=True, drawn=error.drawn) from error
            except _Fault as fault:
                if fault.strain:
                    self._limit.strained(started)
                # While the slot is held, or whoever gets it next would not know.
                self._not_before = max(self._not_before, time.monotonic() + (fault.pause_s or 0.0))
                raise
            self._limit.answered(started)
        if url == self._chat_url:
            self._sound, self._lost = True, 0
        return answer

    async def _post(self, url: URL, body: bytes) -> bytes:
        """Body of the answer; raises `_Fault` for anything but a whole one with status 200."""
        import aiohttp

        try:
            async with (
                asyncio.timeout(self._patience.answer_s),
                self._session.post(
                    url, data=BytesIO(body), headers=self._headers, allow_redirects=False
                ) as response,
            ):
                # Before anything is cut out of it, which might cut the key in two.
                content = self._key.redact_bytes(await _read(response))
        except aiohttp.ConnectionTimeoutError as error:
            raise _Fault(f"no connection in time ({error})", "down", strain=True) from error
        except TimeoutError as error:
            raise _Fault(f"no answer in time ({type(error).__name__})", strain=True) from error
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            detail = f"the connection failed: {type(error).__name__}: {error}"
            raise _Fault(detail, "down") from error
        except aiohttp.ClientError as error:
            raise _Fault(f"the answer is broken: {_said(error)}") from error
        if response.status != 200:
            raise _fault(response.status, response.headers, content)
        kind = response.headers.get("content-type", "")
        if kind.partition(";")[0].strip().lower() != "application/json":
            raise _Fault(f"the answer is {kind or 'of no type'}, not JSON: {_shown(content)}")
        return content

    async def _open_gate(self, name: str, attempt: int) -> None:
        """Wait while the server is looked for, and as long as it has asked everybody to."""
        if self._probing.locked():
            await self._until_up()
        while (left := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(left + jitter_s(name, attempt, 0.05, 1.0))

    async def _wait(self, name: str, attempt: int, fault: _Fault) -> None:
        patience = self._patience
        if fault.pause_s is not None:
            if fault.pause_s > patience.longest_s:
                raise BackendError(
                    f"the server asks to wait {fault.pause_s:.0f} s, which is more than the "
                    f"setting longest_wait_s ({patience.longest_s:.0f}): {self._told(fault)}; "
                    "run the same command again later"
                )
            return  # the gate is shut until then
        if fault.then == "down":
            await self._until_up()
        # A server that is well, and answers nonsense, is not helped by longer and longer waits.
        longest_s = patience.base_s if fault.healthy else patience.longest_s
        await asyncio.sleep(jitter_s(name, attempt, patience.base_s, longest_s))

    async def _until_up(self) -> _Models:
        """What the server says of its models, asked until it answers.

        Requests that wait for the same share one look. Raises `BackendError` when it stays away.
        """
        import aiohttp

        since = time.monotonic()
        async with self._probing:
            if self._up_at >= since:
                return self._models
            for attempt in count(1):
                try:
                    self._models = await self._look()
                    if self._models.status not in _DOWN:
                        if self._models.status == 200:
                            self.when_up(self._models.content)
                        self._up_at = time.monotonic()
                        return self._models
                    detail = f"status {self._models.status}"
                except aiohttp.ClientConnectorCertificateError as error:
                    raise BackendError(
                        f"{self._base_url} is not what its certificate says: {error}; a private "
                        "authority's certificates are named in the variable SSL_CERT_FILE"
                    ) from None
                except (_Fault, BadReplyError) as fault:
                    detail = str(fault)
                except (aiohttp.ClientError, TimeoutError) as error:
                    detail = _said(error)
                if time.monotonic() - since > self._patience.gone_s:
                    raise BackendError(
                        f"no server at {self._base_url} for {self._patience.gone_s:g} s "
                        f"(setting patience_s): {self._key.redact(detail)}; start it and run the "
                        "same command again: what was answered is kept"
                    )
                await asyncio.sleep(jitter_s("probe", attempt, 0.2, _LONGEST_PROBE_S))
        raise AssertionError("count() does not end")

    async def _look(self) -> _Models:
        """What the server says when its list of models is asked for, once."""
        async with (
            asyncio.timeout(self._patience.connect_s),
            self._session.get(
                self._models_url, headers=self._key.headers, allow_redirects=False
            ) as response,
        ):
            content = self._key.redact_bytes(await _read(response))
            return _Models(response.status, content, response.headers)

    async def _well_though(self, fault: _Fault) -> bool:
        """Whether the server still answers a plain request, though it refuses ours one by one."""
        if fault.then != "refuse":
            return False
        self._sound = False
        await self._look_at_refusal(fault)
        if self._sound:
            self._lost = 0
        return self._sound

    async def _look_at_refusal(self, fault: _Fault) -> None:
        """Raise `BackendError` if it is the settings that are refused, not this one request."""
        async with self._trying:
            if self._sound:
                return
            try:
                await self._post(self._chat_url, self._trial)
            except _Fault as same:
                if same.then in ("refuse", "stop"):
                    raise BackendError(
                        f"the server refuses what it is asked: {self._told(fault)}; see the "
                        "settings `dialect` and `extra`, and whether the model takes images"
                    ) from None
                return
            self._sound = True

    def _told(self, fault: _Fault, url: URL | None = None) -> str:
        """The fault for people, without the key."""
        host = urlsplit(self._base_url).netloc
        hints = _TOKEN_HINTS if url == self.tokens_url else _HINTS
        hint = hints.get(fault.detail.partition(":")[0], "").format(variable=self._key.variable)
        return self._key.redact(f"{host}: {fault.detail}{hint}")


_HINTS = {
    "status 401": "; put the key into the environment variable {variable} (setting api_key_env)",
    "status 403": "; the key in {variable} may not do that",
    "status 404": "; is base_url right (it usually ends in /v1), and the model's name?",
}
_TOKEN_HINTS = {
    **_HINTS,
    "status 404": "; a judge of the dialect vllm needs /tokenize, which stands beside /v1: let the "
    "gateway pass it on, or set dialect: openai",
}


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, as long as it is not larger than any answer."""
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > _MOST_BYTES:
            raise _Fault(f"the answer has more than {_MOST_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


def _fault(status: int, headers: Mapping[str, str], content: bytes) -> _Fault:
    """What follows from a status other than 200."""
    detail = f"status {status}: {_message(content)}"
    pause_s = asked_pause_s(headers)
    if status == 429 or status in _DOWN:
        then: Literal["again", "down"] = "down" if status in _DOWN else "again"
        return _Fault(detail, then, strain=True, pause_s=pause_s)
    if status >= 500 or status in (408, 409, 425):
        return _Fault(detail, strain=status >= 500, pause_s=pause_s)
    if status in (400, 413, 415, 422):
        return _Fault(detail, "refuse")
    if 300 <= status < 400:
        to = headers.get("location", "nowhere")
        return _Fault(f"status {status}: redirected to {to}; redirects are not followed", "stop")
    return _Fault(detail, "stop")


def _message(content: bytes) -> str:
    """What a server says of a failure, in whichever form."""
    try:
        body = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _shown(content)
    error = body.get("error", body) if isinstance(body, dict) else body
    said = error.get("message", error) if isinstance(error, dict) else error
    return str(said)[:_MOST_SHOWN]


def _said(error: Exception) -> str:
    """What went wrong, without aiohttp's address, which may be a proxy's with its password."""
    status, message = getattr(error, "status", None), getattr(error, "message", "")
    said = f"{status}, {message}" if status is not None else error
    return f"{type(error).__name__}: {said}"


def _shown(content: bytes) -> str:
    return repr(content[:_MOST_SHOWN].decode("utf-8", "replace"))
