"""Converted weights compute what the original definitions do."""

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from genixer.errors import ConfigError
from genixer.models.base import weights_folder
from genixer.models.convert import convert_weights
from genixer.models.llava import load


def without_tower(folder: Path) -> dict[str, Tensor]:
    with safe_open(folder / "model.safetensors", "pt") as file:
        return {k: file.get_tensor(k) for k in file.keys() if "vision" not in k}  # noqa: SIM118


def test_original_llava_gives_the_same_logits(llava, pixels, tmp_path, assert_same) -> None:
    done = convert_weights(llava.folder, tmp_path / "out", preset="tiny_llava", vision=llava.clip)
    assert (done.layout, done.files) == ("full", ("model.safetensors",))
    assert sorted(one.rpartition(":")[2] for one in done.left_out) == [
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        "vision_model.embeddings.position_ids",
    ]
    assert_same(llava, tmp_path / "out", pixels)


def test_a_tower_inside_the_checkpoint_needs_no_other_folder(
    llava, pixels, tmp_path, assert_same
) -> None:
    inside = "model.vision_tower.vision_tower.vision_model."
    tower = {f"{inside}{k}": v for k, v in llava.tower.state_dict().items()}
    for path in llava.folder.glob("pytorch_model*"):
        path.unlink()
    tensors = {**llava.language.state_dict(), **llava.named_projector(), **tower}
    save_file({k: v.clone() for k, v in tensors.items()}, llava.folder / "model.safetensors")
    convert_weights(llava.folder, tmp_path / "out", preset="tiny_llava")
    assert_same(llava, tmp_path / "out", pixels)


def test_original_shikra_gives_the_same_logits(shikra, pixels, tmp_path, assert_same) -> None:
    convert_weights(shikra.folder, tmp_path / "out", preset="tiny_shikra", vision=shikra.clip)
    assert_same(shikra, tmp_path / "out", pixels)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_shikras_projector_is_bit_true_in_the_stock_class(shikra, tmp_path, dtype) -> None:
    convert_weights(shikra.folder, tmp_path / "out", preset="tiny_shikra", vision=shikra.clip)
    stock = LlavaForConditionalGeneration.from_pretrained(tmp_path / "out", dtype=dtype)
    hidden = torch.randn(50, 32, generator=torch.Generator().manual_seed(1)).to(dtype)
    with torch.no_grad():
        expected = shikra.projector.to(dtype)(hidden)
        assert torch.equal(stock.model.multi_modal_projector(hidden), expected)


def test_a_delta_is_added_to_its_base_and_new_rows_are_its_own(
    shikra, pixels, tmp_path, assert_same
) -> None:
    generator = torch.Generator().manual_seed(11)
    base, delta = tmp_path / "vicuna", tmp_path / "delta"
    for folder in (base, delta):
        folder.mkdir()
    whole = {**shikra.language.state_dict(), **shikra.named_projector()}
    below: dict[str, Tensor] = {}
    difference = {}
    for name, tensor in whole.items():
        difference[name] = tensor.clone()
        if "mm_projector" in name:
            continue
        rows = 420 if tensor.shape[0] == 423 else tensor.shape[0]
        below[name] = 0.1 * torch.randn(tensor[:rows].shape, generator=generator)
        difference[name][:rows] -= below[name]
    save_file(below, base / "model.safetensors")
    torch.save(difference, delta / "pytorch_model.bin")
    for name in ("config.json", "tokenizer.model", "added_tokens.json"):
        (delta / name).write_bytes((shikra.folder / name).read_bytes())
    done = convert_weights(
        delta, tmp_path / "out", preset="tiny_shikra", vision=shikra.clip, delta_of=base
    )
    assert done.layout == "delta"
    norm = done.tensors["language_model.model.norm.weight"]
    assert norm == "pytorch_model.bin:model.norm.weight + model.safetensors:model.norm.weight"
    assert_same(shikra, tmp_path / "out", pixels)


def test_a_bare_projector_joins_its_base(llava, pixels, tmp_path, assert_same) -> None:
    base, file = tmp_path / "vicuna", tmp_path / "mm_projector.bin"
    base.mkdir()
    language = {k: v.clone() for k, v in llava.language.state_dict().items()}
    save_file(language, base / "model.safetensors")
    for name in ("config.json", "tokenizer.model"):
        (base / name).write_bytes((llava.folder / name).read_bytes())
    torch.save(llava.named_projector(), file)
    done = convert_weights(
        file, tmp_path / "out", preset="tiny_llava", vision=llava.clip, base=base
    )
    assert done.layout == "projector"
    assert_same(llava, tmp_path / "out", pixels)


def test_shards_have_an_index_and_load_the_same(llava, pixels, tmp_path, assert_same) -> None:
    done = convert_weights(
        llava.folder, tmp_path / "out", preset="tiny_llava", vision=llava.clip, shard_bytes=150_000
    )
    assert len(done.files) > 2
    sizes = [(tmp_path / "out" / name).stat().st_size for name in done.files]
    assert max(sizes) < 160_000
    assert_same(llava, tmp_path / "out", pixels)


