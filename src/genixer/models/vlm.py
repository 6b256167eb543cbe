"""Any image-text model of the transformers library, from a folder: weights, tokenizer, pictures.

The model's own image processor and chat template are used as they are; a preset adds what no file
of the model says: how its text spells a box. Pictures go through Pillow, so that the same image is
the same tensor wherever torchvision is or is not installed.

Letters: B rows, T tokens.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from genixer.data import Message
from genixer.errors import CannotEncodeError, ConfigError
from genixer.models.box_text import own_signs, read_boxes, write_boxes
from genixer.models.chat import Chat
from genixer.models.pixels import padded
from genixer.models.published_names import publish_names
from genixer.models.sight import Sight, look_once, shares_sights
from genixer.models.vlm_parts import load_model, load_processor, weights_digest
from genixer.models.vlm_preset import PRESET_FILE, VlmPreset, preset_for

if TYPE_CHECKING:
    from PIL.Image import Image

    from genixer.tasks.base import Canvas

__all__ = ["LoadedVlm", "Seen", "load_vlm"]


@dataclass(frozen=True)
class Seen:
    """An image as the model takes it.

    `ids` are the tokens that stand for it in the text, `features` what goes beside the text.
    """

    ids: list[int]
    features: dict[str, Tensor]


class LoadedVlm:
    """A model with all that is needed to feed it. `revision` is the digest of its weights."""

    def __init__(
        self, model: Any, processor: Any, preset: VlmPreset, folder: Path, revision: str = ""
    ) -> None:
        """Hold the parts; `model` stays in the mode it is in."""
        self.model, self.processor, self.preset = model, processor, preset
        self.tokenizer = processor.tokenizer
        self.folder, self.name, self.revision = folder, folder.name, revision
        self.end_ids = _end_ids(model, self.tokenizer)
        # What its makers recommend to draw with would bend the raw probabilities.
        model.generation_config = GenerationConfig(eos_token_id=list(self.end_ids))
        self.pad_id: int = next(
            one for one in (self.tokenizer.pad_token_id, *self.end_ids) if one is not None
        )
        template = preset.chat_template or processor.chat_template or self.tokenizer.chat_template
        if not template:
            raise ConfigError(f"{folder} has no chat template; name a preset that has one")
        added = (token.content for token in self.tokenizer.added_tokens_decoder.values())
        boxes = {sign for mark in added for sign in own_signs(mark, preset.boxes)}
        self.chat = Chat(
            self.tokenizer, template, processor.image_token, self.end_ids, preset.end, boxes
        )
        self._image_tokens: dict[tuple[int, int], int | None] = {}
        text = model.config.get_text_config()
        self.most_tokens: int = text.max_position_embeddings

    def canvas(self, width: int, height: int) -> Canvas:
        """How the model writes coordinates on an image of `width` x `height` px."""
        return self.preset.canvas(width, height)

    def spell(self, messages: Sequence[Message]) -> list[Message]:
        """`messages` with boxes spelled the model's way, and no control token in their words.

        Raises `CannotEncodeError` for words that cannot be told from boxes.
        """
        return [Message(one.role, self._spelled(one)) for one in messages]

    def _spelled(self, message: Message) -> str:
        boxes = self.preset.boxes
        if message.role == "assistant" and own_signs(message.text, boxes):
            # Written by the model, these words would be read as a box.
            raise CannotEncodeError("box_mark", message.text)
        return write_boxes(self.chat.veil(message.text), boxes)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`, end tokens dropped, boxes spelled as a task's codec reads them."""
        kept = [one for one in ids if one not in self.end_ids]
        text = self.tokenizer.decode(
            kept, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return read_boxes(str(text), self.preset.boxes)

    def framed(self, image: Image) -> Image:
        """`image` (RGB, upright) as the image processor is to get it: squared, if need be."""
        if self.preset.frame != "padded_square":
            return image
        side, mean = max(image.size), self.processor.image_processor.image_mean
        return padded(image, (side, side), tuple(int(255 * value) for value in mean))

    def look(self, image: Image) -> Seen:
        """`image` (RGB, upright) through the model's image processor.

        Raises `ValueError` for one it does not take, such as a strip 200 times as long as wide.
        """
        options = _call_options(self.processor, "images_kwargs")
        processor = self.processor.image_processor
        features = processor(images=[[self.framed(image)]], return_tensors="pt", **options)
        shown = self.processor.replace_image_token(features, image_idx=0)
        ids = self.tokenizer(shown, add_special_tokens=False)["input_ids"]
        unused = {*self.processor.unused_input_names, "rows", "cols"}
        tensors = {name: value for name, value in features.items() if name not in unused}
        return Seen(ids, {k: v for k, v in tensors.items() if isinstance(v, Tensor)})

    def image_tokens(self, width: int, height: int) -> int | None:
        """How many tokens stand for an image of that size; None where it is not taken."""
        from PIL import Image as Pillow

        size = (width, height)
        if size not in self._image_tokens:
            try:
                self._image_tokens[size] = len(self.look(Pillow.new("RGB", size)).ids)
            except ValueError:
                self._image_tokens[size] = None
        return self._image_tokens[size]

    def insert(self, ids: Sequence[int], seen: Seen) -> list[int]:
        """`ids` with the image's own tokens in place of its mark."""
        at = list(ids).index(self.chat.image_id)
        return [*ids[:at], *seen.ids, *ids[at + 1 :]]

    def inputs(
        self,
        rows: Sequence[Sequence[int]],
        seen: Sequence[Seen],
        own: Sequence[Sequence[bool]] | None = None,
        left: bool = False,
        pixels: bool = True,
    ) -> dict[str, Tensor]:
        """Padded `rows` with the images `seen` in them, in order, by the model's own names.

        On the CPU. `own` marks the answers' tokens, for a model that reads all else in both
        directions. `left` pads before the text, where it goes on being written. Without `pixels`
        the images' features have to be given another way.
        """
        longest = max(len(row) for row in rows)

        def padded(values: Iterable[Sequence[int]], fill: int) -> Tensor:
            joined = []
            for value in values:
                gap = [fill] * (longest - len(value))
                joined.append([*gap, *value] if left else [*value, *gap])
            return torch.tensor(joined)

        tensors = {
            "input_ids": padded(rows, self.pad_id),
            "attention_mask": padded(([1] * len(row) for row in rows), 0),
        }
        if self.preset.reads_prefix_both_ways:
            kinds = own or [[False] * len(row) for row in rows]
            tensors["token_type_ids"] = padded(([int(k) for k in kind] for kind in kinds), 0)
        if _tells_kinds(self.processor):
            kinds_of = ([int(one == self.chat.image_id) for one in row] for row in rows)
            tensors["mm_token_type_ids"] = padded(kinds_of, 0)
        shown = self.pictures(seen)
        return tensors | {k: v for k, v in shown.items() if pixels or not k.startswith("pixel")}

    def pictures(self, seen: Sequence[Seen]) -> dict[str, Tensor]:
        """The images `seen` one after the other, as the model takes them, on the CPU."""
        tensors = {}
        for name in dict.fromkeys(name for one in seen for name in one.features):
            stacked = _stacked([one.features[name] for one in seen])
            tensors[name] = stacked.to(self.model.dtype) if stacked.is_floating_point() else stacked
        return tensors

    @cached_property
    def shares_sights(self) -> bool:
        """Whether an image can be looked at once for many rows: tried with a blank one."""
        from PIL import Image as Pillow

        if not shares_sights(self.model):
            return False
        blank = self.look(Pillow.new("RGB", (64, 64)))
        with torch.no_grad():
            found = self.sights([blank])
        tokens = blank.ids.count(self.chat.image_id)
        return found is not None and len(found[0].features) == tokens

    def sights(self, seen: Sequence[Seen]) -> list[Sight] | None:
        """What the model's tower makes of the images `seen`; None where it cannot be told apart."""
        pictures = self.pictures(seen)
        there = {name: value.to(self.model.device) for name, value in pictures.items()}
        return look_once(self.model, there, len(seen))

    def save(self, folder: Path) -> None:
        """Write a folder that plain transformers loads: weights, and the other files as they were.

        The preset goes beside them, so that the folder needs no word about its boxes.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder)
        if self.model.config.model_type == "llava":
            publish_names(folder)
        for path in sorted(self.folder.iterdir()):
            ours = path.name == "config.json" or path.name.endswith(".index.json")
            if path.is_file() and path.suffix in _KEPT and not ours:
                shutil.copyfile(path, folder / path.name)
        text = json.dumps(self.preset.model_dump(mode="json"), indent=1)
        (folder / PRESET_FILE).write_text(text + "\n", encoding="utf-8")


_KEPT = (".json", ".jinja", ".txt", ".model")
"""Kinds of files that come along with new weights: of tokenizer, processor, template."""


def load_vlm(
    name: str,
    preset: str = "",
    dtype: str = "float32",
    device: str = "auto",
    most_px: int | None = None,
) -> LoadedVlm:
    """Model in folder `name`, in eval mode; `preset` is a shipped name or a YAML file.

    Without one, the folder has to hold the preset it was saved with. `most_px` lets an image have
    fewer pixels, where the model takes images of any size. Nothing is fetched, no code of the
    folder is run, weights are safetensors. Raises `ConfigError` for anything missing.
    """
    folder = Path(name)
    if not (folder / "config.json").is_file():
        raise ConfigError(f"no model at {name!r}: there is no config.json")
    model = load_model(folder, dtype, device)
    chosen = preset_for(folder, preset, model.config.model_type)
    processor = load_processor(folder, model.config.model_type)
    chosen = chosen.fitted(processor.image_processor, most_px)
    return LoadedVlm(model, processor, chosen, folder, weights_digest(folder))


def _end_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Tokens that end a turn, by the model's generation settings and its tokenizer."""
    stated = getattr(model.generation_config, "eos_token_id", None)
    many = stated if isinstance(stated, list) else [stated]
    found = dict.fromkeys(one for one in (*many, tokenizer.eos_token_id) if one is not None)
    return tuple(found)


def _call_options(processor: Any, kind: str) -> Mapping[str, Any]:
    """What the processor adds to a call by itself; `kind` is `images_kwargs` or `text_kwargs`."""
    if hasattr(processor, kind):
        return dict(getattr(processor, kind))
    # transformers 5.19, the newest that vLLM 0.32 takes, has them with the type of the options.
    kept = getattr(getattr(processor, "valid_processor_kwargs", None), "_defaults", {})
    return dict(kept.get(kind, {}))


def _tells_kinds(processor: Any) -> bool:
    """Whether the model is told of each token whether it is an image's."""
    name = "return_mm_token_type_ids"
    return bool(getattr(processor, name, _call_options(processor, "text_kwargs").get(name)))


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    """`parts` one after the other along their first axis, zeros where one is smaller than another.

    That is what the processors do for images cut into different numbers of tiles.
    """
    shape = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
    padded = []
    for part in parts:
        gaps = [most - size for most, size in zip(shape, part.shape[1:], strict=True)]
        amounts = [n for gap in reversed(gaps) for n in (0, gap)]
        padded.append(torch.nn.functional.pad(part, amounts) if any(gaps) else part)
    return torch.cat(padded)
