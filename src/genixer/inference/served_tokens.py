"""Tokens of a served model by their ids, as vLLM tells them: which one says an option, how likely.

A word alone does not name a token: `Yes` after `ASSISTANT:` is another one than `Yes` on a line of
its own. So the server is asked to spell a short conversation, without the reply and with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from genixer.errors import ConfigError
from genixer.inference.chat_api import BadReplyError

__all__ = ["read_tokens", "reply_bodies", "token_name", "weighed_ids"]

_TEMPLATE = ("chat_template", "chat_template_kwargs")
"""Fields of a request that change how a conversation is spelled."""
_NAME = "token_id:"
"""What vLLM puts before an id where a token's text would stand."""


class _Spelled(msgspec.Struct):
    tokens: list[int]


def reply_bodies(model: str, reply: str, extra: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """What to ask `/tokenize`: a conversation up to a reply, and up to the end of its words.

    >>> b'"add_generation_prompt":true' in reply_bodies("m", "Yes", {})[0]
    True
    """
    question = {"role": "user", "content": [{"type": "text", "text": "?"}]}
    answer = {"role": "assistant", "content": [{"type": "text", "text": reply}]}
    told = {"model": model, **{key: extra[key] for key in _TEMPLATE if key in extra}}
    before = {**told, "messages": [question], "add_generation_prompt": True}
    said = {
        **told,
        "messages": [question, answer],
        "add_generation_prompt": False,
        "continue_final_message": True,
    }
    return msgspec.json.encode(before), msgspec.json.encode(said)


def read_tokens(content: bytes) -> list[int]:
    """Ids in the body of an answer; raises `BadReplyError`.

    >>> read_tokens(b'{"count": 2, "tokens": [5, 7]}')
    [5, 7]
    """
    try:
        return msgspec.json.decode(content, type=_Spelled).tokens
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadReplyError(f"the answer holds no tokens: {error}") from None


def token_name(before: Sequence[int], said: Sequence[int], reply: str) -> str:
    """How the one token that says `reply` is called in a list of likely ones.

    `before` are the tokens in front of it, `said` those with it. Raises `ConfigError` where there
    are several, or none that can be told from what stands before.

    >>> token_name([1, 2], [1, 2, 350], "Yes")
    'token_id:350'
    """
    own = said[len(before) :]
    if [*before, *own] != list(said) or not own:
        raise ConfigError(f"{reply!r} cannot be said in the chat template of the server's model")
    if len(own) > 1:
        raise ConfigError(
            f"option {reply!r} has several tokens ({len(own)}) in the server's model: a server "
            "weighs single tokens only; use the backend transformers, vlm or vllm"
        )
    return f"{_NAME}{own[0]}"


def weighed_ids(names: Sequence[str]) -> dict[str, Any]:
    """Fields of a request that have these tokens weighed, however unlikely they are.

    A vLLM that does not know the first of them lists the likeliest, by their ids, too.

    >>> weighed_ids(["token_id:350"])
    {'logprob_token_ids': [350], 'return_tokens_as_token_ids': True}
    """
    ids = [int(name.removeprefix(_NAME)) for name in names]
    return {"logprob_token_ids": ids, "return_tokens_as_token_ids": True}
