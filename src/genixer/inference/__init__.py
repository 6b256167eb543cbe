"""The backends a config can name. One line here makes a new one known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from genixer.errors import ConfigError
from genixer.inference.base import Backend, BackendSettings, Capabilities
from genixer.registry import Entry, Registry

__all__ = [
    "BACKENDS",
    "capabilities",
    "check_backend",
    "load_backend",
    "named_files",
    "settings_of_rows",
]

_HERE = "genixer.inference"

_CAN = {
    "openai": Capabilities(logprobs="offered", guided_json=True, streams=True, long_options=False),
    "scripted": Capabilities(seeds=True, reproducible=True),
    "transformers": Capabilities(seeds=True, reproducible=True, shares_images=True),
    "vlm": Capabilities(seeds=True, reproducible=True, shares_images=True),
    "vllm": Capabilities(seeds=True, guided_json=True, streams=True, shares_images=True),
}
"""What each of ours can do. `tests/contracts/test_backends.py` holds them to it."""


def _entry(name: str, target: str, about: str, settings: str = "") -> Entry:
    light = f"{_HERE}.{settings}" if settings else ""
    return Entry(f"{_HERE}.{target}", about, capability=_CAN[name].words, settings=light)


BACKENDS = Registry(
    "backend",
    {
        "openai": _entry(
            "openai",
            "openai:OpenAiBackend",
            "any server that speaks the OpenAI API: vLLM, SGLang, llama.cpp, a cloud",
            "openai_settings:OpenAiSettings",
        ),
        "scripted": _entry(
            "scripted",
            "scripted:ScriptedBackend",
            "stand-in without a model: plausible text in milliseconds, some of it malformed",
            "scripted:ScriptedSettings",
        ),
        "transformers": _entry(
            "transformers",
            "transformers:TransformersBackend",
            "the model in this process, batched, through the transformers library",
        ),
        "vlm": _entry(
            "vlm",
            "vlm:VlmBackend",
            "any image-text model of transformers from a folder: Qwen-VL, SmolVLM, PaliGemma ..",
        ),
        "vllm": _entry(
            "vllm",
            "vllm:VllmBackend",
            "any image-text model that vLLM runs, in its engine in this process",
            "vllm_settings:VllmSettings",
        ),
    },
)


def capabilities(name: str) -> Capabilities:
    """What the backend called `name` can do; of ours nothing is imported for it.

    Another package's backend says it in its class variable `can`; one that says nothing can what
    every backend must. Raises `UnknownNameError` for a name nobody registered.

    >>> capabilities("scripted").reproducible
    True
    """
    if name in _CAN:
        return _CAN[name]
    found: Capabilities = getattr(BACKENDS.load(name), "can", Capabilities())
    return found


def check_backend(name: str, settings: Mapping[str, Any], *wanted: str) -> None:
    """Raise `ConfigError` where its own `settings` keep backend `name` from what is `wanted`.

    Looks at settings only where they can be had without the backend's libraries.

    >>> check_backend("scripted", {}, "choose")
    >>> check_backend("openai", {"dialect": "transformers"}, "choose")
    Traceback (most recent call last):
    ...
    genixer.errors.ConfigError: backend openai with these settings cannot do: choose
    """
    if name not in BACKENDS or not BACKENDS[name].settings:
        return
    lacking = BACKENDS.light_settings(name, settings).lacking
    if missing := [one for one in wanted if one in lacking]:
        raise ConfigError(f"backend {name} with these settings cannot do: {', '.join(missing)}")


def settings_of_rows(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` of backend `name` without those marked `NOT_OF_ROWS`: what a fingerprint holds.

    Nothing is left out of those of an unknown backend, or of one of ours whose settings cannot be
    had without its libraries: these have no marks.

    >>> settings_of_rows("openai", {"base_url": "http://10.0.0.7:8000/v1", "hint": "json"})
    {'hint': 'json'}
    """
    marked = frozenset[str]()
    if name in BACKENDS and (BACKENDS[name].settings or name not in _CAN):
        kind = BACKENDS.settings_class(name)
        if isinstance(kind, type) and issubclass(kind, BackendSettings):
            marked = kind.not_of_rows()
    return {key: value for key, value in settings.items() if key not in marked}


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


def named_files(settings: Mapping[str, Any]) -> list[Path]:
    """Files that a backend's settings name, such as a preset: a step depends on what they hold.

    >>> named_files({"preset": "qwen2_vl", "batch": 8})
    []
    """
    texts = (value for value in settings.values() if isinstance(value, str))
    return [Path(text) for text in texts if Path(text).is_file()]
