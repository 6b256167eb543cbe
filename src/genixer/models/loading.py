"""Weights of any size from a folder, sharded or not, in the number format and place of choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import xxhash
from pydantic import ValidationError
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from genixer.errors import ConfigError
from genixer.models.architecture import ACTIVATIONS, read_at
from genixer.models.base import (
    INDEX,
    PRESET_FILE,
    WEIGHTS,
    Device,
    Dtype,
    Preset,
    load_preset,
    shipped_presets,
    weights_folder,
)
from genixer.models.device import there
from genixer.models.json_files import listed_files, read_object
from genixer.models.tokenizer import read_tokenizer
from genixer.store.disk import digest_file

__all__ = ["load_weights", "preset_of", "quiet"]


def quiet() -> None:
    """Turn off the progress bars of transformers: progress is the executor's to show."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def load_weights(
    name: str, preset: str, dtype: Dtype, device: Device
) -> tuple[LlavaForConditionalGeneration, PreTrainedTokenizerFast, Preset, str]:
    """Model in eval mode, tokenizer, preset and digest of the weights of the model `name`."""
    quiet()
    folder = weights_folder(name)
    found, files = preset_of(folder, preset), _weight_files(folder)
    # The folder is on disk and nothing else is looked at: there is no revision to pin.
    model = LlavaForConditionalGeneration.from_pretrained(  # nosec B615
        folder,
        local_files_only=True,
        use_safetensors=True,
        dtype="auto" if dtype == "auto" else getattr(torch, dtype),
    ).eval()
    model = model.to(there(device))
    return model, read_tokenizer(folder, found), found, _revision(files)


def preset_of(folder: Path, name: str = "") -> Preset:
    """Preset `name`; without one that of the model in `folder`, kept there or told by its config.

    Raises `ConfigError` where several shipped presets, or none, have the config's shape.
    """
    if name:
        return load_preset(name)
    kept = folder / PRESET_FILE
    if kept.is_file():
        try:
            return Preset.model_validate_json(kept.read_bytes())
        except ValidationError as error:
            raise ConfigError(f"{kept}: {error}; name a preset to go without it") from error
    config = read_object(folder / "config.json")
    fitting = [one for one in map(load_preset, shipped_presets()) if _fits(one, config)]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(one.name for one in fitting) or "none"
    raise ConfigError(
        f"{folder} has no {PRESET_FILE}, and shipped presets with the shape of its config.json: "
        f"{names}; name one with `preset`"
    )


def _fits(preset: Preset, config: dict[str, Any]) -> bool:
    """Whether `config`, a parsed config.json, has all shapes of `preset`."""
    layer, strategy = read_at(preset)
    wanted = {
        "projector_hidden_act": ACTIVATIONS[preset.projector],
        "vision_feature_layer": layer,
        "vision_feature_select_strategy": strategy,
    }
    parts = [
        (wanted, config),
        (preset.vision, config.get("vision_config") or {}),
        (_plain(preset.text), config.get("text_config") or {}),
    ]
    # A key that the config leaves out has its default there, and defaults are those of LLaVA-1.5.
    return config.get("model_type") == "llava" and all(
        there.get(key, value) == value for part, there in parts for key, value in part.items()
    )


def _plain(text: dict[str, Any]) -> dict[str, Any]:
    """Settings that every version of the library writes under the same name."""
    return {key: value for key, value in text.items() if key != "rope_theta"}


def _weight_files(folder: Path) -> list[Path]:
    """The one file, or all shards; raises `ConfigError` where one is missing."""
    one = folder / WEIGHTS
    if one.is_file():
        return [one]
    return listed_files(folder / INDEX)


def _revision(files: list[Path]) -> str:
    """Digest of the weights (xxh3-128, hex), read in pieces.

    That of the one file, or of the names and digests of all shards.
    """
    if len(files) == 1:
        return digest_file(files[0])[0]
    whole = xxhash.xxh3_128()
    for path in files:
        whole.update(f"{path.name} {digest_file(path)[0]}\n".encode())
    return whole.hexdigest()
