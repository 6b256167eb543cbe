from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM

from genixer.models.architecture import llava_config
from genixer.models.base import load_preset
from genixer.models.sizes import sizes_of
from genixer.training.costs import Plan, learned_weights, memory_of, steps_of

SEVEN = Plan(
    load_preset("llava_1_5_7b"), precision="bf16", processes=8, gradient_checkpointing=True
)
GIB = 2**30


def test_what_moves_is_what_the_part_has() -> None:
    sizes = sizes_of(SEVEN.preset)
    assert learned_weights(SEVEN) == sizes.total - sizes.tower
    assert learned_weights(replace(SEVEN, tower_learns=True)) == sizes.total
    assert learned_weights(replace(SEVEN, trainable="projector")) == sizes.projector
    shikra = Plan(load_preset("shikra_7b"), "projector")
    assert learned_weights(shikra) == (1024 + 1) * 4096
    # The adapters of rank 128 of all linear layers of a Llama of 7B.
    lora = replace(SEVEN, trainable="lora", lora_also=())
    assert learned_weights(lora) == 319_815_680


def test_sharding_divides_what_it_says() -> None:
    found = {
        way: memory_of(replace(SEVEN, parallel=way))  # type: ignore[arg-type]
        for way in ("ddp", "zero2", "zero3", "fsdp")
    }
    learned = learned_weights(SEVEN)
    assert found["ddp"]["optimiser"] == 8 * learned
    assert found["zero2"]["optimiser"] == found["zero3"]["optimiser"] == learned
    assert found["zero2"]["weights"] == found["ddp"]["weights"] == 4 * sizes_of(SEVEN.preset).total
    assert found["zero3"] == found["fsdp"]
    assert found["zero3"]["weights"] < 0.2 * found["ddp"]["weights"]
    alone = replace(SEVEN, processes=1)
    assert memory_of(replace(alone, parallel="zero3")) == memory_of(alone)


def test_a_seven_billion_model_fits_eight_large_devices_as_published_and_not_one() -> None:
    """Genixer_L: 8 rows a device, rows of 2048, ZeRO-3, 80 GB."""
    assert sum(memory_of(replace(SEVEN, parallel="zero3", rows=8)).values()) < 80e9
    assert sum(memory_of(replace(SEVEN, parallel="ddp", rows=8)).values()) > 80e9


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("rows", [1, 4])
def test_activations_are_near_those_that_torch_keeps(precision: Any, rows: int) -> None:
    preset = load_preset("tiny_llava")
    text = {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4}
    text = {**preset.text, **text, "vocab_size": preset.vocabulary}
    preset = preset.model_copy(update={"text": text, "image_tokens": 0})
    ids = {name: number for number, name in enumerate(preset.tokens.names())}
    config = llava_config(preset, text, preset.vision, ids).text_config
    config._attn_implementation = "sdpa"
    model = LlamaForCausalLM(config)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    tokens = torch.randint(0, preset.vocabulary, (rows, 256))
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    half = precision == "bf16"
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=half, cache_enabled=False):
        model(input_ids=tokens, labels=tokens)
    measured = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    plan = Plan(preset, precision=precision, rows=rows, tokens=256)
    assert memory_of(plan)["activations"] == pytest.approx(measured, rel=0.35)


def test_checkpointing_keeps_less() -> None:
    without = replace(SEVEN, gradient_checkpointing=False)
    assert memory_of(SEVEN)["activations"] < 0.5 * memory_of(without)["activations"]


def test_steps_follow_rows_and_epochs() -> None:
    assert steps_of(1000, 1, 128) == 8
    assert steps_of(1000, 5, 128) == 40
    assert steps_of(1000, 1, 10, tokens_per_row=95, packed_to=1000) == 10
