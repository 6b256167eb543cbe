"""Names of weights as models were published with, which other programs look for.

transformers 5 writes a CLIP tower without a level that its earlier versions, and the LLaVA models
on the hub, have; it reads both. vLLM 0.32 reads the published names alone.
"""

from __future__ import annotations

import json
from pathlib import Path

from genixer.models.base import INDEX

__all__ = ["publish_names"]

_FLAT, _PUBLISHED = "vision_tower.", "vision_tower.vision_model."
_TOWER = ("embeddings.", "encoder.", "pre_layrnorm.", "post_layernorm.")


def publish_names(folder: Path) -> None:
    """Give the tower's weights in `folder`, a LLaVA with a CLIP tower, their published names.

    One shard is in memory at a time; whatever has its published name stays as it is.
    """
    from safetensors.torch import load_file, save_file

    for path in sorted(folder.glob("*.safetensors")):
        weights = load_file(path)
        named = {_published(name): value for name, value in weights.items()}
        if named.keys() != weights.keys():
            save_file(named, path, {"format": "pt"})
    index = folder / INDEX
    if index.is_file():
        listed = json.loads(index.read_text(encoding="utf-8"))
        places = {_published(name): file for name, file in listed["weight_map"].items()}
        listed["weight_map"] = places
        index.write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


def _published(name: str) -> str:
    """The published name of a weight.

    >>> _published("vision_tower.encoder.layers.0.mlp.fc1.bias")
    'vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias'
    >>> _published("language_model.lm_head.weight")
    'language_model.lm_head.weight'
    """
    before, found, rest = name.partition(_FLAT)
    if found and rest.startswith(_TOWER):
        return f"{before}{_PUBLISHED}{rest}"
    return name
