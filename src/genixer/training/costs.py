"""What a training will take: steps, tokens, memory of each device. Arithmetic; loads no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from genixer.models.base import Preset
from genixer.models.sizes import Sizes, sizes_of

__all__ = ["Plan", "learned_weights", "memory_of", "steps_of"]

_FULL = 4
"""Bytes of a float32."""
_FULLNESS = 0.95
"""Share of a packed row that is no padding, on lengths like LLaVA's; `benchmarks/packing.py`."""


@dataclass(frozen=True)
class Plan:
    """The choices that decide steps and memory, in the words of the stage `train`."""

    preset: Preset
    trainable: Literal["full", "projector", "lora"] = "full"
    lora_rank: int = 128
    lora_also: tuple[str, ...] = ("projector",)
    tower_learns: bool = False
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of matrix products; weights, gradients and optimiser are float32."""
    parallel: Literal["ddp", "fsdp", "zero2", "zero3"] = "ddp"
    processes: int = 1
    """Devices, one a process."""
    rows: int = 8
    """Rows that a device holds at once: those of a step over processes and accumulation."""
    tokens: int = 2048
    """Tokens of the longest row."""
    gradient_checkpointing: bool = False


def learned_weights(plan: Plan) -> int:
    """How many weights training moves.

    >>> from genixer.models.base import load_preset
    >>> learned_weights(Plan(load_preset("llava_1_5_7b"), "projector"))
    20979712
    """
    sizes = sizes_of(plan.preset)
    if plan.trainable == "projector":
        return sizes.projector_learned
    if plan.trainable == "full":
        tower = sizes.tower if plan.tower_learns else 0
        return tower + sizes.projector_learned + sizes.language + sizes.embeddings
    also = {"projector": sizes.projector_learned, "embeddings": sizes.embeddings}
    return plan.lora_rank * sizes.linear_sides + sum(also[name] for name in plan.lora_also)


def memory_of(plan: Plan) -> dict[str, int]:
    """Bytes on each device by what they hold: weights, gradients, optimiser, activations.

    `ddp` holds everything on each device, `zero2` cuts gradients and optimiser among them, `zero3`
    and `fsdp` the weights too. Adam keeps two numbers a learned weight. Activations are those of a
    batch of longest rows, so the most there can be; what libraries keep for themselves is not in
    them.
    """
    sizes, learned = sizes_of(plan.preset), learned_weights(plan)
    adapters = plan.lora_rank * sizes.linear_sides if plan.trainable == "lora" else 0
    # Adapted models keep the weights that they copied to train in full.
    copied = learned - adapters if plan.trainable == "lora" else 0
    whole = sizes.total + adapters + copied
    share = 1 if plan.parallel == "ddp" else plan.processes
    weights = whole * _FULL
    if plan.parallel in ("zero3", "fsdp"):
        # While a layer computes, its weights are there in full, and the next one's are coming.
        layer = sizes.language // plan.preset.text["num_hidden_layers"]
        weights = -(-weights // share) + (2 * layer * _FULL if share > 1 else 0)
    return {
        "weights": weights,
        "gradients": -(-learned * _FULL // share),
        "optimiser": -(-2 * learned * _FULL // share),
        "activations": _activations(plan, sizes),
    }


def _activations(plan: Plan, sizes: Sizes) -> int:
    """Bytes that are kept from the forward pass for the backward pass.

    Attention is taken to keep no table of all pairs of tokens.
    """
    text = plan.preset.text
    width, inner, layers = (
        text[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers")
    )
    heads = text["num_attention_heads"]
    keys = width * text.get("num_key_value_heads", heads) // heads
    half = _FULL if plan.precision == "fp32" else 2
    # Two norms of float32, what goes into attention and comes out of it, four widths of the MLP.
    layer = 4 * width * _FULL + half * (4 * width + 2 * keys + 4 * inner)
    tokens = plan.rows * plan.tokens
    # Logits, their rounded copy and the probabilities, of the tokens that are words.
    words = max(1, plan.tokens - plan.preset.image_tokens) * plan.rows
    head = words * plan.preset.vocabulary * (2 * _FULL + half)
    if plan.gradient_checkpointing:
        return tokens * (layers * width * _FULL + layer) + head
    # Weights rounded for a product are kept until it has been differentiated.
    rounded = 0 if half == _FULL else half * sizes.language
    return tokens * layers * layer + head + rounded


def steps_of(
    rows: int, epochs: int, rows_per_step: int, tokens_per_row: float = 0.0, packed_to: int = 0
) -> int:
    """Optimiser steps of so many epochs over `rows`; packed rows hold up to `packed_to` tokens.

    >>> steps_of(1_000_000, 1, 128), steps_of(1000, 2, 10, tokens_per_row=500, packed_to=2000)
    (7813, 54)
    """
    if packed_to:
        rows = math.ceil(rows * tokens_per_row / (packed_to * _FULLNESS))
    return math.ceil(rows / rows_per_step) * epochs
