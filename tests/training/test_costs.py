import pytest
import torch
from transformers import LlavaForConditionalGeneration

from genixer.models.architecture import llava_config
from genixer.models.base import load_preset
from genixer.models.llava import load
from genixer.training.costs import Setup, hours, memory, shape_of

PRESETS = [
    "tiny",
    "tiny_llava",
    "tiny_shikra",
    "llava_1_5_7b",
    "shikra_7b",
    "genixer_l",
    "genixer_s",
]
GIB = 1 << 30


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_those_of_the_real_model(name):
    preset = load_preset(name)
    words = {token: number for number, token in enumerate(preset.tokens.names())}
    text = {**preset.text, "vocab_size": preset.vocabulary}
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(llava_config(preset, text, preset.vision, words))
    found = shape_of(preset).parameters
    assert found.total == model.num_parameters()
    tower = model.model.vision_tower
    assert found.tower == sum(p.numel() for p in tower.parameters())
    projector = sum(p.numel() for p in model.model.multi_modal_projector.parameters())
    assert found.projector + found.fixed == projector


def test_a_full_training_takes_sixteen_bytes_a_parameter_that_learns():
    preset = load_preset("llava_1_5_7b")
    found = shape_of(preset).parameters
    moving = found.total - found.tower
    one = memory(shape_of(preset), Setup(precision="bf16"))
    assert one.weights + one.gradients + one.optimiser == moving * 16 + found.tower * 4


def test_sharding_divides_what_it_says():
    preset = load_preset("llava_1_5_7b")
    one, two, three = (
        memory(shape_of(preset), Setup(precision="bf16", parallel=parallel, world=8))
        for parallel in ("ddp", "zero2", "zero3")
    )
    assert two.weights > 3 * three.weights
    assert two.optimiser == three.optimiser < one.optimiser
    assert three.total < 80 * GIB < one.total


# peft asks transformers by an older name.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_adapters_are_counted_as_the_library_makes_them():
    from peft import LoraConfig, get_peft_model

    preset = load_preset("tiny_llava")
    words = {token: number for number, token in enumerate(preset.tokens.names())}
    text = {**preset.text, "vocab_size": preset.vocabulary}
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(llava_config(preset, text, preset.vision, words))
        targets = r".*language_model\..*_proj"
        adapted = get_peft_model(model, LoraConfig(r=4, target_modules=targets))
    learned = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    found = memory(shape_of(preset), Setup(trainable="lora", lora_rank=4))
    assert found.gradients == learned * 4


def test_computing_layers_again_keeps_little_between_them():
    preset = load_preset("llava_1_5_7b")
    plain, again = (
        memory(shape_of(preset), Setup(precision="bf16", rows=8, checkpointing=checkpointing))
        for checkpointing in (False, True)
    )
    assert again.activations < plain.activations / 5


def test_projector_alone_needs_little_beside_the_weights():
    found = memory(
        shape_of(load_preset("llava_1_5_7b")), Setup(trainable="projector", precision="bf16")
    )
    assert found.gradients + found.optimiser < 0.3 * GIB
    assert 26 * GIB < found.weights < 27 * GIB
    assert "GiB (weights 26." in str(found)


def test_hours_are_shared_by_the_devices():
    assert hours(10**9, 2500, 8) == pytest.approx(13.9, abs=0.1)


def test_frozen_weights_take_what_they_are_loaded_in():
    loaded = load("start")
    held = sum(p.numel() * p.element_size() for p in loaded.model.parameters())
    shape = shape_of(loaded.preset, len(loaded.tokenizer))
    assert memory(shape, Setup(trainable="projector", precision="bf16")).weights == held


def test_what_is_stored_in_sixteen_bits_learns_in_sixteen_bits():
    shape = shape_of(load_preset("tiny"))
    whole, half = memory(shape, Setup()), memory(shape, Setup(stored=2))
    for part in ("weights", "gradients", "optimiser"):
        assert getattr(whole, part) == 2 * getattr(half, part)


def test_cut_weights_are_gathered_where_they_lie_outside_of_layers():
    shape = shape_of(load_preset("llava_1_5_7b"))
    found, setup = shape.parameters, Setup(precision="bf16", parallel="zero3", world=8)
    outside = found.total - found.decoder
    layers = 2 * found.decoder // shape.decoder.layers
    assert memory(shape, setup).weights == found.total * 4 // 8 + (outside + layers) * 2
