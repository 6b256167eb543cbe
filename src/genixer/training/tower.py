"""First lessons of a vision tower: what covers each cell, where its corners are, how it looks.

The language model then starts from cells that can be read, which is most of what it has to wait for
otherwise. The projector is left alone: taught to look like the words that name them, cells lose
what else they hold (their place, the background).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from genixer.data import ImageRef, random_for
from genixer.frames import box_to_frame
from genixer.training.cells import Region, covered_by

if TYPE_CHECKING:
    from genixer.models.llava import LoadedModel

__all__ = ["TowerSchedule", "train_tower"]


_PIECE = 4


class TowerSchedule(BaseModel):
    """How long the tower learns by itself before the language model joins in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(0, ge=0)
    images_per_step: int = Field(32, ge=1)
    lr: float = 2e-3
    precision: Literal["fp32", "bf16"] = "fp32"
    """As in `genixer.training.run.Schedule`."""
    box_weight: float = 0.25
    """Weight of the corners' error against the naming error."""
    recall: float = Field(0.5, ge=0.0)
    """Weight of the error with which a cell gives back its own piece of the picture.

    Without it the tower learns to drop whatever has no name: backgrounds are then lost for good.
    """


def train_tower(
    model: LoadedModel,
    pictures: Sequence[tuple[ImageRef, Sequence[Region]]],
    schedule: TowerSchedule,
    images: Path,
    seed: int,
    log: Callable[[dict[str, Any]], None],
) -> None:
    """Train the tower of `model` in place, with a head that is thrown away.

    Same arguments and thread count, same weights.
    """
    names = sorted({name for _, regions in pictures for name, _ in regions})
    lesson = _Lesson(model, len(names), seed)
    number = {name: n for n, name in enumerate(names, start=1)}
    parameters = lesson.parameters()
    optimiser = torch.optim.AdamW(parameters, lr=schedule.lr, weight_decay=0.05)
    plan = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, schedule.lr, schedule.steps, pct_start=0.1
    )
    rng = random_for(seed, "tower", "order")
    every = max(1, schedule.steps // 20)
    for step in range(1, schedule.steps + 1):
        batch = [pictures[rng.randrange(len(pictures))] for _ in range(schedule.images_per_step)]
        targets = [_targets(model, ref, regions, number) for ref, regions in batch]
        name, box = (torch.stack(part) for part in zip(*targets, strict=True))
        with torch.autocast("cpu", torch.bfloat16, enabled=schedule.precision == "bf16"):
            pixels = model.read_pixels(images, [ref.path for ref, _ in batch])
            scores, corners, pieces = lesson(pixels)
        covered = name > 0
        naming = _naming(scores.float(), name, covered)
        placing = _placing(corners.float()[covered], box[covered])
        optimiser.zero_grad(set_to_none=True)
        recalling = nn.functional.mse_loss(pieces.float(), lesson.pieces(pixels))
        loss = naming + schedule.box_weight * placing
        if schedule.recall:
            loss = loss + schedule.recall * recalling
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        plan.step()
        if step % every == 0 or step == schedule.steps:
            said = scores.argmax(-1) == name
            log(
                {
                    "phase": "tower",
                    "step": step,
                    "loss": round(float(naming.detach()), 4),
                    "named": round(float(said[covered].float().mean()), 4),
                    "corner_error": round(
                        float((corners[covered] - box[covered]).detach().abs().mean()), 4
                    ),
                    "recall_error": round(float(recalling.detach()), 4),
                }
            )
    lesson.close()


class _Lesson:
    """A tower with heads that are thrown away.

    What covers a cell, that thing's corners, and the cell's own piece of the picture, 4 x 4 px.
    """

    def __init__(self, model: LoadedModel, names: int, seed: int) -> None:
        self.tower: Any = model.model.model.vision_tower
        width = self.tower.config.hidden_size
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.names = nn.Linear(width, names + 1)
            self.corners = nn.Sequential(nn.Linear(width, 192), nn.GELU(), nn.Linear(192, 4))
            self.recall = nn.Linear(width, 3 * _PIECE * _PIECE)
        for parameter in self.tower.parameters():
            parameter.requires_grad_(True)
        self.tower.learn_statistics = True
        self.tower.train()
        self.tower.to(memory_format=torch.channels_last)

    def parameters(self) -> list[nn.Parameter]:
        """Everything that learns here."""
        parts = (self.tower, self.names, self.corners, self.recall)
        return [parameter for part in parts for parameter in part.parameters()]

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of names [N, cells, names + 1], corners [N, cells, 4] in [0, 1], and pieces."""
        cells = self.tower(pixels).last_hidden_state
        return self.names(cells), self.corners(cells).sigmoid(), self.recall(cells)

    def pieces(self, pixels: Tensor) -> Tensor:
        """The picture's piece in every cell, shrunk to 4 x 4 px: [N, cells, 48]."""
        side = self.tower.config.image_size // 2 ** len(self.tower.config.widths)
        small = nn.functional.adaptive_avg_pool2d(pixels, side * _PIECE)
        return nn.functional.unfold(small, _PIECE, stride=_PIECE).transpose(1, 2)

    def close(self) -> None:
        """Fix the batch statistics: a picture's cells no longer depend on its neighbours."""
        self.tower.learn_statistics = False
        self.tower.eval()


def _naming(scores: Tensor, target: Tensor, covered: Tensor) -> Tensor:
    """Cross-entropy of each cell's name [N, cells, names + 1]; empty cells weigh a tenth.

    Four cells of five are empty: unweighted, the tower first learns to say so and little else.
    """
    losses = nn.functional.cross_entropy(scores.transpose(1, 2), target, reduction="none")
    weight = torch.where(covered, 1.0, 0.1)
    return (losses * weight).sum() / weight.sum()


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
    model: LoadedModel, ref: ImageRef, regions: Sequence[Region], number: Mapping[str, int]
) -> tuple[Tensor, Tensor]:
    """For each cell, in reading order: the name of what it shows [cells], and its corners.

    Names are numbers from 1, 0 where there is nothing. Corners [cells, 4] are in the model's frame,
    zeros where there is no object.
    """
    place = covered_by(model, ref, regions)
    frame, size = model.preset.frame, (ref.width, ref.height)
    # One row more, for the cells of number -1.
    names = torch.tensor([*(number[name] for name, _ in regions), 0])
    boxes = torch.tensor([*(box_to_frame(box, frame, *size) for _, box in regions), (0.0,) * 4])
    return names[place], boxes[place]
