"""The chat-completions API: what to send for a request, and how to read what comes back.

Servers differ in small ways; a dialect names them, so that nothing is found out by trial.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import msgspec

from genixer.data import Sampling

__all__ = [
    "DIALECTS",
    "BadReplyError",
    "Dialect",
    "DialectName",
    "Reply",
    "chat_body",
    "read_reply",
]

DialectName = Literal["openai", "vllm", "sglang", "llama_cpp", "transformers"]

_ENDS: Mapping[str | None, Literal["stop", "length"]] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn"), "stop"),
    **dict.fromkeys(("length", "max_tokens"), "length"),
}
_NEXT_SEED = 1 << 20
"""From one seed of a request to its next: far enough that seeds side by side never meet."""
_MOST_SHOWN = 200


class Dialect(NamedTuple):
    """What a kind of server takes beyond the common part."""

    logprobs: bool = True
    top_k: bool = True
    guided: bool = True
    """Whether it holds an answer to a JSON schema."""
    control_tokens: bool = False
    """Whether it can be told to leave a model's box marks in the text."""
    token_ids: bool = False
    """Whether it tells ids of tokens, spells text in them, and weighs given ones."""
    listed: int = 20
    """Most likely tokens that it lists."""
    lists: bool = True
    """Whether its list of models holds every one that it serves."""
    limit: str = "max_tokens"
    """What it calls the most tokens of an answer."""
    plain: Mapping[str, float] = MappingProxyType({})
    """What keeps it from drawing as it likes, or as the makers of the model recommend."""


_PENALTIES = {"presence_penalty": 0.0, "frequency_penalty": 0.0}
_PLAIN = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, **_PENALTIES}

DIALECTS: Mapping[DialectName, Dialect] = {
    "openai": Dialect(top_k=False, limit="max_completion_tokens"),
    "vllm": Dialect(control_tokens=True, token_ids=True, plain=_PLAIN),
    "sglang": Dialect(control_tokens=True, plain=_PLAIN),
    "llama_cpp": Dialect(
        listed=200, plain={"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0, **_PENALTIES}
    ),
    "transformers": Dialect(logprobs=False, top_k=False, guided=False, lists=False),
}


class BadReplyError(Exception):
    """An answer that is none: broken, empty, of another form. The message says how.

    `drawn` when it is whole, so that the model said this, and would again with the same luck.
    """

    def __init__(self, message: str, drawn: bool = False) -> None:
        super().__init__(message)
        self.drawn = drawn


class _Listed(msgspec.Struct):
    token: str
    logprob: float


class _Token(_Listed):
    top_logprobs: list[_Listed] = []


class _Logprobs(msgspec.Struct):
    content: list[_Token] | None = None


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None
    token_ids: list[int] | None = None


class _Body(msgspec.Struct):
    choices: list[_Choice]


class Reply(NamedTuple):
    """What a server wrote; `logprobs` and `token_ids` are empty where it gives none."""

    text: str
    finish: Literal["stop", "length"]
    logprobs: tuple[float, ...] = ()
    token_ids: tuple[int, ...] = ()
    first: tuple[tuple[str, float], ...] = ()
    """Likeliest first tokens, with their log-probabilities."""


def chat_body(
    model: str, dialect: Dialect, words: str, picture: str, sampling: Sampling, redrawn: int = 0
) -> dict[str, Any]:
    """One user message, the `picture` (a data URL) before the `words`.

    After `redrawn` answers that the model gave, and were none, the seed is another one: a server
    that keeps to it would give the same again.

    >>> body = chat_body("m", DIALECTS["openai"], "Ask.", "data:,", Sampling(8, seed=2**62 + 1))
    >>> [part["type"] for part in body["messages"][0]["content"]], body["max_completion_tokens"]
    (['image_url', 'text'], 8)
    """
    content = [
        {"type": "image_url", "image_url": {"url": picture}},
        {"type": "text", "text": words},
    ]
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        # Half the servers read it as a signed 32-bit number.
        "seed": (sampling.seed + redrawn * _NEXT_SEED) % 2**31,
        dialect.limit: sampling.max_new_tokens,
        **dialect.plain,
    }
    if sampling.top_k:
        body["top_k"] = sampling.top_k
    if dialect.logprobs:
        body["logprobs"] = True
    if dialect.token_ids:
        body["return_token_ids"] = True
    return body


def read_reply(content: bytes, may_be_empty: bool = False) -> Reply:
    """What is in the body of an answer; raises `BadReplyError`, for one without text too.

    Unless it `may_be_empty`, where the probabilities are what counts.

    >>> said = b'{"choices": [{"message": {"content": "a cat"}, "finish_reason": "stop"}]}'
    >>> read_reply(said).text
    'a cat'
    >>> read_reply(b'{"choices": []}')
    Traceback (most recent call last):
    ...
    genixer.inference.chat_api.BadReplyError: the answer has no choices
    """
    try:
        body = msgspec.json.decode(content, type=_Body)
    except msgspec.ValidationError as error:
        raise BadReplyError(
            f"the answer is no chat completion: {error}: {_shown(content)}"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadReplyError(f"the answer is not JSON: {error}: {_shown(content)}") from None
    if not body.choices:
        raise BadReplyError("the answer has no choices")
    choice = body.choices[0]
    text, finish = choice.message.content, _ENDS.get(choice.finish_reason)
    if finish is None:
        raise BadReplyError(f"the answer ended for the reason {choice.finish_reason!r}")
    if not text and not may_be_empty:
        raise BadReplyError("the answer has no text", drawn=True)
    listed = (choice.logprobs.content if choice.logprobs else None) or []
    logprobs = tuple(_logprob(one.logprob) for one in listed)
    ids = tuple(choice.token_ids or ())
    if ids and logprobs and len(ids) != len(logprobs):
        raise BadReplyError(f"the answer has {len(ids)} tokens and {len(logprobs)} probabilities")
    first = tuple((one.token, _logprob(one.logprob)) for one in _likeliest(listed))
    return Reply(text or "", finish, logprobs, ids, first)


def _likeliest(listed: Sequence[_Token]) -> Sequence[_Listed]:
    return listed[0].top_logprobs if listed else ()


def _logprob(value: float) -> float:
    """`value` as one; servers round to just above 0. Raises `BadReplyError` for no number."""
    if not math.isfinite(value):
        raise BadReplyError(f"the answer has a log-probability of {value}")
    return round(min(value, 0.0), 6)


def _shown(content: bytes) -> str:
    return repr(content[:_MOST_SHOWN].decode("utf-8", "replace"))
