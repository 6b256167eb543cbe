"""Files beside a model's weights that say how it is fed: to this project, and to transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from genixer.models.base import PRESET_FILE, Preset

__all__ = ["write_preset"]


def write_preset(preset: Preset, folder: Path) -> None:
    """Write the preset to `folder`, and transformers' own processor files where they can say it.

    Its processor pads an image with the mean colour and no other, and cuts images to a CLIP tower's
    cells: so there is one for LLaVA-1.5's kind, and none for Shikra's, which pads with white.
    """
    text = preset.model_dump_json(indent=1) + "\n"
    (folder / PRESET_FILE).write_text(text, encoding="utf-8")
    mean_colour = tuple(int(channel * 255) for channel in preset.mean)
    if preset.tower == "clip" and preset.pad_colour == mean_colour:
        _write(folder / "preprocessor_config.json", _pixels(preset))
        _write(folder / "processor_config.json", _places(preset))


def _pixels(preset: Preset) -> dict[str, Any]:
    side = preset.image_side_px
    steps = ("pad", "resize", "center_crop", "rescale", "normalize", "convert_rgb")
    return {
        "image_processor_type": "LlavaImageProcessor",
        "processor_class": "LlavaProcessor",
        **{f"do_{step}": True for step in steps},
        "size": {"shortest_edge": side},
        "crop_size": {"height": side, "width": side},
        "resample": {"bilinear": 2, "bicubic": 3}[preset.resize],
        "rescale_factor": 1 / 255,
        "image_mean": list(preset.mean),
        "image_std": list(preset.std),
    }


def _places(preset: Preset) -> dict[str, Any]:
    return {
        "processor_class": "LlavaProcessor",
        "image_token": preset.tokens.image,
        "patch_size": preset.vision["patch_size"],
        "vision_feature_select_strategy": "default",
        # The class token, which the tower makes and the strategy drops.
        "num_additional_image_tokens": 1,
    }


def _write(path: Path, settings: dict[str, Any]) -> None:
    path.write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n", encoding="utf-8")