def test_a_revision_follows_any_shard(llava, tmp_path) -> None:
    options: dict[str, Any] = {"preset": "tiny_llava", "vision": llava.clip}
    convert_weights(llava.folder, tmp_path / "one", shard_bytes=150_000, **options)
    first = load(str(tmp_path / "one"))
    assert first.revision == load(str(tmp_path / "one")).revision
    with torch.no_grad():
        llava.language.lm_head.weight[0, 0] += 1
    tensors = {**llava.language.state_dict(), **llava.named_projector()}
    for path in llava.folder.glob("pytorch_model*"):
        path.unlink()
    torch.save(tensors, llava.folder / "pytorch_model.bin")
    convert_weights(llava.folder, tmp_path / "two", shard_bytes=150_000, **options)
    assert load(str(tmp_path / "two")).revision != first.revision


def test_number_formats_are_kept_or_changed(llava, tmp_path) -> None:
    options: dict[str, Any] = {"preset": "tiny_llava", "vision": llava.clip}
    convert_weights(llava.folder, tmp_path / "half", dtype="bfloat16", **options)
    assert {t.dtype for t in without_tower(tmp_path / "half").values()} == {torch.bfloat16}
    assert load(str(tmp_path / "half"), dtype="auto").model.dtype == torch.bfloat16
    assert load(str(tmp_path / "half")).model.dtype == torch.float32


def test_a_converted_folder_converts_to_itself(llava, pixels, tmp_path) -> None:
    convert_weights(llava.folder, tmp_path / "one", preset="tiny_llava", vision=llava.clip)
    convert_weights(tmp_path / "one", tmp_path / "two", preset="tiny_llava")
    files = [tmp_path / name / "model.safetensors" for name in ("one", "two")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_shipped_model_converts_to_the_same_numbers(tmp_path) -> None:
    shipped = weights_folder("start")
    convert_weights(shipped, tmp_path / "out", preset="tiny")
    before, after = load("start").model.state_dict(), load(str(tmp_path / "out")).model.state_dict()
    assert set(before) == set(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_dry_run_lists_every_place_and_writes_nothing(llava, tmp_path) -> None:
    before = sorted(tmp_path.iterdir())
    done = convert_weights(
        llava.folder, tmp_path / "out", preset="tiny_llava", vision=llava.clip, dry_run=True
    )
    assert sorted(tmp_path.iterdir()) == before
    assert done.files == ()
    source = done.tensors["multi_modal_projector.linear_2.bias"]
    assert source.endswith(":model.mm_projector.2.bias")
    head = done.tensors["language_model.lm_head.weight"]
    assert head.endswith(":lm_head.weight + 1 rows of zeros")


def test_the_folder_tells_its_licence_and_preset(llava, tmp_path) -> None:
    convert_weights(llava.folder, tmp_path / "out", preset="tiny_llava", vision=llava.clip)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "license_name: none, there are no weights" in card
    assert str(tmp_path) not in card
    assert load(str(tmp_path / "out")).preset.name == "tiny_llava"
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"generation_config.json", "tokenizer.json", "tokenizer.model"} <= names


def test_tensors_without_a_place_are_refused_by_name(llava, tmp_path) -> None:
    torch.save({"model.extra.weight": torch.ones(2)}, llava.folder / "pytorch_model-3-of-3.bin")
    index = llava.folder / "pytorch_model.bin.index.json"
    held = json.loads(index.read_text())
    held["weight_map"]["model.extra.weight"] = "pytorch_model-3-of-3.bin"
    index.write_text(json.dumps(held))
    with pytest.raises(ConfigError, match=r"1 tensors that have no place:\n.*model\.extra\.weight"):
        convert_weights(llava.folder, tmp_path / "out", preset="tiny_llava", vision=llava.clip)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "places without a tensor.*name the CLIP folder with `vision`"),
        ({"vision": "clip", "base": "clip"}, "needs no base"),
        ({"vision": "nowhere"}, "no such folder"),
        ({"vision": "clip", "preset": "tiny_shikra"}, "has a second layer"),
        ({"vision": "clip", "preset": "llava_1_5_7b"}, "reads images of 28 px.* 336"),
    ],
)
def test_a_conversion_that_cannot_be_right_is_refused(llava, tmp_path, options, message) -> None:
    paths = {k: tmp_path / v for k, v in options.items() if k != "preset"}
    preset = options.get("preset", "tiny_llava")
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        convert_weights(llava.folder, tmp_path / "out", preset=preset, **paths)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mm_vision_select_layer": -1}, "mm_vision_select_layer is -1.* -2"),
        ({"mm_projector_type": "linear"}, "mm_projector_type is 'linear'.* 'mlp2x_gelu'"),
        ({"mm_vision_select_feature": "cls_patch"}, "'cls_patch'.* 'patch'"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end is True"),
    ],
)
def test_weights_trained_for_another_architecture_are_refused(
    llava, tmp_path, change, message
) -> None:
    config = llava.folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    with pytest.raises(ConfigError, match=message):
        convert_weights(llava.folder, tmp_path / "out", preset="tiny_llava", vision=llava.clip)


