"""What moves the weights: optimisers, and which of the network's parts has which rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from genixer.training.lesson import Lesson
from genixer.training.schedule import Schedule

__all__ = ["optimisers_of", "rates", "set_rates"]

Optimisers = Sequence[torch.optim.Optimizer]


def optimisers_of(lesson: Lesson[Any], schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Optimisers of every weight of `lesson` that may move, grouped by part.

    A group's `peak` is its largest rate, its `part` the name of its part.
    """
    owner = _owners(lesson)
    peaks = {
        "language": schedule.lr,
        "projector": schedule.lr if schedule.projector_lr is None else schedule.projector_lr,
        "embeddings": schedule.lr if schedule.embeddings_lr is None else schedule.embeddings_lr,
        "tower": schedule.tower_lr,
    }
    moving = [p for p in lesson.network.parameters() if p.requires_grad]
    matrices = _matrices(lesson) if schedule.optimiser == "muon" else set()
    plain = _groups([p for p in moving if id(p) not in matrices], owner, peaks)
    found: list[torch.optim.Optimizer] = []
    decay = schedule.weight_decay
    if plain:
        found.append(torch.optim.AdamW(plain, betas=(0.9, schedule.beta2), weight_decay=decay))
    by_muon = _groups([p for p in moving if id(p) in matrices], owner, peaks)
    if by_muon:
        muon = torch.optim.Muon(by_muon, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
        found.append(muon)
    return found


def set_rates(optimisers: Optimisers, share: float) -> None:
    """Let every group move at `share` of its peak rate."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * share


def rates(optimisers: Optimisers) -> dict[str, float]:
    """Present rate by part."""
    return {g["part"]: g["lr"] for optimiser in optimisers for g in optimiser.param_groups}


def _owners(lesson: Lesson[Any]) -> dict[int, str]:
    """Part of each parameter that belongs to one other than the language model."""
    found: dict[int, str] = {}
    for name, part in lesson.parts().items():
        if name != "language":
            found.update((id(p), name) for p in part.parameters())
    return found


def _matrices(lesson: Lesson[Any]) -> set[int]:
    parts: list[nn.Module] = list(lesson.blocks())
    parts += [part for name, part in lesson.parts().items() if name == "projector"]
    return {id(p) for part in parts for p in part.parameters() if p.ndim == 2}


def _groups(
    parameters: Sequence[nn.Parameter], owner: dict[int, str], peaks: dict[str, float]
) -> list[dict[str, Any]]:
    groups: dict[str, list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault(owner.get(id(parameter), "language"), []).append(parameter)
    return [{"params": many, "peak": peaks[name], "part": name} for name, many in groups.items()]
