"""Safetensors written one tensor at a time, so that memory does not grow with the model.

The library's own writer wants all tensors of a file at once. The format is a JSON header with
types, shapes and places, then the bytes: sizes are known before the first tensor is made.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genixer.errors import ConfigError
from genixer.models.base import INDEX, WEIGHTS

__all__ = ["Recipe", "shards_of", "write_shards"]

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class Recipe:
    """A tensor to write: what it will be, and how it is made when its turn comes."""

    name: str
    source: str
    """Where it comes from, for people."""
    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]

    @property
    def bytes(self) -> int:
        """Size on disk."""
        return math.prod(self.shape) * self.dtype.itemsize


def shards_of(recipes: Sequence[Recipe], most_bytes: int) -> list[list[Recipe]]:
    """Recipes cut, in order, into files of at most `most_bytes`; a larger tensor has its own."""
    shards: list[list[Recipe]] = []
    room = 0
    for recipe in recipes:
        if not shards or recipe.bytes > room:
            shards.append([])
            room = most_bytes
        shards[-1].append(recipe)
        room -= recipe.bytes
    return shards


def write_shards(recipes: Sequence[Recipe], folder: Path, most_bytes: int) -> list[str]:
    """Write all tensors to `folder`, with an index where there are several files; their names."""
    shards = shards_of(recipes, most_bytes)
    if len(shards) == 1:
        names = [WEIGHTS]
    else:
        names = [
            f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)
        ]
    for name, shard in zip(names, shards, strict=True):
        _write(shard, folder / name)
    if len(shards) > 1:
        place = {
            recipe.name: name for name, shard in zip(names, shards, strict=True) for recipe in shard
        }
        index = {"metadata": {"total_size": sum(one.bytes for one in recipes)}, "weight_map": place}
        text = json.dumps(index, indent=1, sort_keys=True) + "\n"
        (folder / INDEX).write_text(text, encoding="utf-8")
    return names


def _write(shard: Sequence[Recipe], path: Path) -> None:
    # Wide numbers first: every tensor then begins at a multiple of its number's size.
    ordered = sorted(shard, key=lambda one: (-one.dtype.itemsize, one.name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for one in ordered:
        place = [at, at + one.bytes]
        header[one.name] = {"dtype": _name(one), "shape": list(one.shape), "data_offsets": place}
        at += one.bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for one in ordered:
            file.write(_bytes(one))
        file.flush()
        os.fsync(file.fileno())


def _name(recipe: Recipe) -> str:
    if recipe.dtype not in _NAMES:
        raise ConfigError(f"{recipe.source}: numbers of type {recipe.dtype} cannot be written")
    return _NAMES[recipe.dtype]


def _bytes(recipe: Recipe) -> memoryview:
    """The tensor's bytes; made, handed on and forgotten."""
    tensor = recipe.make().to(recipe.dtype).contiguous()
    if tuple(tensor.shape) != recipe.shape:
        raise ConfigError(f"{recipe.source}: has shape {tuple(tensor.shape)}, not {recipe.shape}")
    raw: Any = tensor.reshape(-1).view(torch.uint8).numpy()
    return memoryview(raw)
