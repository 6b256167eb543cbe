"""How to train: how long, how fast, on what, in which order. Loads no torch."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Parallel", "Schedule", "rate"]

Parallel = Literal["ddp", "fsdp", "zero2", "zero3"]
"""How several processes share weights; see `genixer.training.parallel`."""


class Schedule(BaseModel):
    """How long and how fast to train, what moves, and in which order rows come."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(200, ge=1)
    """Optimiser steps."""
    epochs: int = Field(0, ge=0)
    """Rounds over all rows; above 0 it takes the place of `steps`."""
    images_per_step: int = Field(8, ge=1)
    """Rows of one optimiser step, over all processes and accumulation.

    A row is an image with conversations, or with `order: packed` as many as fit `max_tokens`.
    """
    conversations_per_image: int = Field(8, ge=1)
    """Conversations read off an image at one visit; they share its prefix."""
    order: Literal["draw", "grouped", "packed"] = "draw"
    """`draw`: images in random order, conversations by `weights`.

    `grouped`: every row once an epoch, in batches of like length, rows without an image apart.
    `packed`: every row once an epoch, several in one, without padding and without cross-talk.
    """
    max_tokens: int = Field(0, ge=0)
    """Tokens of a packed row; 0: the preset's."""
    accumulate: int = Field(1, ge=1)
    """Parts in which a process computes its share of a step, one after the other."""
    trainable: Literal["full", "projector", "lora"] = "full"
    """What moves: all but the vision tower, the projector alone, or low-rank adapters."""
    lora_rank: int = Field(128, ge=1)
    """Rank of the adapters of all linear layers of the language model."""
    lora_alpha: float = Field(256.0, gt=0)
    """Adapters are scaled by this over their rank."""
    lora_dropout: float = Field(0.05, ge=0.0, lt=1.0)
    """Share of an adapter's inputs that is dropped in training."""
    lora_also: tuple[Literal["projector", "embeddings"], ...] = ("projector",)
    """What is trained in full beside the adapters; `embeddings` are those of words in and out."""
    lr: float = 1e-3
    """Peak learning rate of the language model, and of what has no rate of its own."""
    projector_lr: float | None = None
    """Peak learning rate of the projector; `lr` where it is not set."""
    embeddings_lr: float | None = None
    """Peak learning rate of the words' embeddings, in and out; `lr` where it is not set."""
    tower_lr: float = 0.0
    """Peak learning rate of the vision tower; 0 freezes it."""
    warmup: float = 0.03
    """Share of the steps with a rising rate; then it falls as a cosine."""
    floor: float = Field(0.05, ge=0.0, le=1.0)
    """Share of the peak rate that is left at the end."""
    weight_decay: float = 0.05
    """Decoupled weight decay."""
    beta2: float = Field(0.98, gt=0.0, lt=1.0)
    """How slowly AdamW's mean of squared gradients forgets; transformers' Trainer has 0.999."""
    clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient."""
    length_power: float = 0.5
    """0: every token counts the same; 1: every conversation does."""
    question_weight: float = Field(0.0, ge=0.0)
    """What a token of the user's counts, against one of the assistant's; 0: it is not learned."""
    weights: dict[str, float] = Field(default_factory=dict)
    """How often a conversation is drawn among those of its image; images come by their number.

    A number for a purpose, purpose/task or purpose/task/kind. Those that an entry covers share it,
    however many an image has; others count 1 each."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """`bf16` and `fp16` compute matrix products in 16 bits; weights stay as they were loaded.

    `fp16` scales the loss, so that small gradients are not lost.
    """
    gradient_checkpointing: bool = False
    """Compute layers again instead of keeping what is between them: less memory, more time."""
    optimiser: Literal["adamw", "muon"] = "adamw"
    """`muon` for the matrices of the language model and projector learns in fewer steps."""
    spread: float = Field(0.0, ge=0.0, le=10.0)
    """Printed steps (standard deviation) over which a coordinate's neighbours are nearly right."""
    cells: float = Field(0.0, ge=0.0)
    """What a cell that shows a thing counts, against an answer of one token; needs `regions`.

    The language model then also learns to say at each image token what is there.
    """
    lanes: int = Field(1, ge=1)
    """Parts of a batch computed side by side, each with the run's `threads`."""
    loaders: int = Field(0, ge=0)
    """Threads that make the next batches ready while a step is computed; worth it beside a GPU."""
    save_every: int = Field(500, ge=0)
    """Steps between checkpoints, from which a killed training goes on; 0 writes none."""
    keep: int = Field(2, ge=1)
    """Checkpoints that are kept while training goes on."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.trainable == "lora" and self.lora_dropout and self.lanes > 1:
            raise ValueError("lanes draw from one generator: with lora_dropout, set lanes: 1")
        if self.trainable == "lora" and self.optimiser == "muon":
            raise ValueError("optimiser: muon is for whole matrices, not adapters; use adamw")
        if self.trainable != "full" and self.tower_lr:
            raise ValueError(f"tower_lr: the tower stays frozen with trainable: {self.trainable}")
        if self.order != "draw" and self.weights:
            raise ValueError("weights are for order: draw; in an epoch every row comes once")
        return self


def rate(step: int, schedule: Schedule, steps: int | None = None) -> float:
    """Share of the peak learning rate at `step` (from 1) of `steps`, by default the schedule's.

    It rises linearly, then falls as a cosine to `schedule.floor`.

    >>> rate(50, Schedule(steps=100, warmup=0.5)), round(rate(100, Schedule(steps=100)), 2)
    (1.0, 0.05)
    """
    steps = schedule.steps if steps is None else steps
    warm = max(1, round(schedule.warmup * steps))
    if step <= warm:
        return step / warm
    done = (step - warm) / max(1, steps - warm)
    low = schedule.floor
    return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * done))
