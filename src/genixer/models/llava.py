"""LLaVA backbones: model, tokenizer, pixels and prompt in one place.

The same code builds the tiny preset and, from a preset of its own, LLaVA-1.5: an image prefix, a
two-layer GELU projector, a Llama decoder. A model folder holds `model.safetensors`, `config.json`,
the tokenizer and `genixer_preset.json`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from genixer.data import Message
from genixer.errors import DataError
from genixer.models.base import Preset, weights_folder
from genixer.models.tower import ConvTowerConfig

if TYPE_CHECKING:
    from PIL.Image import Image

    from genixer.tasks.base import Canvas

__all__ = ["LoadedModel", "create", "load"]

PRESET_FILE = "genixer_preset.json"


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
        """Hold the parts; `model` stays in the mode it is in."""
        self.model, self.tokenizer, self.preset = model, tokenizer, preset
        self.name, self.revision = name, revision
        # The tokenizer itself, without its Python wrapper, is ten times as fast.
        self._words = tokenizer.backend_tokenizer
        self._words.encode_special_tokens = True
        vocabulary = tokenizer.get_vocab()
        self.begin_id, self.end_id, self.pad_id = (vocabulary[t] for t in ("<s>", "</s>", "<pad>"))
        self.image_id, self.user_id, self.assistant_id = (
            vocabulary[t] for t in ("<image>", "<user>", "<assistant>")
        )
        self._mean = torch.tensor(preset.mean).view(3, 1, 1) * 255
        self._std = torch.tensor(preset.std).view(3, 1, 1) * 255

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

    def image_prefix(self) -> list[int]:
        """Ids that stand for the image at the start of every row."""
        return [self.begin_id, *[self.image_id] * self.preset.image_tokens]

    def turns(self, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
        """Ids of a conversation, and for each whether it is the assistant's own (trained on)."""
        ids: list[int] = []
        own: list[bool] = []
        for message in messages:
            if message.role == "user":
                part = [self.user_id, *self.encode_text(message.text), self.assistant_id]
            else:
                part = [*self.encode_text(message.text), self.end_id]
            ids += part
            own += [message.role == "assistant"] * len(part)
        return ids, own

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Ids to continue from: image prefix and a conversation whose last turn is the user's."""
        if not messages or messages[-1].role != "user":
            raise DataError("a prompt ends with the user's turn")
        return [*self.image_prefix(), *self.turns(messages)[0]]

    def pixels(self, images: Sequence[Image]) -> Tensor:
        """Images (RGB, upright) as float32 [N, 3, S, S].

        Centred on a square of the longer side, resized, normalised.
        """
        side = self.preset.image_side_px
        arrays = [np.asarray(_squared(image, side, self.preset.pad_colour)) for image in images]
        stacked = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
        return ((stacked.float() - self._mean) / self._std).contiguous()

    def canvas(self, width: int, height: int) -> Canvas:
        """How this model writes coordinates on an image of `width` x `height` px."""
        return self.preset.canvas(width, height)

    def save(self, folder: Path, half: bool = False) -> None:
        """Write weights (safetensors), config, tokenizer and preset to `folder`.

        `half` stores weights as float16.
        """
        quiet()
        if half:
            self.model.half()
        self.model.save_pretrained(folder)
        if half:
            self.model.float()
        self.tokenizer.save_pretrained(folder)
        (folder / PRESET_FILE).write_text(
            self.preset.model_dump_json(indent=1) + "\n", encoding="utf-8"
        )


def _squared(image: Image, side: int, colour: tuple[int, int, int]) -> Image:
    """`image` centred on a square of its longer side, resized to `side` px."""
    from PIL import Image as Pillow

    longer = max(image.size)
    if image.width != image.height:
        square = Pillow.new("RGB", (longer, longer), colour)
        square.paste(image, ((longer - image.width) // 2, (longer - image.height) // 2))
        image = square
    return image if longer == side else image.resize((side, side), Pillow.Resampling.BILINEAR)


def create(preset: Preset, tokenizer: PreTrainedTokenizerFast, seed: int) -> LoadedModel:
    """A new model of `preset` that reads with `tokenizer`, its weights drawn from `seed`."""
    vocabulary = tokenizer.get_vocab()
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        bos_token_id=vocabulary["<s>"],
        eos_token_id=vocabulary["</s>"],
        pad_token_id=vocabulary["<pad>"],
        **_text_settings(preset),
    )
    settings: dict[str, Any] = {
        "text_config": text,
        "vision_config": ConvTowerConfig(**preset.vision),
        "initializer_range": text.initializer_range,
        "tie_word_embeddings": text.tie_word_embeddings,
        "image_token_id": vocabulary["<image>"],
        "image_seq_length": preset.image_tokens,
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
    }
    config = LlavaConfig(**settings)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config).eval()
    return LoadedModel(model, tokenizer, preset, preset.name)


def _text_settings(preset: Preset) -> dict[str, Any]:
    """The decoder's shape, in the words of `LlamaConfig`."""
    settings = dict(preset.text)
    theta = settings.pop("rope_theta", 10000.0)
    return {**settings, "rope_parameters": {"rope_type": "default", "rope_theta": theta}}


def quiet() -> None:
    """Turn off the progress bars of transformers: progress is the executor's to show."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def load(name: str, threads: int | None = None) -> LoadedModel:
    """Model from a folder or by shipped name, in eval mode, float32, on the CPU.

    `threads` sets how many cores torch may use in this process. Raises `ConfigError` where there is
    no such model.
    """
    import xxhash

    if threads is not None:
        torch.set_num_threads(threads)
    quiet()
    folder = weights_folder(name)
    preset = Preset.model_validate_json((folder / PRESET_FILE).read_text(encoding="utf-8"))
    # The folder is on disk and nothing else is looked at: there is no revision to pin.
    model = LlavaForConditionalGeneration.from_pretrained(  # nosec B615
        folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
    ).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(  # nosec B615
        folder, local_files_only=True
    )
    digest = xxhash.xxh3_128_hexdigest((folder / "model.safetensors").read_bytes())
    return LoadedModel(model, tokenizer, preset, name, digest)
