"""What of a network moves: all of it, its projector, or low-rank adapters beside frozen weights."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from genixer.training.lesson import Lesson
from genixer.training.schedule import Schedule

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = ["add_adapters", "choose_trainable", "merge", "save_adapters"]

_COPY = "modules_to_save.default."
"""Stands in the name of a weight that `peft` copied to train it in full."""


def choose_trainable(lesson: Lesson[Any], schedule: Schedule) -> None:
    """Freeze what `schedule` does not train; weights that were frozen for good stay so."""
    parts = lesson.parts()
    if schedule.trainable == "projector":
        moving = {id(p) for p in parts["projector"].parameters() if p.requires_grad}
        for parameter in lesson.network.parameters():
            parameter.requires_grad_(id(parameter) in moving)
    if "tower" in parts and schedule.trainable == "full":
        parts["tower"].requires_grad_(schedule.tower_lr > 0)


def add_adapters(lesson: Lesson[Any], schedule: Schedule, seed: int) -> PeftModel:
    """Put adapters beside all linear layers of the language model but the last.

    The projector and the embeddings are trained in full where `lora_also` says so. The network is
    changed in place; the result is what `merge` and `save_adapters` want.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    network, parts = lesson.network, lesson.parts()
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    inside = {id(m) for m in parts["language"].modules() if isinstance(m, nn.Linear)}
    inside -= {id(m) for m in parts["embeddings"].modules()}
    apart = {id(m) for name in schedule.lora_also for m in _whole(parts[name])}
    names = [(name, id(module)) for name, module in network.named_modules()]
    config = LoraConfig(
        r=schedule.lora_rank,
        lora_alpha=schedule.lora_alpha,  # type: ignore[arg-type]
        lora_dropout=schedule.lora_dropout,
        target_modules=[name for name, one in names if one in inside],
        modules_to_save=[name for name, one in names if one in apart] or None,
    )
    with torch.random.fork_rng(), warnings.catch_warnings():
        # peft asks transformers by a name that is going.
        warnings.filterwarnings("ignore", ".*gradient_checkpointing", FutureWarning)
        torch.manual_seed(seed)
        found: PeftModel = get_peft_model(network, config)
    for name, parameter in network.named_parameters():
        if _COPY in name and name.replace(_COPY, "") in frozen:
            parameter.requires_grad_(False)
    return found


def _whole(part: nn.Module) -> list[nn.Module]:
    """The part itself, or its members where it is only a list."""
    return list(part) if isinstance(part, nn.ModuleList) else [part]


def merge(adapted: PeftModel) -> nn.Module:
    """The network with its adapters added to its weights."""
    merged: nn.Module = adapted.merge_and_unload()
    return merged


def save_adapters(adapted: PeftModel, folder: Path) -> None:
    """Write `adapter_model.safetensors` and `adapter_config.json`, for `peft` to load."""
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    # Sets were written in an order that changes from process to process.
    path = folder / "adapter_config.json"
    config = json.loads(path.read_bytes())
    for key in ("target_modules", "modules_to_save"):
        config[key] = sorted(config[key]) if config[key] else config[key]
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
