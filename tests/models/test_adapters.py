"""Adapters are added to the weights that they were trained on."""

import json
import warnings

import pytest
import torch
from safetensors.torch import save_file

from genixer.data import Message
from genixer.errors import ConfigError
from genixer.models.convert import convert_weights
from genixer.models.llava import load

ASKED = [Message("user", "Where is the dog?")]


def test_adapters_of_the_original_layout_join_their_base(
    llava, pixels, tmp_path, assert_same
) -> None:
    generator = torch.Generator().manual_seed(5)
    lora = tmp_path / "lora"
    lora.mkdir()
    target = "model.layers.1.self_attn.q_proj"
    a, b = (0.1 * torch.randn(shape, generator=generator) for shape in ((2, 64), (64, 2)))
    factors = {"lora_A": a, "lora_B": b}
    tensors = {f"base_model.model.{target}.{k}.weight": v for k, v in factors.items()}
    head = "base_model.model.lm_head.modules_to_save.default.weight"
    tensors[head] = llava.language.lm_head.weight.detach() + 0.125
    torch.save(tensors, lora / "adapter_model.bin")
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["q_proj"]}
    (lora / "adapter_config.json").write_text(json.dumps(settings))
    other = {f"base_model.model.{k}": v + 0.25 for k, v in llava.named_projector().items()}
    torch.save(other, lora / "non_lora_trainables.bin")
    convert_weights(
        lora, tmp_path / "out", preset="tiny_llava", vision=llava.clip, base=llava.folder
    )
    with torch.no_grad():
        llava.language.get_submodule(target).weight += 3 * b @ a
        llava.language.lm_head.weight += 0.125
        for parameter in llava.projector.parameters():
            parameter += 0.25
    assert_same(llava, tmp_path / "out", pixels)


@pytest.mark.parametrize("rslora", [False, True])
def test_adapters_of_our_trainer_merge_to_what_they_computed(
    llava, pixels, tmp_path, rslora, plain
) -> None:
    from peft import LoraConfig, get_peft_model

    convert_weights(llava.folder, tmp_path / "base", preset="tiny_llava", vision=llava.clip)
    ours = load(str(tmp_path / "base"))
    ids = ours.prompt_ids(ASKED)
    settings = LoraConfig(
        r=4,
        lora_alpha=10,
        use_rslora=rslora,
        target_modules=r".*language_model.*\.(q_proj|down_proj)",
        modules_to_save=["multi_modal_projector", "embed_tokens", "lm_head"],
        alpha_pattern={r"layers\.1\.mlp\.down_proj": 3},
    )
    with warnings.catch_warnings():
        # The library asks transformers for a property under its older name.
        warnings.simplefilter("ignore", FutureWarning)
        adapted = get_peft_model(ours.model, settings).eval()
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        expected = adapted(input_ids=torch.tensor([ids]), pixel_values=pixels).logits[0]
    adapted.save_pretrained(tmp_path / "adapters")
    convert_weights(
        tmp_path / "adapters", tmp_path / "out", preset="tiny_llava", base=tmp_path / "base"
    )
    found = plain(tmp_path / "out", ids, pixels)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert float((found - plain(tmp_path / "base", ids, pixels)).abs().max()) > 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"peft_type": "IA3"}, "IA3"),
    ],
)
def test_adapters_that_are_no_sums_are_refused(llava, tmp_path, change, message) -> None:
    lora = tmp_path / "lora"
    lora.mkdir()
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, **change}
    (lora / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match="holds adapters: name the folder"):
        convert_weights(lora, tmp_path / "out", preset="tiny_llava")
    with pytest.raises(ConfigError, match=f"{message}.* cannot be merged"):
        convert_weights(lora, tmp_path / "out", preset="tiny_llava", base=llava.folder)


def test_adapters_of_weights_the_base_lacks_are_refused(llava, tmp_path) -> None:
    lora = tmp_path / "lora"
    lora.mkdir()
    factors = {"A": torch.ones(2, 64), "B": torch.ones(64, 2)}
    name = "base_model.model.model.layers.7.self_attn.q_proj.lora_{}.weight"
    save_file({name.format(k): v for k, v in factors.items()}, lora / "adapter_model.safetensors")
    (lora / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 6}')
    with pytest.raises(ConfigError, match=r"no place:\n  adapter of .*layers\.7"):
        convert_weights(
            lora, tmp_path / "out", preset="tiny_llava", vision=llava.clip, base=llava.folder
        )
