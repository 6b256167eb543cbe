"""How many weights a preset's model has, by part. Pure arithmetic: loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from genixer.models.base import Preset

__all__ = ["Sizes", "sizes_of"]


@dataclass(frozen=True)
class Sizes:
    """Weights by part, in numbers (not bytes)."""

    tower: int
    projector: int
    """Both of its layers, as they are stored."""
    projector_learned: int
    """Those of them that training moves: a `linear` one stores a second layer that never moves."""
    language: int
    """The decoder, without the words' embeddings."""
    embeddings: int
    """Of words, in and out; tied ones count once."""
    linear_sides: int
    """Inputs plus outputs of all linear layers of the decoder: an adapter of rank r has r times as
    many weights."""

    @property
    def total(self) -> int:
        """All weights of the model."""
        return self.tower + self.projector + self.language + self.embeddings


def sizes_of(preset: Preset, vocabulary: int | None = None) -> Sizes:
    """Sizes of a model of `preset` that knows `vocabulary` tokens, by default the preset's.

    >>> from genixer.models.base import load_preset
    >>> sizes_of(load_preset("llava_1_5_7b")).total
    7062902784
    """
    text = preset.text
    width, inner, layers = (
        text[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers")
    )
    heads = text["num_attention_heads"]
    head = text.get("head_dim", width // heads)
    queries, keys = heads * head, text.get("num_key_value_heads", heads) * head
    linears = [(width, queries), (width, keys), (width, keys), (queries, width)]
    linears += [(width, inner), (width, inner), (inner, width)]
    words = (preset.vocabulary if vocabulary is None else vocabulary) * width
    seen = preset.vision["hidden_size"]
    first, second = (seen + 1) * width, (width + 1) * width
    return Sizes(
        tower=_clip(preset.vision) if preset.tower == "clip" else _conv(preset.vision),
        projector=first + second,
        projector_learned=first if preset.projector == "linear" else first + second,
        language=layers * (sum(a * b for a, b in linears) + 2 * width) + width,
        embeddings=words if text.get("tie_word_embeddings", False) else 2 * words,
        linear_sides=layers * sum(a + b for a, b in linears),
    )


def _clip(vision: dict[str, Any]) -> int:
    """Weights of transformers' `CLIPVisionModel`."""
    width, inner = vision["hidden_size"], vision["intermediate_size"]
    places = (vision["image_size"] // vision["patch_size"]) ** 2 + 1
    embeddings = width * (1 + 3 * vision["patch_size"] ** 2 + places)
    attention, mlp = 4 * (width + 1) * width, (width + 1) * inner + (inner + 1) * width
    return embeddings + 4 * width + vision["num_hidden_layers"] * (attention + mlp + 4 * width)


def _conv(vision: dict[str, Any]) -> int:
    """Weights of our `ConvTower`."""
    widths, width = vision["widths"], vision["hidden_size"]
    total = 0
    for scale, (before, own) in enumerate(zip([3, *widths], widths, strict=False)):
        total += 9 * before * own + 2 * own
        total += 2 * (9 * own * own + 2 * own) if scale else 0
    last = widths[-1]
    cells = (vision["image_size"] // 2 ** len(widths)) ** 2
    mix = 2 * last + (last + 1) * 2 * width + (2 * width + 1) * width + 2 * width
    return total + cells * (last + width) + mix
