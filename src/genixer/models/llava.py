"""LLaVA backbones: model, tokenizer, pixels and prompt in one place.

One class for the tiny preset, LLaVA-1.5 and Shikra: an image prefix, a projector, a Llama decoder,
all of them transformers' own `LlavaForConditionalGeneration`. What differs is in the preset. A
model folder holds safetensors, `config.json`, the tokenizer and `genixer_preset.json`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from genixer.data import Message
from genixer.errors import ConfigError, DataError
from genixer.models.architecture import fix_identity, llava_config
from genixer.models.base import Device, Dtype, Preset
from genixer.models.conversation import script_of
from genixer.models.loading import load_weights, quiet
from genixer.models.pixels import Pixels
from genixer.models.preset_files import write_preset
from genixer.models.tokenizer import add_control

if TYPE_CHECKING:
    from PIL.Image import Image

    from genixer.tasks.base import Canvas

__all__ = ["LoadedModel", "create", "load"]


class LoadedModel:
    """A LLaVA with all that is needed to feed it. `revision` is the digest of its weights."""

    def __init__(
        self,
        model: LlavaForConditionalGeneration,
        tokenizer: PreTrainedTokenizerFast,
        preset: Preset,
        name: str,
        revision: str = "",
    ) -> None:
        """Hold the parts; `model` stays in the mode it is in.

        Raises `ConfigError` where the tokenizer lacks a control token of the preset.
        """
        self.model, self.tokenizer, self.preset = model, tokenizer, preset
        self.name, self.revision = name, revision
        # The tokenizer itself, without its Python wrapper, is ten times as fast.
        self._words = tokenizer.backend_tokenizer
        vocabulary = tokenizer.get_vocab()
        missing = [token for token in preset.tokens.names() if token not in vocabulary]
        if missing:
            raise ConfigError(
                f"model {name}: its tokenizer has no {', '.join(missing)}, which the preset "
                f"{preset.name!r} names; is it the right preset?"
            )
        add_control(self._words, preset)
        tokens = preset.tokens
        self.begin_id, self.end_id = vocabulary[tokens.begin], vocabulary[tokens.end]
        self.pad_id, self.image_id = vocabulary[tokens.pad], vocabulary[tokens.image]
        self._script = script_of(preset, self._words, vocabulary)
        self._pixels = Pixels(preset)

    def encode_text(self, text: str) -> list[int]:
        """Token ids of a turn's text; what looks like a control token stays text."""
        ids: list[int] = self._words.encode(self.preset.lead + text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The exact text of a turn's `ids`, control tokens dropped."""
        text = self.tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(text).removeprefix(self.preset.lead)

    def prefix(self, image: bool = True) -> list[int]:
        """Ids before the first that depends on the conversation: begin, system words, the image."""
        return self._script.prefix(image)

    def turns(
        self, messages: Sequence[Message], image: bool = True
    ) -> tuple[list[int], list[bool]]:
        """Ids after the prefix, and for each whether it is the assistant's own (trained on).

        The end token after an answer is its own. Raises `CannotEncodeError`, whose reason is
        counted, where a conversation does not fit the prompt's layout.
        """
        return self._script.turns(messages, image)

    def prompt_ids(self, messages: Sequence[Message], image: bool = True) -> list[int]:
        """Ids to continue from: prefix and a conversation whose last turn is the user's."""
        if not messages or messages[-1].role != "user":
            raise DataError("a prompt ends with the user's turn")
        return [*self.prefix(image), *self.turns(messages, image)[0]]

    def pixels(self, images: Sequence[Image]) -> Tensor:
        """Images (RGB, upright) as float32 [N, 3, S, S].

        Centred on a square of the longer side, resized, normalised.
        """
        return self._pixels.tensor([self._pixels.square(image) for image in images])

    def read_pixels(self, root: Path, paths: Sequence[str]) -> Tensor:
        """Like `pixels`, of files below `root`; raises `ImageError`."""
        return self._pixels.tensor([self._pixels.read(root, path) for path in paths])

    def canvas(self, width: int, height: int) -> Canvas:
        """How this model writes coordinates on an image of `width` x `height` px."""
        return self.preset.canvas(width, height)

    def save(self, folder: Path, half: bool = False) -> None:
        """Write weights (safetensors), config, tokenizer and preset to `folder`.

        `half` stores weights as float16.
        """
        quiet()
        model: Any = self.model
        before = model.dtype
        if half:
            model.half()
        model.save_pretrained(folder)
        model.to(before)
        self.tokenizer.save_pretrained(folder)
        write_preset(self.preset, folder)


def create(preset: Preset, tokenizer: PreTrainedTokenizerFast, seed: int) -> LoadedModel:
    """A new model of `preset` that reads with `tokenizer`, its weights drawn from `seed`."""
    text: dict[str, Any] = {**preset.text, "vocab_size": len(tokenizer)}
    config = llava_config(preset, text, preset.vision, tokenizer.get_vocab())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config).eval()
    fix_identity(model, preset)
    return LoadedModel(model, tokenizer, preset, preset.name)


def load(
    name: str,
    threads: int | None = None,
    preset: str = "",
    dtype: Dtype = "float32",
    device: Device = "auto",
) -> LoadedModel:
    """Model from a folder or by shipped name, in eval mode.

    `threads` sets how many cores torch may use in this process. `preset` names the preset of a
    folder that has none of its own. `dtype` is what the weights are computed in (`auto`: as they
    are stored), `device` where (`auto`: a GPU where there is one). Raises `ConfigError` where there
    is no such model, or no telling which preset it is.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    model, tokenizer, found, revision = load_weights(name, preset, dtype, device)
    fix_identity(model, found)
    return LoadedModel(model, tokenizer, found, name, revision)
