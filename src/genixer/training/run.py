"""The training loop: loss on answers only, and a stop when it is not a number."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from genixer.data import ImageRef
from genixer.errors import GenixerError
from genixer.training import attention
from genixer.training.attention import layout_of
from genixer.training.batch import Batch, Conversation, Visit, collate, plan_visits
from genixer.training.cells import Region
from genixer.training.spread import Spread, spread_of

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
    optimiser: Literal["adamw", "muon"] = "adamw"
    """`muon` orthogonalises the steps of the language model's and the projector's matrices.

    All else, vectors, words and tower, moves by `adamw`.
    """
    spread: float = Field(0.0, ge=0.0, le=10.0)
    """Steps over which a coordinate's neighbours count as nearly right; see `training.spread`."""
    cells: float = Field(0.0, ge=0.0)
    """What a cell that shows a thing counts, against an answer of one token.

    The language model says at each image token what is there: its name and its corners.
    """
    lanes: int = Field(1, ge=1)
    """Parts of a batch computed side by side, each by a thread of its own."""
    weights: dict[str, float] = {}
    """How often conversations are drawn; see `genixer.training.batch.plan_visits`."""


def loss_of(model: LoadedModel, batch: Batch, spread: float = 0.0) -> tuple[Tensor, Tensor]:
    """Sum of weighted token losses and sum of weights, of one batch."""
    with _shared_prefix(model):
        return _loss_of(model, batch, spread_of(model, spread))


@contextmanager
def _shared_prefix(model: LoadedModel) -> Iterator[None]:
    """Let the language model attend by `layout` for a while."""
    language = model.model.model.language_model
    usual = language.config._attn_implementation
    language.set_attn_implementation(attention.NAME)
    try:
        yield
    finally:
        language.set_attn_implementation(usual)


def _loss_of(
    model: LoadedModel, batch: Batch, spread: Spread, cell_weight: float = 0.0
) -> tuple[Tensor, Tensor]:
    hidden = model.model.model(
        input_ids=batch.input_ids,
        pixel_values=batch.pixel_values,
        # A mask in its final shape is passed on unread; `layout` says who sees whom.
        attention_mask=torch.zeros(1, 1, 1, 1),
        layout=layout_of(batch.segment_ids),
        position_ids=batch.position_ids,
        use_cache=False,
    ).last_hidden_state
    # Position t predicts token t + 1. A conversation's first token is the user's, so no prediction
    # crosses over.
    targets, weight = batch.labels[:, 1:], batch.loss_weight[:, 1:]
    where = targets >= 0
    logits = model.model.lm_head(hidden[:, :-1][where])
    chosen = weight[where]
    loss, weights = (spread.loss(logits, targets[where]) * chosen).sum(), chosen.sum()
    if batch.cells is None or not cell_weight:
        return loss, weights
    seen = hidden[batch.input_ids == model.image_id].view(
        len(batch.cells.region), -1, hidden.shape[-1]
    )
    covered = batch.cells.region >= 0
    told = batch.cells.loss(model.model.lm_head(seen[covered]).float(), spread)
    return loss + cell_weight * told, weights + cell_weight * covered.sum()


