"""What a training takes: parameters, memory of each device, tokens and hours, from sizes alone.

Loads no torch and no weights. Parameters are exact. Memory is what must be there: weights,
gradients, the optimiser's moments, and what is kept between layers for the way back; a library's
own buffers and a fragmented heap come on top, count a tenth more.

Letters: D features of the decoder, V vocabulary, I width of its inner layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from genixer.models.base import Preset

__all__ = [
    "Decoder",
    "Memory",
    "Parameters",
    "Setup",
    "Shape",
    "clip",
    "hours",
    "linear",
    "memory",
    "shape_of",
]

_GIB = 1 << 30


class Parameters(msgspec.Struct, frozen=True):
    """How many numbers each part of a model has.

    >>> Parameters(tower=1, projector=2, embeddings=3, decoder=4).total
    10
    """

    tower: int
    projector: int
    embeddings: int
    """Of words, in and out; counted once where they are tied."""
    decoder: int
    fixed: int = 0
    """Those of the projector that are written out and never learned."""

    @property
    def total(self) -> int:
        """Of the whole model."""
        return self.tower + self.projector + self.embeddings + self.decoder + self.fixed


class Setup(msgspec.Struct, frozen=True):
    """How a model is trained, as far as memory goes."""

    trainable: Literal["full", "projector", "lora"] = "full"
    lora_rank: int = 128
    lora_also: tuple[str, ...] = ()
    """Of `projector` and `embeddings`, what is trained in full beside adapters."""
    tower: bool = False
    """Whether the tower learns too."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    parallel: Literal["none", "ddp", "fsdp", "zero2", "zero3"] = "none"
    world: int = 1
    """Devices."""
    rows: int = 1
    """Rows on a device at once."""
    tokens: int = 2048
    """Tokens of a row."""
    checkpointing: bool = False
    """Whether layers are computed again on the way back."""
    stored: int = 4
    """Bytes of a number of the weights as they are loaded, and of its gradient and moments."""
    answers: float = 0.25
    """Share of the tokens that are answers: only these are weighed against the vocabulary."""


class Memory(msgspec.Struct, frozen=True):
    """Bytes on each device."""

    weights: int
    gradients: int
    optimiser: int
    activations: int

    @property
    def total(self) -> int:
        """All four."""
        return self.weights + self.gradients + self.optimiser + self.activations

    def __str__(self) -> str:
        parts = zip(self.__struct_fields__, msgspec.structs.astuple(self), strict=True)
        said = ", ".join(f"{name} {size / _GIB:.1f}" for name, size in parts)
        return f"{self.total / _GIB:.1f} GiB ({said})"


