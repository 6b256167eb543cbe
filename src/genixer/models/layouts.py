"""Where the tensors of other layouts go: one table for all spellings of a name.

Ours are the names that transformers' LLaVA has on disk since it exists:
`language_model.model.layers.0...`, `vision_tower.vision_model...`, `multi_modal_projector...`.
"""

from __future__ import annotations

import re

__all__ = ["destination", "is_computed", "vision_destination"]

_DECODER = r"(embed_tokens|layers|norm)\."
_TOWER = r"(?:vision_model\.)?(embeddings|pre_layrnorm|encoder|post_layernorm)\."
_RULES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^(?:language_model\.)?lm_head\.", r"language_model.lm_head."),
        (
            rf"^(?:language_model\.model|model\.language_model|model)\.{_DECODER}",
            r"language_model.model.\1.",
        ),
        (r"^(?:model\.)?mm_projector\.0\.", r"multi_modal_projector.linear_1."),
        (r"^(?:model\.)?mm_projector\.2\.", r"multi_modal_projector.linear_2."),
        (
            r"^(?:model\.)?mm_projector\.(?=(?:weight|bias)$)",
            r"multi_modal_projector.linear_1.",
        ),
        (r"^(?:model\.)?multi_modal_projector\.", r"multi_modal_projector."),
        (
            rf"^(?:model\.)?vision_tower\.(?:vision_tower\.)?{_TOWER}",
            r"vision_tower.vision_model.\1.",
        ),
        # A tower of our own.
        (r"^(?:model\.)?vision_tower\.(body|position|place|mix)\b", r"vision_tower.\1"),
    )
]
_COMPUTED = re.compile(r"(?:rotary_emb\.inv_freq|embeddings\.position_ids)$")
_OF_ADAPTERS = re.compile(r"^base_model\.model\.")
_SAVED_WHOLE = re.compile(r"\.(?:modules_to_save)(?:\.default)?(?=\.)")


def destination(name: str) -> str | None:
    """Our name for the tensor called `name` elsewhere; None for one that no layout has.

    >>> destination("model.mm_projector.0.weight")
    'multi_modal_projector.linear_1.weight'
    >>> destination("model.layers.3.mlp.up_proj.weight")
    'language_model.model.layers.3.mlp.up_proj.weight'
    >>> destination("model.vision_tower.vision_tower.vision_model.pre_layrnorm.bias")
    'vision_tower.vision_model.pre_layrnorm.bias'
    >>> destination("model.head.weight")
    """
    name = _SAVED_WHOLE.sub("", _OF_ADAPTERS.sub("", name))
    for pattern, replacement in _RULES:
        if pattern.match(name):
            return pattern.sub(replacement, name, count=1)
    return None


def is_computed(name: str) -> bool:
    """Whether the tensor holds what every model computes for itself: angles, counted places.

    >>> is_computed("model.layers.0.self_attn.rotary_emb.inv_freq")
    True
    """
    return bool(_COMPUTED.search(name))


def vision_destination(name: str) -> str | None:
    """Our name for a tensor of a CLIP checkpoint; None for one that is not of its vision tower.

    >>> vision_destination("vision_model.encoder.layers.0.mlp.fc1.bias")
    'vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias'
    >>> vision_destination("text_model.encoder.layers.0.mlp.fc1.bias")
    """
    return destination(f"vision_tower.{name}")
