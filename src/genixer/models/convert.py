"""Weights of the original code bases into a folder that transformers and this project load.

Nothing is held in memory but the tensor at hand, whatever the size of the model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LlavaConfig, LlavaForConditionalGeneration

from genixer.errors import ConfigError
from genixer.models.architecture import llava_config
from genixer.models.base import PRESET_FILE, Preset, load_preset
from genixer.models.gather import Held, Sources, gather
from genixer.models.layouts import destination
from genixer.models.loading import Dtype, quiet
from genixer.models.model_card import model_card
from genixer.models.shards import Recipe, write_shards
from genixer.models.tokenizer import add_control, read_tokenizer
from genixer.store.disk import full_disk, sync_folder

__all__ = ["Conversion", "convert_weights"]

_IDENTITY = "multi_modal_projector.linear_2."
_ROWS = ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight")
"""Tensors with a row for every token."""
_LLAMA = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "hidden_act"),
    *("initializer_range", "rope_theta", "rope_parameters", "tie_word_embeddings", "head_dim"),
)
_CLIP = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("image_size", "patch_size", "projection_dim", "num_channels", "hidden_act"),
    "layer_norm_eps",
)


@dataclass(frozen=True)
class Conversion:
    """What was, or would be, written."""

    layout: str
    """Of the source: `full`, `delta`, `lora` or `projector`."""
    tensors: Mapping[str, str]
    """Name of each tensor written: where it comes from."""
    left_out: tuple[str, ...]
    """Tensors that every model computes for itself."""
    files: tuple[str, ...]
    """Weight files written; empty for a dry run."""
    bytes: int
    """Size of all tensors."""


def convert_weights(
    src: str | Path,
    dst: str | Path,
    *,
    preset: str,
    vision: str | Path | None = None,
    base: str | Path | None = None,
    delta_of: str | Path | None = None,
    dtype: Dtype = "auto",
    shard_bytes: int = 5_000_000_000,
    dry_run: bool = False,
) -> Conversion:
    """Write the model in `src` to the new folder `dst`, as safetensors.

    `src` is a whole model, adapters or a projector (both need `base`), or a difference to the model
    in `delta_of`. `vision` is a CLIP checkpoint, for code bases that keep it elsewhere. `preset`
    says which prompt, image and frame the weights were trained with. `dtype` `auto` keeps number
    formats. Files have at most `shard_bytes`. The folder appears whole or not at all; raises
    `ConfigError` where a tensor has no place or a place no tensor.
    """
    target = Path(dst)
    if target.exists():
        raise ConfigError(f"{target} is there already; convert to a new folder")
    chosen = load_preset(preset)
    sources = gather(*(None if p is None else Path(p) for p in (src, base, delta_of, vision)))  # type: ignore[arg-type]
    tokenizer = read_tokenizer(sources.tokenizer, chosen, prefer_pieces=True)
    add_control(tokenizer.backend_tokenizer, chosen)
    config = _config(
        sources, chosen, tokenizer.get_vocab(), None if vision is None else Path(vision)
    )
    recipes = _recipes(sources, config, chosen, dtype)
    config.dtype = recipes[0].dtype
    plan = {one.name: one.source for one in recipes}
    total = sum(one.bytes for one in recipes)
    files: tuple[str, ...] = ()
    if not dry_run:
        scratch = target.with_name(f".{target.name}.tmp")
        shutil.rmtree(scratch, ignore_errors=True)
        with full_disk(scratch, total):
            scratch.mkdir(parents=True)
            files = tuple(write_shards(recipes, scratch, shard_bytes))
            _write_words(scratch, sources, config, tokenizer, chosen)
            scratch.rename(target)
            sync_folder(target.parent)
    return Conversion(sources.layout, plan, tuple(sources.computed), files, total)


def _config(
    sources: Sources, preset: Preset, vocabulary: Mapping[str, int], vision: Path | None
) -> LlavaConfig:
    """Config of the model to be, its shapes from the folders and checked against the preset's."""
    own = _json(sources.model / "config.json")
    text = {key: value for key, value in (own.get("text_config") or own).items() if key in _LLAMA}
    rows = sources.tensors.get(_ROWS[0])
    if rows is None:
        raise ConfigError(f"{sources.model}: no embeddings of tokens (model.embed_tokens.weight)")
    text["vocab_size"] = max(rows.get().shape[0], max(vocabulary.values()) + 1)
    tower = own.get("vision_config") or preset.vision
    if vision is not None:
        seen = _json(vision / "config.json")
        tower = seen.get("vision_config") or seen
    tower = {key: value for key, value in tower.items() if key in _CLIP or preset.tower == "conv"}
    side = tower.get("image_size")
    if side != preset.image_side_px:
        raise ConfigError(
            f"the vision tower reads images of {side} px, the preset {preset.name!r} of "
            f"{preset.image_side_px}; give the tower it was trained with, or another preset"
        )
    return llava_config(preset, text, tower, vocabulary)


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    return found


