from typing import Any

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from genixer.models.architecture import llava_config
from genixer.models.base import Preset, load_preset, shipped_presets
from genixer.models.sizes import sizes_of


def built(preset: Preset, vocabulary: int) -> LlavaForConditionalGeneration:
    """The real model, without memory for its weights."""
    text: dict[str, Any] = {**preset.text, "vocab_size": vocabulary}
    ids = {name: number for number, name in enumerate(preset.tokens.names())}
    with torch.device("meta"):
        return LlavaForConditionalGeneration(llava_config(preset, text, preset.vision, ids))


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", shipped_presets())
def test_sizes_are_those_of_the_real_model(name: str) -> None:
    preset = load_preset(name)
    for more in (0, 4):
        vocabulary = preset.vocabulary + more
        model, sizes = built(preset, vocabulary), sizes_of(preset, vocabulary)
        core = model.model
        words = core.language_model.embed_tokens
        assert sizes.total == count(model)
        assert sizes.tower == count(core.vision_tower)
        assert sizes.projector == count(core.multi_modal_projector)
        assert sizes.language == count(core.language_model) - count(words)
        linears = [m for m in core.language_model.modules() if isinstance(m, torch.nn.Linear)]
        assert sizes.linear_sides == sum(m.in_features + m.out_features for m in linears)


def test_grouped_queries_have_fewer_weights() -> None:
    preset = load_preset("tiny_llava")
    preset = preset.model_copy(update={"text": {**preset.text, "num_key_value_heads": 2}})
    assert sizes_of(preset).total == count(built(preset, preset.vocabulary))
