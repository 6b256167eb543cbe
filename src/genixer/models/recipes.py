"""How each tensor of a converted model is made: copied, summed, adapted, drawn, or known before.

A new projector is drawn as torch's `Linear` draws itself, and so as the original code bases did:
weight and bias even between -1 / sqrt(n) and 1 / sqrt(n), n numbers coming in. What is drawn for a
tensor depends on the seed and its name alone. Rows of tokens that its language model lacks become
the mean of all others, as there.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import LlavaConfig, LlavaForConditionalGeneration

from genixer.data import random_for
from genixer.errors import ConfigError
from genixer.models.base import Dtype, Preset
from genixer.models.gather import PROJECTOR_NAMES, Held, Sources
from genixer.models.layouts import destination
from genixer.models.shards import Recipe

__all__ = ["EMBEDDINGS", "recipes_of"]

EMBEDDINGS = "language_model.model.embed_tokens.weight"
_HEAD = "language_model.lm_head.weight"
_ROWS = (EMBEDDINGS, _HEAD)
"""Tensors with a row for every token."""
_IDENTITY = f"{PROJECTOR_NAMES}linear_2."


def recipes_of(sources: Sources, config: LlavaConfig, preset: Preset, dtype: Dtype) -> list[Recipe]:
    """How each tensor of the model is made; refuses what is left over and what is missing."""
    shapes = _shapes(config)
    missing, recipes = [], []
    if preset.projector == "linear":
        _refuse_second_layer(sources, preset)
    for name, shape in shapes.items():
        held = sources.tensors.get(name)
        if held is not None:
            recipes.append(_recipe(name, shape, held, sources, dtype))
        elif preset.projector == "linear" and name.startswith(_IDENTITY):
            recipes.append(_identity(name, shape, sources, dtype))
        elif sources.layout == "start" and name.startswith(PROJECTOR_NAMES):
            recipes.append(_drawn(name, shapes, sources, dtype))
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
        if not tower and all(name.startswith(PROJECTOR_NAMES) for name in missing):
            way = "; to start a training with a new projector, say so with `new_projector`"
        raise ConfigError(_listed("places without a tensor", missing) + way)
    return recipes


def _refuse_second_layer(sources: Sources, preset: Preset) -> None:
    """Refuse a projector of two layers where one was trained; that of our own folders is none."""
    for end in ("weight", "bias"):
        held = sources.tensors.get(f"{_IDENTITY}{end}")
        if held is None:
            continue
        found = held.get().float()
        one = torch.eye(found.shape[0]) if end == "weight" else torch.zeros_like(found)
        if not torch.equal(found, one):
            raise ConfigError(
                f"{held.where}: the projector has a second layer, that of the preset "
                f"{preset.name!r} is linear; name another preset"
            )


def _listed(what: str, names: list[str]) -> str:
    shown = "\n  ".join(names[:20])
    return f"{len(names)} {what}{', the first 20' if len(names) > 20 else ''}:\n  {shown}"


def _shapes(config: LlavaConfig) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of a model with `config`, under the names on disk."""
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    found = {str(destination(name)): tuple(t.shape) for name, t in model.state_dict().items()}
    if config.tie_word_embeddings:
        del found[_HEAD]
    return found


def _recipe(
    name: str, shape: tuple[int, ...], held: Held, sources: Sources, dtype: Dtype
) -> Recipe:
    """Recipe of one tensor: copied, added to its base, adapted, given rows for new tokens."""
    other, adapters = sources.added_to.get(name), sources.adapters
    if sources.layout == "delta" and other is None and name.startswith("language_model."):
        raise ConfigError(f"{held.where}: the base has no such tensor to add it to")
    _check(name, tuple(held.get().shape), shape, held.where)
    if other is not None:
        _check(name, tuple(other.get().shape), shape, other.where)
    steps = held.where + (f" + {other.where}" if other else "")
    grow, more = (
        (_with_means, "rows of the mean")
        if sources.layout == "start"
        else (_grown, "rows of zeros")
    )

    def make() -> Tensor:
        tensor = held.get()
        if other is not None:
            tensor = _sum(tensor, other.get())
        if adapters is not None and name in adapters.factors:
            tensor = adapters.merged(name, tensor)
        return tensor if tuple(tensor.shape) == shape else grow(tensor, shape[0])

    if adapters is not None and name in adapters.factors:
        steps += " + adapter"
    if name in _ROWS and (rows := shape[0] - held.get().shape[0]):
        steps += f" + {rows} {more}"
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
    more = tensor.new_zeros((rows - tensor.shape[0], *tensor.shape[1:]))
    return torch.cat([tensor, more])


def _with_means(tensor: Tensor, rows: int) -> Tensor:
    mean = tensor.mean(0, dtype=torch.float32).to(tensor.dtype)
    return torch.cat([tensor, mean.expand(rows - tensor.shape[0], -1)])


def _drawn(
    name: str, shapes: Mapping[str, tuple[int, ...]], sources: Sources, dtype: Dtype
) -> Recipe:
    """Recipe of a tensor of a new projector, in the number format of the language model."""
    shape = shapes[name]
    most = shapes[f"{name.rpartition('.')[0]}.weight"][1] ** -0.5

    def make() -> Tensor:
        rng = random_for(sources.seed, "convert-weights", name)
        generator = torch.Generator().manual_seed(rng.getrandbits(63))
        return torch.empty(shape).uniform_(-most, most, generator=generator)

    number = _dtype(sources.tensors[EMBEDDINGS], dtype)
    return Recipe(name, f"new: even within {most:.4g}, seed {sources.seed}", shape, number, make)


def _identity(name: str, shape: tuple[int, ...], sources: Sources, dtype: Dtype) -> Recipe:
    # A projector yet to be drawn has the number format of the language model.
    beside = sources.tensors.get(f"{PROJECTOR_NAMES}linear_1.weight")
    number = _dtype(beside or sources.tensors[EMBEDDINGS], dtype)

    def make() -> Tensor:
        return torch.eye(shape[0]) if len(shape) == 2 else torch.zeros(shape)

    return Recipe(name, "identity: the projector is one layer", shape, number, make)


def _dtype(held: Held, wanted: Dtype) -> torch.dtype:
    stored: torch.dtype = held.get().dtype
    if wanted == "auto" or not stored.is_floating_point:
        return stored
    named: torch.dtype = getattr(torch, wanted)
    return named
