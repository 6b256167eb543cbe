"""A small image-text model over regions: does this crop show what these words say?

Crops go through four convolutions, words through a mean of learned vectors; both end on a unit
sphere. Letters: K crops, S side in px, D features, U names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from genixer.data import Box
from genixer.errors import ConfigError
from genixer.models.base import weights_folder

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["NOTHING", "ClipConfig", "RegionClip", "compatible", "crop", "load", "seen_words"]

NOTHING = ""
"""The name of what is on no object, or on none well enough."""

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+")
_UNSEEN = frozenset(
    [
        *("a", "an", "the", "of", "in", "on", "at", "to", "and", "with", "is", "that", "this"),
        *("left", "right", "top", "bottom", "upper", "lower", "middle", "center", "centre"),
        *("leftmost", "rightmost", "front", "back", "behind", "above", "below", "near", "next"),
        *("side", "corner", "first", "second", "third", "image", "picture", "photo"),
    ]
)
"""Words a crop cannot show: little ones, and places in the whole picture."""


class ClipConfig(BaseModel):
    """Shape of a model and the words it knows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    side_px: int = 48
    """Side of the square a crop is resized to."""
    context: float = 0.25
    """How far a crop reaches beyond its box, as a share of the box's sides: shows where it ends."""
    widths: tuple[int, int, int, int] = (24, 48, 96, 128)
    """Channels of the four scales."""
    features: int = 64
    """Length of the vectors that are compared."""
    words: tuple[str, ...] = ()
    """Vocabulary, lower case."""
    names: tuple[str, ...] = ()
    """Names every expression is weighed against."""


def seen_words(text: str) -> tuple[str, ...]:
    """Words of an expression that a crop can show, each once, in alphabetical order.

    Colours, kinds and numbers stay; articles and places ("left", "behind") go, since a crop does
    not know where it was cut.

    >>> seen_words("The left red book!")
    ('book', 'red')
    """
    return tuple(sorted(set(_WORD.findall(text.lower())) - _UNSEEN))


def compatible(one: str, other: str) -> bool:
    """Whether two names can both be right: the words of one are among those of the other.

    >>> compatible("book", "red book"), compatible("red book", "blue book")
    (True, False)
    """
    first, second = set(one.split()), set(other.split())
    return bool(first and second) and (first <= second or second <= first)


def crop(image: Image, box: Box, side_px: int, context: float) -> np.ndarray[Any, Any]:
    """Pixels of `box` and its surroundings, stretched to a square, uint8 [3, S, S].

    The box always fills the same middle part, so that a box half off its object looks it. Beyond
    the picture is black. An empty box counts as one pixel.
    """
    from PIL import Image as Pillow

    width, height = image.size
    x0, x1, y0, y1 = box.x0 * width, box.x1 * width, box.y0 * height, box.y1 * height
    dx, dy = max(1.0, x1 - x0) * context, max(1.0, y1 - y0) * context
    left, top = x0 - dx, y0 - dy
    right, bottom = max(x1, x0 + 1.0) + dx, max(y1, y0 + 1.0) + dy
    # Whole pixels are cut first: a huge photograph is not copied to enlarge its margin.
    frame = (int(left // 1), int(top // 1), int(-(-right // 1)), int(-(-bottom // 1)))
    inner = (left - frame[0], top - frame[1], right - frame[0], bottom - frame[1])
    piece = image.crop(frame).resize((side_px, side_px), Pillow.Resampling.BILINEAR, box=inner)
    return np.asarray(piece, dtype=np.uint8).transpose(2, 0, 1).copy()


class RegionClip(nn.Module):
    """Crops and words on one sphere. About 0.3 M parameters in the shape of `ClipConfig()`.

    `scale` is the learned inverse temperature, kept as its logarithm.
    """

    def __init__(self, config: ClipConfig) -> None:
        """Build with random weights from torch's own generator; train, or `load`."""
        super().__init__()
        self.config = config
        self._index = {word: i + 1 for i, word in enumerate(config.words)}
        widths = (3, *config.widths)
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths):
            blocks += [
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        cells = (config.side_px // 16) ** 2
        self.body = nn.Sequential(*blocks, nn.Flatten())
        # All cells, not their mean: where in the crop the object ends is what tells a good box.
        self.image_head = nn.Linear(config.widths[-1] * cells, config.features)
        self.words = nn.Embedding(len(config.words) + 1, config.features)
        self.text_head = nn.Sequential(
            nn.Linear(config.features, 2 * config.features),
            nn.GELU(),
            nn.Linear(2 * config.features, config.features),
        )
        self.scale = nn.Parameter(torch.tensor(2.5))

    def knows(self, text: str) -> str:
        """The words of `text` it was trained on, as a name; empty where there are none."""
        return " ".join(word for word in seen_words(text) if word in self._index)

    def embed_crops(self, crops: Tensor) -> Tensor:
        """Unit vectors [K, D] of crops, float [K, 3, S, S] in [0, 255]."""
        features = self.image_head(self.body((crops - 127.5) / 64.0))
        return nn.functional.normalize(features, dim=-1)

    def embed_names(self, names: Sequence[str]) -> Tensor:
        """Unit vectors [U, D] of names whose words are all known; `NOTHING` has one of its own."""
        ids = [[self._index[word] for word in name.split()] or [0] for name in names]
        flat = torch.tensor([i for many in ids for i in many])
        starts = torch.tensor([0, *np.cumsum([len(many) for many in ids[:-1]])])
        mean = nn.functional.embedding_bag(flat, self.words.weight, starts, mode="mean")
        return nn.functional.normalize(self.text_head(mean), dim=-1)

    @torch.no_grad()
    def probabilities(self, crops: np.ndarray[Any, Any], names: Sequence[str]) -> list[float]:
        """How likely crop i shows `names[i]` rather than another known name or nothing, in [0, 1].

        Names that can be right at the same time ("book", "red book") do not compete. `crops` is
        uint8 [K, 3, S, S].
        """
        if not names:
            return []
        vectors = self.embed_crops(torch.from_numpy(crops).float())
        others = [NOTHING, *self.config.names]
        own = (vectors * self.embed_names(names)).sum(-1, keepdim=True)
        logits = torch.cat([own, vectors @ self.embed_names(others).T], dim=1) * self.scale.exp()
        shared = torch.tensor([[False, *(compatible(a, b) for b in others)] for a in names])
        shares: list[float] = logits.masked_fill(shared, -torch.inf).softmax(-1)[:, 0].tolist()
        return shares

    def save(self, folder: Path) -> None:
        """Write `model.safetensors` and `config.json` to `folder`."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: value.contiguous() for name, value in self.state_dict().items()}
        save_file(weights, folder / "model.safetensors")
        text = json.dumps(self.config.model_dump(mode="json"), indent=1, ensure_ascii=False)
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def load(name: str) -> RegionClip:
    """Model from a folder, or by the name of one that ships with the package, ready to score.

    Raises `ConfigError` where there is none or the folder holds another kind of model.
    """
    from safetensors.torch import load_file

    folder = weights_folder(name)
    try:
        config = ClipConfig.model_validate_json((folder / "config.json").read_bytes())
        model = RegionClip(config)
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"{folder} holds no region model (stage train_clip makes one): {error}"
        ) from error
    return model.eval()
