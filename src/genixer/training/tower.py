"""First lessons of a vision tower: in every cell, say which object covers it and where that object's corners are.

Without them nothing local is learned in the hours a laptop has; with them the language model finds names and coordinates
ready in the cells it attends to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from genixer.data import Box, ImageRef, Sample, random_for, split_marks
from genixer.frames import box_to_frame
from genixer.store.images import open_image

if TYPE_CHECKING:
    from genixer.models.llava import LoadedModel

__all__ = ["Region", "TowerSchedule", "regions_of", "train_tower"]

Region = tuple[str, Box]


class TowerSchedule(BaseModel):
    """How long the tower learns by itself before the language model joins in; 0 steps leaves it out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(0, ge=0)
    images_per_step: int = Field(32, ge=1)
    lr: float = 2e-3
    precision: Literal["fp32", "bf16"] = "fp32"
    """As in `genixer.training.run.Schedule`."""
    box_weight: float = 0.25
    """Weight of the corners' error against the naming error."""


def regions_of(sample: Sample) -> list[Region]:
    """Names and boxes of a dense caption: each box mark is named by the words before it.

    >>> from genixer.data import Origin, Turn
    >>> boxes = (Box(0.0, 0.0, 0.5, 0.5), Box(0.5, 0.5, 1.0, 1.0))
    >>> turn = Turn("assistant", "red book <box>, dog <box>", boxes)
    >>> [name for name, _ in regions_of(Sample.of("dense_caption", ImageRef("a", 1, 1, ""), (turn,), Origin("x")))]
    ['red book', 'dog']
    """
    found: list[Region] = []
    for turn in sample.turns:
        pieces, _ = split_marks(turn.text)
        found += [
            (piece.strip(" ,;."), box)
            for piece, box in zip(pieces, turn.boxes, strict=False)
            if piece.strip(" ,;.")
        ]
    return found


def train_tower(
    model: LoadedModel,
    pictures: Sequence[tuple[ImageRef, Sequence[Region]]],
    schedule: TowerSchedule,
    images: Path,
    seed: int,
    log: Callable[[dict[str, Any]], None],
) -> None:
    """Train the tower of `model` in place, with a head that is thrown away. Deterministic as `genixer.training.run.train`."""
    tower = model.model.model.vision_tower
    names = sorted({name for _, regions in pictures for name, _ in regions})
    index = {name: i + 1 for i, name in enumerate(names)}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        width = tower.config.hidden_size
        head = nn.Sequential(nn.Linear(width, 192), nn.GELU(), nn.Linear(192, len(names) + 1 + 4))
    for parameter in tower.parameters():
        parameter.requires_grad_(True)
    tower.learn_statistics = True
    tower.train()
    tower.to(memory_format=torch.channels_last)
    parameters = [*tower.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=schedule.lr, weight_decay=0.05)
    plan = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, schedule.lr, schedule.steps, pct_start=0.1
    )
    # Four cells of five are empty: unweighted, the tower first learns to say so and little else.
    rarity = torch.ones(len(names) + 1)
    rarity[0] = 0.1
    rng = random_for(seed, "tower", "order")
    every = max(1, schedule.steps // 20)
    for step in range(1, schedule.steps + 1):
        batch = [pictures[rng.randrange(len(pictures))] for _ in range(schedule.images_per_step)]
        pixels = model.pixels([open_image(images, ref.path) for ref, _ in batch])
        side = round(model.preset.image_tokens**0.5)
        targets = [_targets(model, ref, regions, index, side) for ref, regions in batch]
        name, box = (torch.stack(part) for part in zip(*targets, strict=True))
        with torch.autocast("cpu", torch.bfloat16, enabled=schedule.precision == "bf16"):
            out = head(tower(pixels).last_hidden_state).float()
        scores, corners = out[..., :-4], out[..., -4:].sigmoid()
        covered = name > 0
        naming = nn.functional.cross_entropy(scores.flatten(0, 1), name.flatten(), weight=rarity)
        placing = _placing(corners[covered], box[covered])
        optimiser.zero_grad(set_to_none=True)
        (naming + schedule.box_weight * placing).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        plan.step()
        if step % every == 0 or step == schedule.steps:
            right = (scores.argmax(-1) == name)[covered].float().mean()
            log(
                {
                    "phase": "tower",
                    "step": step,
                    "loss": round(float(naming.detach()), 4),
                    "named": round(float(right), 4),
                    "corner_error": round(float((corners[covered] - box[covered]).detach().abs().mean()), 4),
                }
            )
    tower.learn_statistics = False
    tower.eval()


def _placing(found: Tensor, true: Tensor) -> Tensor:
    """Mean corner error plus 1 - IoU, of boxes [K, 4]."""
    low, high = torch.maximum(found[:, :2], true[:, :2]), torch.minimum(found[:, 2:], true[:, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    area = (found[:, 2:] - found[:, :2]).clamp(min=0).prod(-1) + (true[:, 2:] - true[:, :2]).prod(
        -1
    )
    iou = shared / (area - shared).clamp(min=1e-6)
    return (found - true).abs().mean() * 4 + (1 - iou).mean()


def _targets(
    model: LoadedModel, ref: ImageRef, regions: Sequence[Region], index: dict[str, int], side: int
) -> tuple[Tensor, Tensor]:
    """For each cell, in reading order: the object over its centre (0 = none) and that object's corners, in the model's frame."""
    name = torch.zeros(side, side, dtype=torch.long)
    box = torch.zeros(side, side, 4)
    centre = (torch.arange(side) + 0.5) / side
    for word, region in regions:
        x0, y0, x1, y1 = box_to_frame(region, model.preset.frame, ref.width, ref.height)
        inside = ((centre > y0) & (centre < y1))[:, None] & ((centre > x0) & (centre < x1))[None, :]
        name[inside] = index[word]
        box[inside] = torch.tensor([x0, y0, x1, y1])
    return name.flatten(), box.flatten(0, 1)
