"""The training loop: loss on answers only, and a stop when it is not a number."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from genixer.data import ImageRef
from genixer.errors import GenixerError
from genixer.training import attention
from genixer.training.attention import layout_of
from genixer.training.batch import Batch, Conversation, Visit, collate, plan_visits

if TYPE_CHECKING:
    from genixer.models.llava import LoadedModel

__all__ = ["BadLossError", "Schedule", "loss_of", "train"]


class BadLossError(GenixerError):
    """The loss became NaN or infinite; the message names the step and the rows of the batch."""

    exit_code = 8


class Schedule(BaseModel):
    """How long and how fast to train."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(200, ge=1)
    """Optimiser steps."""
    images_per_step: int = Field(8, ge=1)
    """Images in a batch."""
    conversations_per_image: int = Field(8, ge=1)
    """Conversations read off an image at one visit."""
    lr: float = 1e-3
    """Peak learning rate of everything but the vision tower."""
    tower_lr: float = 0.0
    """Peak learning rate of the vision tower; 0 freezes it."""
    warmup: float = 0.03
    """Share of the steps over which the rate rises from 0; afterwards it falls as a cosine."""
    weight_decay: float = 0.05
    clip: float = 1.0
    """Largest norm of the gradient."""
    length_power: float = 0.5
    """0: every token counts the same; 1: every conversation does."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16` computes matrix products in bfloat16 (weights stay float32).

    Twice as fast where the CPU has AMX.
    """
    weights: dict[str, float] = {}
    """How often `purpose/task/kind` is drawn against the others, default 1."""


def loss_of(model: LoadedModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """Sum of weighted token losses and sum of weights, of one batch."""
    language = model.model.model.language_model
    usual = language.config._attn_implementation
    language.set_attn_implementation(attention.NAME)
    hidden = model.model.model(
        input_ids=batch.input_ids,
        pixel_values=batch.pixel_values,
        # A mask in its final shape is passed on unread; `layout` says who sees whom.
        attention_mask=torch.zeros(1, 1, 1, 1),
        layout=layout_of(batch.segment_ids),
        position_ids=batch.position_ids,
        use_cache=False,
    ).last_hidden_state
    language.set_attn_implementation(usual)
    # Position t predicts token t + 1. A conversation's first token is the user's, so no prediction
    # crosses over.
    targets, weight = batch.labels[:, 1:], batch.loss_weight[:, 1:]
    where = targets >= 0
    logits = model.model.lm_head(hidden[:, :-1][where])
    losses = nn.functional.cross_entropy(logits.float(), targets[where], reduction="none")
    chosen = weight[where]
    return (losses * chosen).sum(), chosen.sum()


def train(
    model: LoadedModel,
    by_image: Mapping[ImageRef, Sequence[Conversation]],
    schedule: Schedule,
    images: Path,
    seed: int,
    log: Callable[[dict[str, Any]], None],
) -> None:
    """Train `model` in place for `schedule.steps`; `log` gets a line at regular steps.

    Deterministic: same arguments and thread count, same weights. Raises `BadLossError` at the first
    loss that is not a number, before it reaches the weights.
    """
    tower = list(model.model.model.vision_tower.parameters())
    names = {id(p) for p in tower}
    rest = [p for p in model.model.parameters() if id(p) not in names]
    for parameter in tower:
        parameter.requires_grad_(schedule.tower_lr > 0)
    groups = [{"params": rest, "peak": schedule.lr}]
    if schedule.tower_lr > 0:
        groups.append({"params": tower, "peak": schedule.tower_lr})
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=schedule.weight_decay)
    visits = plan_visits(by_image, schedule.conversations_per_image, schedule.weights, seed)
    model.model.train()
    model.model.model.vision_tower.to(memory_format=torch.channels_last)
    started, every = time.monotonic(), max(1, schedule.steps // 100)
    tokens, running = 0, 0.0
    for step in range(1, schedule.steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * rate(step, schedule)
        batch = collate(
            _take(visits, schedule.images_per_step), model, images, schedule.length_power
        )
        loss = _step(model, optimiser, batch, schedule, step)
        tokens += int((batch.segment_ids >= 0).sum())
        running = loss if step == 1 else 0.95 * running + 0.05 * loss
        if step % every == 0 or step == schedule.steps:
            seconds = time.monotonic() - started
            log(
                {
                    "step": step,
                    "loss": round(running, 4),
                    "lr": optimiser.param_groups[0]["lr"],
                    "tokens": tokens,
                    "tokens_per_second": round(tokens / seconds),
                }
            )
    model.model.eval()


def rate(step: int, schedule: Schedule) -> float:
    """Share of the peak learning rate at `step` (from 1).

    It rises linearly, then falls as a cosine to a twentieth.

    >>> rate(50, Schedule(steps=100, warmup=0.5)), round(rate(100, Schedule(steps=100)), 2)
    (1.0, 0.05)
    """
    warm = max(1, round(schedule.warmup * schedule.steps))
    if step <= warm:
        return step / warm
    done = (step - warm) / max(1, schedule.steps - warm)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))


def _take(visits: Iterator[Visit], count: int) -> list[Visit]:
    return list(islice(visits, count))


def _step(
    model: LoadedModel,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    schedule: Schedule,
    step: int,
) -> float:
    with torch.autocast("cpu", torch.bfloat16, enabled=schedule.precision == "bf16"):
        total, weight = loss_of(model, batch)
    loss = total / weight
    value = float(loss.detach())
    if not math.isfinite(value):
        rows = ", ".join(batch.row_ids[:8])
        raise BadLossError(
            f"step {step}: loss is {value}; rows of the batch: {rows}...; "
            "lower the learning rate or look at these rows"
        )
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.model.parameters(), schedule.clip)
    optimiser.step()
    return value
