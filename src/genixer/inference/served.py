"""What a server says of the model it serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from genixer.errors import BackendError, ConfigError, near
from genixer.inference.chat_api import BadReplyError

__all__ = ["see_same_model", "served_model"]

_LASTING = ("id", "root", "parent", "owned_by", "max_model_len", "meta")
"""What stays the same over a restart; times and permissions do not."""


def served_model(content: bytes, model: str) -> dict[str, Any]:
    """What the list of models in `content` says of `model`, as far as it lasts.

    Empty where the server has no list. Raises `ConfigError` for a model that is not on it,
    `BadReplyError` for one that is still loading.

    >>> served_model(b'{"data": [{"id": "qwen", "created": 17, "max_model_len": 4096}]}', "qwen")
    {'id': 'qwen', 'max_model_len': 4096}
    >>> served_model(b'{"data": [{"id": "qwen"}]}', "qwem")
    Traceback (most recent call last):
    ...
    genixer.errors.ConfigError: the server has no model 'qwem'; did you mean qwen?
    """
    if not content:
        return {}
    try:
        listed = msgspec.json.decode(content)["data"]
        models = {str(one["id"]): one for one in listed}
    except (msgspec.DecodeError, ValueError, RecursionError, TypeError, LookupError) as error:
        raise BackendError(
            f"the server's list of models is none ({type(error).__name__}); does base_url lead to "
            "an OpenAI-compatible API? it usually ends in /v1"
        ) from None
    if models and model not in models:
        raise ConfigError(f"the server has no model {model!r}; {near(model, models)}")
    said = models.get(model, {})
    # llama.cpp lists a model before it has read it.
    if "meta" in said and said["meta"] is None:
        raise BadReplyError(f"the model {model!r} is still loading")
    return {key: said[key] for key in _LASTING if key in said}


def see_same_model(known: Mapping[str, Any], model: str, content: bytes) -> None:
    """Raise `BackendError` if the list of models in `content` tells of another `model` than before.

    What it told then is `known`. Otherwise as `served_model`.
    """
    found = served_model(content, model)
    for key in known.keys() & found.keys():
        if found[key] != known[key]:
            raise BackendError(
                f"the server was away and came back with another model: {model!r} has the {key} "
                f"{found[key]!r}, not {known[key]!r} any more; start it as it was and run the same "
                "command again: what was answered is kept"
            )
