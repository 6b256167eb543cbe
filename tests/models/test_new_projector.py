"""A language model and a vision tower that never met, made the start of a training."""

import json
import math
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from genixer.config import load_config
from genixer.errors import ConfigError
from genixer.models.base import load_preset
from genixer.models.convert import convert_weights
from genixer.models.llava import load
from genixer.pipeline.run import run

PIECES = 420


@pytest.fixture(params=["tiny_llava", "tiny_shikra"])
def vicuna(request, original, tmp_path):
    """A language model alone, without tokens for images, and a CLIP folder beside it."""
    made = original(request.param)
    rows = made.language.state_dict()
    tensors = {k: v[:PIECES].clone() if v.shape[0] > PIECES else v for k, v in rows.items()}
    (made.folder / "added_tokens.json").unlink(missing_ok=True)
    settings = {**made.preset.text, "vocab_size": PIECES}
    (made.folder / "config.json").write_text(json.dumps(settings))
    torch.save(tensors, made.folder / "pytorch_model.bin")
    return made


def start(made, out: Path, seed: int = 0, **more):
    return convert_weights(
        made.folder, out, preset=made.preset.name, vision=made.clip, new_projector=seed, **more
    )


def tensors_of(folder: Path) -> dict[str, Tensor]:
    found = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return found


def test_all_but_the_projector_is_as_it_was_and_transformers_loads_it(vicuna, pixels, tmp_path):
    done = start(vicuna, tmp_path / "out")
    assert done.layout == "start"
    found, language = tensors_of(tmp_path / "out"), vicuna.language.state_dict()
    for name, tensor in language.items():
        kept = found[f"language_model.{name}"]
        assert torch.equal(kept[:PIECES], tensor[:PIECES])
        if kept.shape[0] > PIECES:
            mean = tensor[:PIECES].mean(0)
            assert all(torch.equal(row, mean) for row in kept[PIECES:])
    stock = LlavaForConditionalGeneration.from_pretrained(tmp_path / "out")
    ours = load(str(tmp_path / "out"))
    ids = [*ours.prefix(), 5, 6]
    with torch.no_grad():
        logits = [
            model(input_ids=torch.tensor([ids]), pixel_values=pixels).logits
            for model in (stock.eval(), ours.model.eval())
        ]
    assert torch.equal(*logits)
    assert logits[0].std() > 0


def test_a_new_projector_is_drawn_as_torch_draws_one(vicuna, tmp_path):
    start(vicuna, tmp_path / "out")
    found = tensors_of(tmp_path / "out")
    layers = ["linear_1"] if vicuna.preset.projector == "linear" else ["linear_1", "linear_2"]
    for layer in layers:
        weight = found[f"multi_modal_projector.{layer}.weight"]
        bound = 1 / math.sqrt(weight.shape[1])
        assert 0.95 * bound < weight.abs().max() <= bound
        assert abs(float(weight.std()) / (bound / math.sqrt(3)) - 1) < 0.1
        assert 0 < found[f"multi_modal_projector.{layer}.bias"].abs().max() <= bound
    if layers == ["linear_1"]:
        second = found["multi_modal_projector.linear_2.weight"]
        assert torch.equal(second, torch.eye(len(second)))


def test_the_seed_alone_decides_what_is_drawn(vicuna, tmp_path):
    start(vicuna, tmp_path / "one")
    start(vicuna, tmp_path / "two", shard_bytes=40_000)
    start(vicuna, tmp_path / "other", seed=1)
    one, two, other = (tensors_of(tmp_path / name) for name in ("one", "two", "other"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    name = "multi_modal_projector.linear_1.weight"
    assert not torch.equal(one[name], other[name])


def test_a_dry_run_lists_what_is_new(vicuna, tmp_path):
    done = start(vicuna, tmp_path / "out", dry_run=True)
    assert not (tmp_path / "out").exists()
    source = done.tensors["multi_modal_projector.linear_1.weight"]
    assert source == "new: even within 0.1768, seed 0"
    rows = 3 if vicuna.preset.name == "tiny_shikra" else 1
    embeddings = done.tensors["language_model.model.embed_tokens.weight"]
    assert embeddings.endswith(f" + {rows} rows of the mean")


def test_numbers_have_the_format_of_the_language_model(vicuna, tmp_path):
    path = vicuna.folder / "pytorch_model.bin"
    torch.save({k: v.half() for k, v in torch.load(path).items()}, path)
    start(vicuna, tmp_path / "out")
    found = tensors_of(tmp_path / "out")
    assert {t.dtype for name, t in found.items() if "vision" not in name} == {torch.float16}


def test_a_projector_that_is_there_is_not_drawn_anew(vicuna, tmp_path):
    torch.save(
        {**torch.load(vicuna.folder / "pytorch_model.bin"), **vicuna.named_projector()},
        vicuna.folder / "pytorch_model.bin",
    )
    with pytest.raises(ConfigError, match=r"has a projector: .*mm_projector"):
        start(vicuna, tmp_path / "out")


def test_a_language_model_alone_names_the_way_out(vicuna, tmp_path):
    with pytest.raises(ConfigError, match="say so with `new_projector`"):
        convert_weights(
            vicuna.folder, tmp_path / "out", preset=vicuna.preset.name, vision=vicuna.clip
        )


def test_only_a_whole_language_model_gets_one(vicuna, tmp_path):
    with pytest.raises(ConfigError, match="this is a delta"):
        start(vicuna, tmp_path / "out", delta_of=vicuna.folder)


@pytest.mark.slow
def test_shikras_stage_0_starts_from_it(original, tmp_path):
    made = original("tiny_shikra")
    torch.save(made.language.state_dict(), made.folder / "pytorch_model.bin")
    start(made, tmp_path / "start")
    recipe, smoke = load_config("shikra_stage0").raw(), load_config("smoke").raw()
    reads, steps = load_preset("tiny_shikra"), recipe["steps"]
    with_ = steps["student"]["with"] | {"model": str(tmp_path / "start"), "preset": "tiny_shikra"}
    with_ |= {"processes": 1, "parallel": "ddp", "precision": "fp32", "images_per_step": 2}
    frames = steps["lessons"]["with"] | {"frame": reads.frame, "decimals": reads.decimals}
    config = {
        "name": "start",
        "images": "@world",
        "workers": 1,
        "steps": {
            "world": smoke["steps"]["world"],
            "collect": smoke["steps"]["collect"],
            "lessons": steps["lessons"] | {"from": ["collect"], "with": frames},
            "student": steps["student"] | {"from": ["lessons"], "with": with_},
        },
    }
    (tmp_path / "start.yaml").write_text(yaml.safe_dump(config))
    run(tmp_path / "start.yaml", out=tmp_path / "run", limit=30, workers=0)
    files = tmp_path / "run-limit-30" / "student" / "files"
    log = [json.loads(line) for line in (files / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2, 3]
    assert all(math.isfinite(line["loss"]) for line in log)
    before, after = tensors_of(tmp_path / "start"), tensors_of(files / "model")
    learnt = "multi_modal_projector.linear_1.weight"
    assert not torch.equal(before[learnt].float(), after[learnt].float())
    frozen = "multi_modal_projector.linear_2.weight"
    assert torch.equal(before[frozen].float(), after[frozen].float())