def train(
    model: LoadedModel,
    by_image: Mapping[ImageRef, Sequence[Conversation]],
    schedule: Schedule,
    images: Path,
    seed: int,
    log: Callable[[dict[str, Any]], None],
    threads: int = 1,
    regions: Mapping[ImageRef, Sequence[Region]] | None = None,
) -> None:
    """Train `model` in place for `schedule.steps`; `log` gets a line at regular steps.

    `regions` tell what images show, for `schedule.cells`. Each of `schedule.lanes` computes with
    `threads` threads. Deterministic: same arguments, same weights. Raises `BadLossError` at the
    first loss that is not a number, before it reaches the weights.
    """
    optimisers = _optimisers(model, schedule)
    visits = plan_visits(
        by_image, schedule.conversations_per_image, schedule.weights, seed, regions
    )
    model.model.train()
    model.model.model.vision_tower.to(memory_format=torch.channels_last)
    every = max(1, schedule.steps // 100)
    tokens, running = 0, 0.0
    torch.set_num_threads(threads)
    with _shared_prefix(model), _Lanes(model, schedule, images, threads) as lanes:
        started = time.monotonic()
        for step in range(1, schedule.steps + 1):
            share = rate(step, schedule)
            found = lanes.gradients(list(islice(visits, schedule.images_per_step)), step)
            nn.utils.clip_grad_norm_(model.model.parameters(), schedule.clip)
            for optimiser in optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = group["peak"] * share
            lanes.move(optimisers)
            tokens += found.tokens
            running = found.loss if step == 1 else 0.95 * running + 0.05 * found.loss
            if step % every == 0 or step == schedule.steps:
                log(
                    {
                        "step": step,
                        "loss": round(running, 4),
                        "lr": schedule.lr * share,
                        "tokens": tokens,
                        "tokens_per_second": round(tokens / (time.monotonic() - started)),
                    }
                )
    model.model.eval()


def _optimisers(model: LoadedModel, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """What moves the weights; with `tower_lr` 0 the tower is frozen."""
    core = model.model.model
    tower = list(core.vision_tower.parameters())
    for parameter in tower:
        parameter.requires_grad_(schedule.tower_lr > 0)
    matrices: list[nn.Parameter] = []
    if schedule.optimiser == "muon":
        parts = (core.language_model.layers, core.multi_modal_projector)
        matrices = [p for part in parts for p in part.parameters() if p.ndim == 2]
    apart = {id(p) for p in (*tower, *matrices)}
    rest = [p for p in model.model.parameters() if id(p) not in apart]
    groups: list[dict[str, Any]] = [{"params": rest, "peak": schedule.lr}]
    if schedule.tower_lr > 0:
        groups.append({"params": tower, "peak": schedule.tower_lr})
    decay = schedule.weight_decay
    found: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=decay)
    ]
    if matrices:
        group = {"params": matrices, "peak": schedule.lr}
        found.append(torch.optim.Muon([group], weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    return found


class _Found(NamedTuple):
    """What a step found: its loss and how many tokens it read."""

    loss: float
    tokens: int


class _Lanes:
    """Computes gradients of a batch in parts, side by side, a thread each.

    Two threads that each run half a batch finish sooner than one run that two threads share,
    because little of a small model's work can be shared. The parts are added in a fixed order.
    """

    def __init__(self, model: LoadedModel, schedule: Schedule, images: Path, threads: int) -> None:
        self._model, self._schedule, self._images = model, schedule, images
        self._spread = spread_of(model, schedule.spread)
        self._parameters = [p for p in model.model.parameters() if p.requires_grad]
        self._pool = ThreadPoolExecutor(
            schedule.lanes, "lane", initializer=torch.set_num_threads, initargs=(threads,)
        )

    def __enter__(self) -> _Lanes:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def gradients(self, visits: Sequence[Visit], step: int) -> _Found:
        """Set every parameter's gradient of the mean weighted loss over `visits`."""
        count = min(self._schedule.lanes, len(visits))
        parts = list(self._pool.map(self._part, [visits[lane::count] for lane in range(count)]))
        weight = sum(part.weight for part in parts)
        loss = sum(part.total for part in parts) / weight
        if not math.isfinite(loss):
            ids = [one.row_id for visit in visits for one in visit.conversations]
            raise BadLossError(
                f"step {step}: loss is {loss}; rows of the batch: {', '.join(ids[:8])}...; "
                "lower the learning rate or look at these rows"
            )
        for place, parameter in enumerate(self._parameters):
            found = [part.gradients[place] for part in parts]
            parameter.grad = sum(found[1:], found[0]) / weight
        return _Found(loss, sum(part.tokens for part in parts))

    def move(self, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        """Let every optimiser take its step; no two move the same weights."""
        list(self._pool.map(lambda one: one.step(), optimisers))

    def _part(self, visits: Sequence[Visit]) -> _Part:
        schedule = self._schedule
        batch = collate(visits, self._model, self._images, schedule.length_power)
        # No cache: it is one for all threads, and a lane must not differentiate another's casts.
        half = schedule.precision == "bf16"
        with torch.autocast("cpu", torch.bfloat16, enabled=half, cache_enabled=False):
            total, weight = _loss_of(self._model, batch, self._spread, schedule.cells)
        gradients = torch.autograd.grad(total, self._parameters, materialize_grads=True)
        tokens = int((batch.segment_ids >= 0).sum())
        return _Part(float(total.detach()), float(weight), gradients, tokens)


class _Part(NamedTuple):
    """What one lane found: summed weighted loss, summed weights, and the former's gradients."""

    total: float
    weight: float
    gradients: tuple[Tensor, ...]
    tokens: int


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