class Decoder(msgspec.Struct, frozen=True):
    """Sizes of the language model."""

    width: int
    """D."""
    inner: int
    """I."""
    layers: int
    heads: int
    """Features of all query heads."""
    shared: int
    """Features of all key heads, which several query heads may share."""
    tied: bool = False
    """Whether the words' embeddings are the same going in and out."""
    extra: int = 0
    """Numbers of a layer that are in no matrix."""

    @classmethod
    def of(cls, text: Mapping[str, Any], **known: Any) -> Decoder:
        """From the words of a config."""
        width, heads = int(text["hidden_size"]), int(text["num_attention_heads"])
        head = int(text.get("head_dim") or width // heads)
        return cls(
            width=width,
            inner=int(text["intermediate_size"]),
            layers=int(text["num_hidden_layers"]),
            heads=head * heads,
            shared=head * int(text.get("num_key_value_heads", heads)),
            **{"tied": bool(text.get("tie_word_embeddings", False)), "extra": 2 * width, **known},
        )

    @property
    def linears(self) -> int:
        """Numbers in the matrices of a layer."""
        return 2 * self.width * (self.heads + self.shared) + 3 * self.width * self.inner

    @property
    def total(self) -> int:
        """Numbers of all layers and the norm behind them."""
        return self.layers * (self.linears + self.extra) + self.width


class Shape(msgspec.Struct, frozen=True):
    """What of a model its costs follow from."""

    parameters: Parameters
    decoder: Decoder
    vocabulary: int


def shape_of(preset: Preset, words: int | None = None) -> Shape:
    """Shape of a model of `preset` whose tokenizer has `words` tokens; its own by default.

    >>> from genixer.models.base import load_preset
    >>> round(shape_of(load_preset("llava_1_5_7b")).parameters.total / 1e9, 2)
    7.06
    """
    text, vision = Decoder.of(preset.text), preset.vision
    seen = int(vision["hidden_size"])
    words = preset.vocabulary if words is None else words
    first, second = linear(seen, text.width), linear(text.width, text.width)
    single = preset.projector == "linear"
    found = Parameters(
        tower=clip(vision) if preset.tower == "clip" else _conv(vision),
        projector=first if single else first + second,
        embeddings=words * text.width * (1 if text.tied else 2),
        decoder=text.total,
        fixed=second if single else 0,
    )
    return Shape(found, text, words)


def memory(shape: Shape, setup: Setup) -> Memory:
    """What each device must hold at the fullest moment of a step.

    Weights, whether they learn or not, are kept as they were loaded (`stored`); those that learn
    have a gradient and two moments of that size. Where weights are cut among devices, what is
    gathered for a while counts as weights in the precision's bits: all of them with `zero2`, with
    `zero3` and `fsdp` two layers of the decoder and what lies outside of its layers.
    """
    found, decoder, stored = shape.parameters, shape.decoder, setup.stored
    moving, whole = _moving(shape, setup), found.total + _adapters(decoder, setup)
    weights, gradients, optimiser = whole * stored, moving * stored, moving * 2 * stored
    if setup.parallel in ("zero2", "zero3", "fsdp"):
        two_layers = found.total - found.decoder + 2 * found.decoder // decoder.layers
        gathered = whole if setup.parallel == "zero2" else two_layers
        size = stored if setup.precision == "fp32" else 2
        weights = weights // setup.world + gathered * size
        gradients, optimiser = gradients // setup.world, optimiser // setup.world
    return Memory(weights, gradients, optimiser, _activations(shape, setup))


def hours(tokens: int, tokens_per_second: float, world: int) -> float:
    """Hours for `tokens` at so many a second on each of `world` devices.

    >>> hours(7_200_000, 1000, 2)
    1.0
    """
    return tokens / (tokens_per_second * world) / 3600


def _moving(shape: Shape, setup: Setup) -> int:
    found = shape.parameters
    tower = found.tower if setup.tower else 0
    if setup.trainable == "projector":
        return found.projector + tower
    if setup.trainable == "lora":
        also = {"projector": found.projector, "embeddings": found.embeddings}
        beside = sum(also[name] for name in setup.lora_also)
        return _adapters(shape.decoder, setup) + beside + tower
    return found.projector + found.embeddings + found.decoder + tower


def _adapters(text: Decoder, setup: Setup) -> int:
    """Two thin matrices beside each linear layer of the decoder."""
    if setup.trainable != "lora":
        return 0
    sides = (
        2 * (text.width + text.heads)
        + 2 * (text.width + text.shared)
        + 3 * (text.width + text.inner)
    )
    return setup.lora_rank * sides * text.layers


def _activations(shape: Shape, setup: Setup) -> int:
    """What is kept between layers, and what one layer and the vocabulary need at their fullest."""
    text = shape.decoder
    size = 4 if setup.precision == "fp32" else 2
    tokens = setup.rows * setup.tokens
    # Inputs of both norms and of the projections, queries, keys and values, what is attended,
    # gate, up, their product; scores are never kept whole (fused attention).
    layer = tokens * size * (4 * text.width + 2 * text.heads + 2 * text.shared + 4 * text.inner)
    between = tokens * size * text.width
    kept = text.layers * between + layer if setup.checkpointing else text.layers * layer
    # Scores, their softmax and its gradient, in 32 bits.
    return kept + int(tokens * setup.answers) * shape.vocabulary * 4 * 3


def linear(width_in: int, width_out: int) -> int:
    """Numbers of a linear layer with a bias."""
    return width_in * width_out + width_out


def clip(vision: Mapping[str, Any]) -> int:
    """Numbers in the stock CLIP tower, without the projection that LLaVA leaves out."""
    width, inner = int(vision["hidden_size"]), int(vision["intermediate_size"])
    patch = int(vision["patch_size"])
    places = (int(vision["image_size"]) // patch) ** 2 + 1
    embeddings = width + 3 * patch * patch * width + places * width
    layer = 4 * linear(width, width) + linear(width, inner) + linear(inner, width) + 4 * width
    return embeddings + int(vision["num_hidden_layers"]) * layer + 4 * width


def _conv(vision: Mapping[str, Any]) -> int:
    """Numbers in our own small tower (`models.tower`)."""
    widths, features = [int(width) for width in vision["widths"]], int(vision["hidden_size"])
    found, before = 0, 3
    for scale, width in enumerate(widths):
        found += 9 * before * width + 2 * width
        found += 2 * (9 * width * width + 2 * width) if scale else 0
        before = width
    side = int(vision["image_size"]) >> len(widths)
    cells = side * side
    mixed = 2 * before + linear(before, 2 * features) + linear(2 * features, features)
    return found + cells * (before + features) + mixed + 2 * features
