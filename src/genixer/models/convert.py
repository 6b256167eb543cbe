"""Weights of the original code bases into a folder that transformers and this project load.

Nothing is held in memory but the tensor at hand, whatever the size of the model.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import GenerationConfig, LlavaConfig

from genixer.errors import ConfigError
from genixer.models.architecture import ACTIVATIONS, llava_config, read_at
from genixer.models.base import Dtype, Preset, load_preset
from genixer.models.gather import Sources, gather
from genixer.models.json_files import read_object
from genixer.models.loading import quiet
from genixer.models.model_card import model_card
from genixer.models.preset_files import write_preset
from genixer.models.recipes import EMBEDDINGS, recipes_of
from genixer.models.shards import write_shards
from genixer.models.tokenizer import add_control, read_tokenizer
from genixer.store.disk import full_disk, sync_folder

__all__ = ["Conversion", "convert_weights"]

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
    """Of the source: `full`, `delta`, `lora` or `projector`; `start` with a new projector."""
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
    new_projector: int | None = None,
    dtype: Dtype = "auto",
    shard_bytes: int = 5_000_000_000,
    dry_run: bool = False,
) -> Conversion:
    """Write the model in `src` to the new folder `dst`, as safetensors.

    `src` is a whole model, adapters or a projector (both need `base`), or a difference to the model
    in `delta_of`. `vision` is a CLIP checkpoint, for code bases that keep it elsewhere. `preset`
    says which prompt, image and frame the weights were trained with, or are to be. `new_projector`
    is the seed of a projector that is drawn, between a language model and a tower that never met
    (`genixer.models.recipes` says how). `dtype` `auto` keeps number formats. Files
    have at most `shard_bytes`. The folder appears whole or not at all; raises `ConfigError` where a
    tensor has no place or a place no tensor.
    """
    target = Path(dst)
    if target.exists():
        raise ConfigError(f"{target} is there already; convert to a new folder")
    chosen = load_preset(preset)
    tower = _path(vision)
    sources = gather(Path(src), _path(base), _path(delta_of), tower, new_projector)
    tokenizer = read_tokenizer(sources.tokenizer, chosen, prefer_pieces=True)
    add_control(tokenizer.backend_tokenizer, chosen)
    config = _config(sources, chosen, tokenizer.get_vocab(), tower)
    recipes = recipes_of(sources, config, chosen, dtype)
    config.dtype = next(one.dtype for one in recipes if one.name == EMBEDDINGS)
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
            _sync_all(scratch)
            scratch.rename(target)
            sync_folder(target.parent)
    return Conversion(sources.layout, plan, tuple(sources.computed), files, total)


def _sync_all(folder: Path) -> None:
    """Make all files of `folder` survive a power cut."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _config(
    sources: Sources, preset: Preset, vocabulary: Mapping[str, int], vision: Path | None
) -> LlavaConfig:
    """Config of the model to be, its shapes from the folders and checked against the preset's."""
    path = sources.model / "config.json"
    own = read_object(path)
    _check_declared(own, preset, path)
    beside = sources.source / "config.json"
    if beside.is_file():
        _check_declared(read_object(beside), preset, beside)
    text = {key: value for key, value in (own.get("text_config") or own).items() if key in _LLAMA}
    rows = sources.tensors.get(EMBEDDINGS)
    if rows is None:
        raise ConfigError(f"{sources.model}: no embeddings of tokens (model.embed_tokens.weight)")
    text["vocab_size"] = max(rows.get().shape[0], max(vocabulary.values()) + 1)
    tower = own.get("vision_config") or preset.vision
    if vision is not None:
        seen = read_object(vision / "config.json")
        tower = seen.get("vision_config") or seen
    tower = {key: value for key, value in tower.items() if key in _CLIP or preset.tower == "conv"}
    side = tower.get("image_size")
    if side != preset.image_side_px:
        raise ConfigError(
            f"the vision tower reads images of {side} px, the preset {preset.name!r} of "
            f"{preset.image_side_px}; give the tower it was trained with, or another preset"
        )
    return llava_config(preset, text, tower, vocabulary)


def _check_declared(config: Mapping[str, Any], preset: Preset, path: Path) -> None:
    """Refuse a config that says it is of another architecture than the preset.

    The first four are the words of the original code bases, the others those of transformers.
    """
    layer, strategy = read_at(preset)
    wanted = {
        "mm_vision_select_layer": layer,
        "mm_vision_select_feature": "patch" if strategy == "default" else "cls_patch",
        "mm_projector_type": preset.projector,
        "mm_use_im_start_end": bool(preset.tokens.image_start),
        "vision_feature_layer": layer,
        "vision_feature_select_strategy": strategy,
        "projector_hidden_act": ACTIVATIONS[preset.projector],
    }
    for key, value in wanted.items():
        if config.get(key, value) != value:
            raise ConfigError(
                f"{path}: {key} is {config[key]!r}, the preset {preset.name!r} needs {value!r}; "
                "name the preset that the weights were trained as"
            )


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
    write_preset(preset, folder)
    (folder / "README.md").write_text(model_card(preset, sources, config), encoding="utf-8")
