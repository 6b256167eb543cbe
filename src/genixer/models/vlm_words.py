"""An image-text model without its weights: what an engine that loads them itself is fed with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, GenerationConfig

from genixer.errors import ConfigError
from genixer.models.vlm import LoadedVlm
from genixer.models.vlm_parts import load_processor, weights_digest
from genixer.models.vlm_preset import preset_for

__all__ = ["load_words"]


def load_words(name: str, preset: str = "", most_px: int | None = None) -> LoadedVlm:
    """Model in folder `name` whose weights take no memory; it reads and spells, it cannot compute.

    Takes and raises what `load_vlm` does.
    """
    folder = Path(name)
    if not (folder / "config.json").is_file():
        raise ConfigError(f"no model at {name!r}: there is no config.json")
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        # The folder is on disk and nothing else is looked at: there is no revision to pin.
        config = AutoConfig.from_pretrained(folder, **options)  # nosec B615
        with torch.device("meta"):
            model: Any = AutoModelForImageTextToText.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(f"{folder} holds no image-text model of transformers: {error}") from error
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(  # nosec B615
            folder, local_files_only=True
        )
    chosen = preset_for(folder, preset, config.model_type)
    processor = load_processor(folder, config.model_type)
    chosen = chosen.fitted(processor.image_processor, most_px)
    return LoadedVlm(model.eval(), processor, chosen, folder, weights_digest(folder))