def test_our_own_shikra_converts_again_and_not_as_a_llava(
    shikra, pixels, tmp_path, assert_same
) -> None:
    convert_weights(shikra.folder, tmp_path / "one", preset="tiny_shikra", vision=shikra.clip)
    convert_weights(tmp_path / "one", tmp_path / "two", preset="tiny_shikra")
    assert_same(shikra, tmp_path / "two", pixels)
    with pytest.raises(ConfigError, match=r"projector_hidden_act is 'linear'.* 'gelu'"):
        convert_weights(tmp_path / "one", tmp_path / "three", preset="tiny_llava")


@pytest.mark.parametrize("text", ["{", "[]", "{}", None])
@pytest.mark.parametrize("name", ["pytorch_model.bin.index.json", "config.json"])
def test_a_broken_file_beside_the_weights_is_named(llava, tmp_path, name, text) -> None:
    path = llava.folder / name
    if text is None:
        path.write_bytes(b"\xff\xfe")
    else:
        path.write_text(text)
    # An empty config is that of Llama 7B: its sizes do not fit.
    told = "the config says" if (name, text) == ("config.json", "{}") else str(path)
    with pytest.raises(ConfigError, match=re.escape(told)):
        convert_weights(llava.folder, tmp_path / "out", preset="tiny_llava", vision=llava.clip)


def test_an_existing_folder_is_left_alone(llava, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="there already"):
        convert_weights(llava.folder, tmp_path / "out", preset="tiny_llava", vision=llava.clip)


def test_a_checkpoint_that_runs_code_is_refused(llava, tmp_path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "trapped"),)

    torch.save({"model.norm.weight": Trap()}, llava.folder / "pytorch_model-1-of-2.bin")
    with pytest.raises(ConfigError, match="not a file of tensors alone"):
        convert_weights(llava.folder, tmp_path / "out", preset="tiny_llava", vision=llava.clip)
    (llava.folder / "pytorch_model-1-of-2.bin").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ConfigError, match="not a file of tensors alone"):
        convert_weights(llava.folder, tmp_path / "out", preset="tiny_llava", vision=llava.clip)
    assert not (tmp_path / "trapped").exists()


def test_a_conversion_that_fails_half_way_leaves_no_folder(llava, tmp_path) -> None:
    tensors = {**llava.language.state_dict(), **llava.named_projector()}
    tensors["model.norm.weight"] = tensors["model.norm.weight"].to(torch.complex64)
    for path in llava.folder.glob("pytorch_model*"):
        path.unlink()
    torch.save(tensors, llava.folder / "pytorch_model.bin")
    options: dict[str, Any] = {"preset": "tiny_llava", "vision": llava.clip}
    with pytest.raises(ConfigError, match="complex64 cannot be written"):
        convert_weights(llava.folder, tmp_path / "out", shard_bytes=90_000, **options)
    assert list((tmp_path / ".out.tmp").iterdir())
    assert not (tmp_path / "out").exists()
    torch.save(
        llava.language.state_dict() | llava.named_projector(), llava.folder / "pytorch_model.bin"
    )
    convert_weights(llava.folder, tmp_path / "out", shard_bytes=90_000, **options)
    assert not (tmp_path / ".out.tmp").exists()


MEASURE = """
import json, sys, threading, time
from genixer.models.convert import convert_weights
import torch
torch.set_num_threads(1)
src, base, clip, dst, small = sys.argv[1:6]
options = dict(preset="tiny_llava", vision=clip)

def anonymous():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024

def measure(name, **more):
    before, peak, done = anonymous(), 0, threading.Event()

    def watch():
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, anonymous())

    thread = threading.Thread(target=watch)
    thread.start()
    files = convert_weights(src, f"{dst}_{name}", shard_bytes=16_000_000, **options, **more).files
    done.set()
    thread.join()
    return peak - before, len(files)

# Libraries and their tables are there before the measurement.
convert_weights(small, f"{dst}_small", **options)
print(json.dumps([measure("full"), measure("delta", delta_of=base)]))
"""


@pytest.mark.timeout(300)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_stays_below_a_shard_whatever_the_size(llava, large, tmp_path) -> None:
    (src, shard), (base, other) = large("large"), large("base")
    arguments = [src, base, llava.clip, tmp_path / "out", llava.folder]
    found = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
    )
    (full, files), (summed, _) = json.loads(found.stdout.splitlines()[-1])
    assert files >= 4
    assert full <= 1.3 * shard
    assert summed <= 1.3 * (shard + other)


def test_a_tower_that_is_named_takes_the_place_of_the_checkpoints_own(llava, tmp_path) -> None:
    convert_weights(llava.folder, tmp_path / "one", preset="tiny_llava", vision=llava.clip)
    again = {
        vision: convert_weights(
            tmp_path / "one", tmp_path / "two", preset="tiny_llava", vision=vision, dry_run=True
        ).tensors["vision_tower.vision_model.pre_layrnorm.weight"]
        for vision in (None, llava.clip)
    }
    assert again[None].endswith(":vision_tower.vision_model.pre_layrnorm.weight")
    assert again[llava.clip].endswith(":vision_model.pre_layrnorm.weight")
