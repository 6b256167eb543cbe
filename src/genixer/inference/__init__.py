"""The backends a config can name. One line here makes a new one known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from genixer.errors import ConfigError
from genixer.inference.base import Backend
from genixer.registry import Entry, Registry

__all__ = ["BACKENDS", "check_backend", "load_backend", "named_files"]

_HERE = "genixer.inference"

BACKENDS = Registry(
    "backend",
    {
        "openai": Entry(
            f"{_HERE}.openai:OpenAiBackend",
            "any server that speaks the OpenAI API: vLLM, SGLang, llama.cpp, a cloud",
            capability="generate, choose, logprobs, stream",
            settings=f"{_HERE}.openai_settings:OpenAiSettings",
        ),
        "scripted": Entry(
            f"{_HERE}.scripted:ScriptedBackend",
            "stand-in without a model: plausible text in milliseconds, some of it malformed",
            capability="generate, choose, logprobs, reproducible",
        ),
        "transformers": Entry(
            f"{_HERE}.transformers:TransformersBackend",
            "the model in this process, batched, through the transformers library",
            capability="generate, choose, logprobs, reproducible",
        ),
        "vlm": Entry(
            f"{_HERE}.vlm:VlmBackend",
            "any image-text model of transformers from a folder: Qwen-VL, SmolVLM, PaliGemma ..",
            capability="generate, choose, logprobs, reproducible",
        ),
    },
)


def load_backend(
    name: str, model: str, *, threads: int = 1, settings: Mapping[str, Any] | None = None
) -> Backend:
    """Backend called `name` with `model` (a shipped name or a folder) loaded.

    `settings` are the backend's own. Raises `UnknownNameError` for a name nobody registered,
    `ConfigError` for a setting the backend does not take.

    >>> load_backend("scripted", "any", settings={"malformed": 0.0}).reproducible
    True
    """
    checked = BACKENDS.settings(name, settings or {})
    return cast("Backend", BACKENDS.load(name)(model, threads, checked))


def check_backend(name: str, settings: Mapping[str, Any], *wanted: str) -> None:
    """Raise `ConfigError` where backend `name` with `settings` cannot do all that is `wanted`.

    Looks at settings only where they can be had without the backend's libraries.

    >>> check_backend("scripted", {}, "choose")
    >>> check_backend("openai", {"dialect": "transformers"}, "choose")
    Traceback (most recent call last):
    ...
    genixer.errors.ConfigError: backend openai with these settings cannot do: choose
    """
    entry = BACKENDS[name]
    if not entry.settings:
        return
    lacking = BACKENDS.light_settings(name, settings).lacking
    if missing := [one for one in wanted if one in lacking]:
        raise ConfigError(f"backend {name} with these settings cannot do: {', '.join(missing)}")


def named_files(settings: Mapping[str, Any]) -> list[Path]:
    """Files that a backend's settings name, such as a preset: a step depends on what they hold.

    >>> named_files({"preset": "qwen2_vl", "batch": 8})
    []
    """
    texts = (value for value in settings.values() if isinstance(value, str))
    return [Path(text) for text in texts if Path(text).is_file()]
