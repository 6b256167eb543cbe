"""What `genixer plan` says of a training before anything is there: steps, tokens, memory, hours.

Loads no torch.
"""

from __future__ import annotations

import json
from typing import Literal

import msgspec

from genixer.errors import ConfigError
from genixer.models.base import PRESET_FILE, Preset, load_preset, weights_folder
from genixer.training.costs import Setup, Shape, hours, memory, shape_of
from genixer.training.schedule import Schedule

__all__ = ["Forecast", "Means", "Rows", "forecast", "preset_of", "rows_of"]

Parallel = Literal["ddp", "fsdp", "zero2", "zero3"]

_AROUND = {"marks": 1, "vicuna_v1": 40}
"""Tokens of system words and marks before a conversation, its image left out, by style."""


class Forecast(msgspec.Struct, frozen=True):
    """Optimiser `steps`, `tokens` read, and `notes` for people: a line each."""

    steps: int
    tokens: int
    notes: tuple[str, ...]


def preset_of(model: str, preset: str) -> Preset | None:
    """The preset of a model to start from; None where a step of the run is to make it first."""
    if preset:
        return load_preset(preset)
    if model.startswith("new:"):
        return load_preset(model[4:])
    if model.startswith("@"):
        return None
    try:
        written = json.loads((weights_folder(model) / PRESET_FILE).read_text(encoding="utf-8"))
    except (ConfigError, OSError, json.JSONDecodeError):
        return None
    return Preset.model_validate(written)


class Means(msgspec.Struct, frozen=True):
    """On what a training runs."""

    processes: int = 1
    parallel: Parallel = "ddp"
    spoken: int = 25
    """Tokens of a conversation, its image left out."""
    tokens_per_second: float = 0.0
    """Of one device; 0 where nobody knows."""
    stored: int = 4
    """Bytes of a number of the weights as they are loaded."""


class Rows(msgspec.Struct, frozen=True):
    """What is reckoned with: the model's shape, and how long its rows are.

    `around` are the tokens of image, system words and marks before the first conversation, `most`
    those that a row may have. `joined`: the conversations of an image share one row.
    """

    shape: Shape
    around: int
    most: int
    joined: bool = True


def rows_of(preset: Preset, most: int = 0) -> Rows:
    """Rows of a model of `preset`, of at most `most` tokens; 0: the preset's."""
    around = preset.image_tokens + _AROUND[preset.prompt.style]
    return Rows(shape_of(preset), around, most or preset.max_tokens)


def forecast(schedule: Schedule, reads: Rows, rows: int, means: Means | None = None) -> Forecast:
    """Of a training on `rows` conversations.

    >>> recipe = Schedule(epochs=1, order="grouped", images_per_step=128, conversations_per_image=1)
    >>> forecast(recipe, rows_of(load_preset("genixer_l")), rows=728_000).steps
    5688
    """
    means = means or Means()
    visits = -(-rows // schedule.conversations_per_image)
    in_epochs = -(-visits * schedule.epochs // schedule.images_per_step)
    steps = in_epochs if schedule.epochs else schedule.steps
    apart = 1 if reads.joined else schedule.conversations_per_image
    length = reads.around + means.spoken * schedule.conversations_per_image // apart
    tokens = steps * schedule.images_per_step * apart * length
    if schedule.epochs and schedule.order == "packed":
        # A row holds as many visits as fit.
        steps = -(-tokens // (reads.most * schedule.images_per_step))
    world = means.processes
    setup = Setup(
        trainable=schedule.trainable,
        lora_rank=schedule.lora_rank,
        lora_also=schedule.lora_also if schedule.trainable == "lora" else (),
        tower=schedule.tower_lr > 0,
        precision=schedule.precision,
        parallel=means.parallel if world > 1 else "none",
        world=world,
        rows=-(-schedule.images_per_step // (world * schedule.accumulate)) * apart,
        tokens=reads.most if schedule.order == "packed" else length,
        checkpointing=schedule.gradient_checkpointing,
        stored=means.stored,
    )
    size = f"{reads.shape.parameters.total / 1e6:,.1f} M parameters, {tokens / 1e6:,.1f} M tokens"
    notes = [
        f"{steps:,} steps of {schedule.images_per_step} rows, {size}",
        f"on each device ({world} in all) {memory(reads.shape, setup)}",
    ]
    if speed := means.tokens_per_second:
        took = hours(tokens, speed, world)
        notes.append(f"{took:,.1f} hours at {speed:,.0f} tokens a second and device")
    return Forecast(steps, tokens, tuple(notes))
