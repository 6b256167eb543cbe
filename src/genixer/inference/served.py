"""What a server says of the model it serves."""

from __future__ import annotations

from typing import Any

import msgspec

from genixer.errors import BackendError, ConfigError, near

__all__ = ["served_model"]

_LASTING = ("id", "root", "parent", "owned_by", "max_model_len", "meta")
"""What stays the same over a restart; times and permissions do not."""


def served_model(content: bytes, model: str) -> dict[str, Any]:
    """What the list of models in `content` says of `model`, as far as it lasts.

    Empty where the server has no list. Raises `ConfigError` for a model that is not on it.

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
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError, LookupError) as error:
        raise BackendError(
            f"the server's list of models is none ({type(error).__name__}); does base_url lead to "
            "an OpenAI-compatible API? it usually ends in /v1"
        ) from None
    if models and model not in models:
        raise ConfigError(f"the server has no model {model!r}; {near(model, models)}")
    return {key: models[model][key] for key in _LASTING if key in models.get(model, {})}
