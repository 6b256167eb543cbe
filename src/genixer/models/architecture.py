"""The one architecture of all backbones, as transformers' own config, and Shikra as a case of it.

Shikra's projector is one linear layer where LLaVA's is linear, activation, linear. With the
identity for an activation and for the second layer the stock class computes the same numbers: each
product with a zero is zero and each sum with one is exact, in any number format.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PretrainedConfig,
)

from genixer.models.base import Preset
from genixer.models.tower import ConvTowerConfig

__all__ = ["ACTIVATIONS", "fix_identity", "llava_config", "read_at"]

ACTIVATIONS = {"mlp2x_gelu": "gelu", "linear": "linear"}
"""Activation of the stock projector for each of ours."""


def read_at(preset: Preset) -> tuple[int, str]:
    """Layer of the tower that is read, and whether its class token is dropped (`default`)."""
    return (-2, "default") if preset.tower == "clip" else (-1, "full")


def llava_config(
    preset: Preset,
    text: Mapping[str, Any],
    vision: Mapping[str, Any],
    vocabulary: Mapping[str, int],
) -> LlavaConfig:
    """Config of a model of `preset`; `text` and `vision` in the words of their own configs.

    `vocabulary` gives the ids of the control tokens.
    """
    tokens = preset.tokens
    decoder = LlamaConfig(
        bos_token_id=vocabulary[tokens.begin],
        eos_token_id=vocabulary[tokens.end],
        pad_token_id=vocabulary[tokens.pad],
        **_text_settings(text),
    )
    tower: PretrainedConfig = (
        CLIPVisionConfig(**vision) if preset.tower == "clip" else ConvTowerConfig(**vision)
    )
    layer, strategy = read_at(preset)
    settings: dict[str, Any] = {
        "text_config": decoder,
        "vision_config": tower,
        "initializer_range": decoder.initializer_range,
        "tie_word_embeddings": decoder.tie_word_embeddings,
        "image_token_id": vocabulary[tokens.image],
        "image_seq_length": preset.image_tokens,
        "vision_feature_layer": layer,
        "vision_feature_select_strategy": strategy,
        "projector_hidden_act": ACTIVATIONS[preset.projector],
    }
    return LlavaConfig(**settings)


def _text_settings(text: Mapping[str, Any]) -> dict[str, Any]:
    """The decoder's shape, in the words of `LlamaConfig`."""
    settings = dict(text)
    theta = settings.pop("rope_theta", 10000.0)
    rope = {"rope_type": "default", "rope_theta": theta}
    return {"rope_parameters": rope, **settings}


def fix_identity(model: LlavaForConditionalGeneration, preset: Preset) -> None:
    """Make the second projector layer of a `linear` preset the identity, for good."""
    if preset.projector != "linear":
        return
    layer = model.model.multi_modal_projector.linear_2
    with torch.no_grad():
        layer.weight.copy_(torch.eye(layer.weight.shape[0]))
        if layer.bias is not None:
            layer.bias.zero_()
    layer.requires_grad_(False)