def _recipes(sources: Sources, config: LlavaConfig, preset: Preset, dtype: Dtype) -> list[Recipe]:
    """How each tensor of the model is made; refuses what is left over and what is missing."""
    shapes = _shapes(config)
    missing, recipes = [], []
    for name, shape in shapes.items():
        held = sources.tensors.get(name)
        if held is not None:
            recipes.append(_recipe(name, shape, held, sources, dtype))
        elif preset.projector == "linear" and name.startswith(_IDENTITY):
            recipes.append(_identity(name, shape, sources, dtype))
        else:
            missing.append(name)
    adapted = sources.adapters.factors if sources.adapters else {}
    astray = [held.where for name, held in sources.tensors.items() if name not in shapes]
    astray += [f"adapter of {name}" for name in adapted if name not in shapes]
    if sources.unknown or astray:
        raise ConfigError(_listed("tensors that have no place", [*sources.unknown, *astray]))
    if missing:
        tower = any(name.startswith("vision_tower.") for name in missing)
        way = "; the tower's: name the CLIP folder with `vision`" if tower else ""
        raise ConfigError(_listed("places without a tensor", missing) + way)
    return recipes


def _listed(what: str, names: list[str]) -> str:
    shown = "\n  ".join(names[:20])
    return f"{len(names)} {what}{', the first 20' if len(names) > 20 else ''}:\n  {shown}"


def _shapes(config: LlavaConfig) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of a model with `config`, under the names on disk."""
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    found = {str(destination(name)): tuple(t.shape) for name, t in model.state_dict().items()}
    if config.tie_word_embeddings:
        del found[_ROWS[1]]
    return found


def _recipe(
    name: str, shape: tuple[int, ...], held: Held, sources: Sources, dtype: Dtype
) -> Recipe:
    """Recipe of one tensor: copied, added to its base, adapted, given rows for new tokens."""
    other, adapters = sources.added_to.get(name), sources.adapters
    if sources.layout == "delta" and other is None and not name.startswith("multi_modal_projector"):
        if not name.startswith("vision_tower."):
            raise ConfigError(f"{held.where}: the base has no such tensor to add it to")
    _check(name, tuple(held.get().shape), shape, held.where)
    if other is not None:
        _check(name, tuple(other.get().shape), shape, other.where)
    steps = held.where + (f" + {other.where}" if other else "")

    def make() -> Tensor:
        tensor = held.get()
        if other is not None:
            tensor = _sum(tensor, other.get())
        if adapters is not None and name in adapters.factors:
            tensor = adapters.merged(name, tensor)
        return _grown(tensor, shape[0])

    if adapters is not None and name in adapters.factors:
        steps += " + adapter"
    if held.get().shape[0] < shape[0]:
        steps += f" + {shape[0] - held.get().shape[0]} rows of zeros"
    return Recipe(name, steps, shape, _dtype(held, dtype), make)


def _check(name: str, found: tuple[int, ...], wanted: tuple[int, ...], where: str) -> None:
    # Tokens were added after the base was trained: the first rows are the base's.
    grows = name in _ROWS and found[0] <= wanted[0] and found[1:] == wanted[1:]
    if found != wanted and not grows:
        raise ConfigError(f"{where}: has shape {found}, the config says {wanted} for {name}")


def _sum(delta: Tensor, base: Tensor) -> Tensor:
    """`delta` plus `base` in delta's number format; rows that the base lacks are delta's own."""
    total = delta.clone()
    total[: base.shape[0]] += base.to(total.dtype)
    return total


def _grown(tensor: Tensor, rows: int) -> Tensor:
    if tensor.shape[0] == rows:
        return tensor
    more = tensor.new_zeros((rows - tensor.shape[0], *tensor.shape[1:]))
    return torch.cat([tensor, more])


def _identity(name: str, shape: tuple[int, ...], sources: Sources, dtype: Dtype) -> Recipe:
    beside = sources.tensors.get("multi_modal_projector.linear_1.weight")
    number = torch.float32 if beside is None else _dtype(beside, dtype)

    def make() -> Tensor:
        return torch.eye(shape[0]) if len(shape) == 2 else torch.zeros(shape)

    return Recipe(name, "identity: the projector is one layer", shape, number, make)


def _dtype(held: Held, wanted: Dtype) -> torch.dtype:
    stored: torch.dtype = held.get().dtype
    if wanted == "auto" or not stored.is_floating_point:
        return stored
    named: torch.dtype = getattr(torch, wanted)
    return named


def _write_words(
    folder: Path, sources: Sources, config: LlavaConfig, tokenizer: Any, preset: Preset
) -> None:
    """All but the weights: configs, tokenizer, preset, model card."""
    quiet()
    config.architectures = ["LlavaForConditionalGeneration"]
    config.save_pretrained(folder)
    text: Any = config.text_config
    GenerationConfig(
        bos_token_id=text.bos_token_id,
        eos_token_id=text.eos_token_id,
        pad_token_id=text.pad_token_id,
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    pieces = sources.tokenizer / "tokenizer.model"
    if pieces.is_file():
        shutil.copyfile(pieces, folder / pieces.name)
    preset_text = preset.model_dump_json(indent=1) + "\n"
    (folder / PRESET_FILE).write_text(preset_text, encoding="utf-8")
    (folder / "README.md").write_text(model_card(preset, sources, config), encoding="utf-8")
