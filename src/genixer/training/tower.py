"""First lessons of a vision tower and its projector.

They say for every cell which object covers it, and where that object's corners are.

A cell is taught to look like the words that name what covers it: its projected vector is scored
against the language model's own word vectors. A question's words then find their cells by likeness,
which is what a small model otherwise spends most of its training on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    """How long the tower learns by itself before the language model joins in."""

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
    >>> image = ImageRef("a.png", 1, 1, "")
    >>> sample = Sample.of("dense_caption", image, (turn,), Origin("x"))
    >>> [name for name, _ in regions_of(sample)]
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
    """Train the tower of `model` in place, with a head that is thrown away.

    Same arguments and thread count, same weights.
    """
    lesson = _Lesson(model, seed)
    parameters = lesson.parameters()
    optimiser = torch.optim.AdamW(parameters, lr=schedule.lr, weight_decay=0.05)
    plan = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, schedule.lr, schedule.steps, pct_start=0.1
    )
    words = {
        name: lesson.words(name) for name in {n for _, regions in pictures for n, _ in regions}
    }
    rng = random_for(seed, "tower", "order")
    every = max(1, schedule.steps // 20)
    for step in range(1, schedule.steps + 1):
        batch = [pictures[rng.randrange(len(pictures))] for _ in range(schedule.images_per_step)]
        targets = [_targets(model, ref, regions, words) for ref, regions in batch]
        name, box = (torch.stack(part) for part in zip(*targets, strict=True))
        with torch.autocast("cpu", torch.bfloat16, enabled=schedule.precision == "bf16"):
            scores, corners = lesson(model.pixels([open_image(images, r.path) for r, _ in batch]))
        covered = box[..., 2] > 0
        naming = _naming(scores.float(), name, covered)
        placing = _placing(corners.float()[covered], box[covered])
        optimiser.zero_grad(set_to_none=True)
        (naming + schedule.box_weight * placing).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        plan.step()
        if step % every == 0 or step == schedule.steps:
            said = name.gather(-1, scores.argmax(-1, keepdim=True))[..., 0] > 0
            log(
                {
                    "phase": "tower",
                    "step": step,
                    "loss": round(float(naming.detach()), 4),
                    "named": round(float(said[covered].float().mean()), 4),
                    "corner_error": round(
                        float((corners[covered] - box[covered]).detach().abs().mean()), 4
                    ),
                }
            )
    lesson.close()


class _Lesson:
    """Tower, projector and word vectors, with a head for corners that is thrown away."""

    def __init__(self, model: LoadedModel, seed: int) -> None:
        core = model.model.model
        self.model, self.tower, self.projector = (
            model,
            core.vision_tower,
            core.multi_modal_projector,
        )
        self.vectors = core.get_input_embeddings().weight
        width = self.vectors.shape[1]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.corners = nn.Sequential(nn.Linear(width, 192), nn.GELU(), nn.Linear(192, 4))
        for parameter in self.tower.parameters():
            parameter.requires_grad_(True)
        self.tower.learn_statistics = True
        self.tower.train()
        self.tower.to(memory_format=torch.channels_last)

    def parameters(self) -> list[nn.Parameter]:
        """Everything that learns here."""
        parts = (self.tower, self.projector, self.corners)
        return [*(p for part in parts for p in part.parameters()), self.vectors]

    def words(self, name: str) -> list[int]:
        """Ids of the words of `name` as they stand inside a sentence."""
        return self.model.encode_text(" " + name)

    def __call__(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Word scores [N, cells, V] and corners [N, cells, 4] in [0, 1]."""
        cells = self.projector(self.tower(pixels).last_hidden_state)
        return cells @ self.vectors.T, self.corners(cells).sigmoid()

    def close(self) -> None:
        """Fix the batch statistics: a picture's cells no longer depend on its neighbours."""
        self.tower.learn_statistics = False
        self.tower.eval()


def _naming(scores: Tensor, target: Tensor, covered: Tensor) -> Tensor:
    """Cross-entropy against the words of each cell [N, cells, V]; empty cells weigh a tenth.

    Four cells of five are empty: unweighted, the tower first learns to say so and little else.
    """
    losses = -(target * scores.log_softmax(-1)).sum(-1)
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
    model: LoadedModel, ref: ImageRef, regions: Sequence[Region], words: Mapping[str, list[int]]
) -> tuple[Tensor, Tensor]:
    """For each cell, in reading order: the words of the object over its centre, and its corners.

    Words are shares [cells, V] that sum to one; a cell without an object has the begin token.
    Corners [cells, 4] are in the model's frame, zeros where there is no object.
    """
    side = round(model.preset.image_tokens**0.5)
    word = torch.zeros(side, side, len(model.tokenizer))
    word[..., model.begin_id] = 1.0
    box = torch.zeros(side, side, 4)
    centre = (torch.arange(side) + 0.5) / side
    for name, region in regions:
        x0, y0, x1, y1 = box_to_frame(region, model.preset.frame, ref.width, ref.height)
        inside = ((centre > y0) & (centre < y1))[:, None] & ((centre > x0) & (centre < x1))[None, :]
        share = torch.zeros(len(model.tokenizer))
        for token in words[name]:
            share[token] += 1.0 / len(words[name])
        word[inside] = share
        box[inside] = torch.tensor([x0, y0, x1, y1])
    return word.flatten(0, 1), box.flatten(0, 1)
