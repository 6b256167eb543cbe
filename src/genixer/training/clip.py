"""Teaches the region model: names against names, and boxes that sit badly against all of them.

Letters: K crops, S side in px, U names; name 0 is `NOTHING`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from genixer.data import random_for
from genixer.models.clip import NOTHING, ClipConfig, RegionClip, compatible
from genixer.training.crops import Crops

__all__ = ["ClipSchedule", "examine", "train_clip", "vocabulary"]

REPAINTED = 0.6
"""Share of the crops whose background is painted over."""
TILT = 24.0
_EXACT = 256
"""Up to so many names all compete at every step; of more, those of the batch."""


class ClipSchedule(BaseModel):
    """How long and how fast to train."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(default=1200, ge=1)
    """Optimiser steps."""
    batch: int = Field(default=128, ge=2)
    """Crops in a step."""
    lr: float = Field(default=3e-3, gt=0.0)
    """Peak learning rate; rises over a tenth of the steps, then falls as a cosine."""
    weight_decay: float = Field(default=0.05, ge=0.0)
    """Pull of the weights towards 0."""


def vocabulary(
    names: Mapping[str, int], least: int, most: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(words, names) to learn from `names` and how often each came.

    Names that came at least `least` times, and of those the `most` most frequent.

    >>> vocabulary({"red book": 3, "odd": 1}, least=2, most=9)
    (('book', 'red'), ('red book',))
    """
    often = sorted(
        (name for name, n in names.items() if name and n >= least), key=lambda n: (-names[n], n)
    )
    kept = tuple(sorted(often[:most]))
    return tuple(sorted({word for name in kept for word in name.split()})), kept


def train_clip(
    crops: Crops,
    config: ClipConfig,
    schedule: ClipSchedule,
    seed: int,
    log: Callable[[dict[str, Any]], None],
) -> RegionClip:
    """Model trained on `crops`; without any, one with random weights.

    Deterministic: same arguments and thread count, same weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RegionClip(config)
    model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    draw = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=schedule.lr, weight_decay=schedule.weight_decay
    )
    plan = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, schedule.lr, total_steps=schedule.steps + 1, pct_start=0.1
    )
    names = [NOTHING, *config.names]
    shared = torch.tensor([[compatible(a, b) and a != b for b in names] for a in names])
    every, running = max(1, schedule.steps // 50), 0.0
    for step in range(1, schedule.steps + 1 if len(crops.labels) else 1):
        chosen = torch.randint(len(crops.labels), (schedule.batch,), generator=draw)
        loss = _loss(
            model, _varied(crops.pixels[chosen], draw), crops.labels[chosen], names, shared
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        plan.step()
        value = float(loss.detach())
        running = value if step == 1 else 0.9 * running + 0.1 * value
        if step % every == 0 or step == schedule.steps:
            log({"step": step, "loss": round(running, 4)})
    model.eval()
    return model


def _varied(pixels: Tensor, draw: torch.Generator) -> Tensor:
    """Crops as floats, half of them mirrored, lighter or darker, in more or less contrast."""
    rows = len(pixels)
    mirrored = torch.rand(rows, 1, 1, 1, generator=draw) < 0.5
    values = torch.where(mirrored, pixels.flip(-1), pixels).float()
    values = _turned(_other_ground(values, draw), draw)
    shift = (torch.rand(rows, 1, 1, 1, generator=draw) - 0.5) * 40.0
    stretch = 1.0 + (torch.rand(rows, 1, 1, 1, generator=draw) - 0.5) * 0.3
    return ((values - 127.5) * stretch + 127.5 + shift).clamp(0.0, 255.0)


def _turned(values: Tensor, draw: torch.Generator) -> Tensor:
    """Crops [K, 3, S, S] turned by up to `TILT` degrees, mostly less; corners are mirrored in."""
    angle = torch.randn(len(values), generator=draw).clamp(-2, 2) * math.radians(TILT / 2)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(len(values))
    turn = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    grid = nn.functional.affine_grid(turn, list(values.shape), align_corners=False)
    return nn.functional.grid_sample(
        values, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )


def _other_ground(values: Tensor, draw: torch.Generator) -> Tensor:
    """Most crops [K, 3, S, S] with whatever looks like their rim painted over in clouds.

    The rim lies outside the box, so its colour is mostly background: a model that has seen few
    backgrounds would else take a new one for nothing.
    """
    rows, side = len(values), values.shape[-1]
    rim = torch.cat([values[:, :, 0], values[:, :, -1], values[:, :, :, 0], values[:, :, :, -1]], 2)
    ground = rim.median(-1).values[:, :, None, None]
    reach = 20.0 + 50.0 * torch.rand(rows, 1, 1, generator=draw)
    like_rim = (values - ground).abs().amax(1) < reach
    colour = 255.0 * torch.rand(rows, 3, 1, 1, generator=draw)
    clouds = torch.randn(rows, 3, 7, 7, generator=draw) * 30.0
    clouds = nn.functional.interpolate(clouds, (side, side), mode="bilinear")
    strength = torch.rand(rows, 1, 1, 1, generator=draw)
    painted = like_rim & (torch.rand(rows, 1, 1, generator=draw) < REPAINTED)
    return torch.where(painted[:, None], (colour + strength * clouds).clamp(0.0, 255.0), values)


def _loss(
    model: RegionClip, pixels: Tensor, labels: Tensor, names: Sequence[str], shared: Tensor
) -> Tensor:
    """Both ways: which name fits a crop, which crops fit a name. Crops of one name are all right.

    Names that can be right together do not count against each other.
    """
    present = torch.unique(labels) if len(names) > _EXACT else torch.arange(len(names))
    place = torch.full((len(names),), -1)
    place[present] = torch.arange(len(present))
    targets = place[labels]
    texts = model.embed_names([names[int(i)] for i in present])
    logits = model.embed_crops(pixels) @ texts.T * model.scale.clamp(max=4.0).exp()
    logits = logits.masked_fill(shared[labels][:, present], -1e4)
    by_crop = nn.functional.cross_entropy(logits, targets)
    right = targets[:, None] == torch.arange(len(present))[None, :]
    asked = right.any(0)
    found = logits.masked_fill(~right, -1e4).logsumexp(0) - logits.logsumexp(0)
    return by_crop - found[asked].mean()


def examine(model: RegionClip, crops: Crops, seed: int) -> dict[str, tuple[int, int]]:
    """(right, asked) on crops that were held out, cut with `exact`, by what was asked.

    `names_region`: the best name fits. `accepts_right`, `refuses_other_name`,
    `refuses_misplaced`: the score is on the right side of a half.
    """
    names = model.config.names
    good = [i for i, label in enumerate(crops.labels.tolist()) if label]
    # A misplaced box follows the good one it was made from, and is tried under the same name.
    pairs = [(i, i + 1) for i in good if i + 1 < len(crops.labels) and not crops.labels[i + 1]]
    right = {i: names[int(crops.labels[i]) - 1] for i in good}
    rng = random_for(seed, "examine", "other names")
    others = {
        i: rng.choice(rivals)
        for i in good
        if (rivals := [name for name in names if not compatible(name, right[i])])
    }
    with torch.no_grad():
        vectors = model.embed_crops(crops.pixels[good].float())
        best = (vectors @ model.embed_names([NOTHING, *names]).T).argmax(-1).tolist()
    fits = [bool(b) and compatible(names[b - 1], right[i]) for b, i in zip(best, good, strict=True)]
    asked = {
        "accepts_right": ([(i, right[i]) for i in good], True),
        "refuses_other_name": (list(others.items()), False),
        "refuses_misplaced": ([(bad, right[i]) for i, bad in pairs], False),
    }
    found = {"names_region": (sum(fits), len(fits))}
    for what, (looks, expected) in asked.items():
        pixels = crops.pixels[[i for i, _ in looks]].numpy()
        scores = model.probabilities(pixels, [name for _, name in looks])
        found[what] = (sum((score >= 0.5) == expected for score in scores), len(scores))
    return found
