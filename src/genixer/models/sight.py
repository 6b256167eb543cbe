"""What an image-text model understood of its images, to be read by every row about them.

The library lets a vision tower run apart from the words (`get_image_features`) and takes what came
out in place of pixels (`mm_encoder_outputs`). So an image is looked at once, however many rows ask
about it, in writing and in training alike.

Letters: N images, D features of the language model.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Sight", "in_place_of_pixels", "look_once", "shares_sights"]


class Sight(NamedTuple):
    """One image as the words see it."""

    output: type[Any]
    """The library's class for what a tower gives."""
    stacked: bool
    """Whether the family keeps the images of a batch in one tensor [N, tokens, D]."""
    features: Tensor
    """[tokens, D]."""
    deeper: tuple[Tensor, ...]
    """The same for further layers of the language model, where the family has such."""


def shares_sights(model: Any) -> bool:
    """Whether `model` takes what its tower made of an image in place of the image."""
    takes = inspect.signature(model.forward).parameters
    return "mm_encoder_outputs" in takes and hasattr(model.model, "get_image_features")


def look_once(model: Any, pictures: Mapping[str, Tensor], count: int) -> list[Sight] | None:
    """What `model` sees in each of the `count` images that `pictures` hold, in order.

    None for a family whose tower does not say which features are whose.
    """
    see = model.model.get_image_features
    takes = inspect.signature(see).parameters
    seen = see(**{k: v for k, v in pictures.items() if k in takes}, return_dict=True)
    features, layers = seen.pooler_output, getattr(seen, "deepstack_features", None) or ()
    by_image = [one for one in (features, *layers) if isinstance(one, Tensor | list | tuple)]
    if len(by_image) != 1 + len(layers) or any(len(one) != count for one in by_image):
        return None
    stacked = isinstance(features, Tensor)
    deeper = zip(*layers, strict=True) if layers else [()] * count
    return [Sight(type(seen), stacked, *one) for one in zip(features, deeper, strict=True)]


def in_place_of_pixels(sights: Sequence[Sight]) -> dict[str, Any]:
    """What the model is given instead of pixels, for rows that see one of `sights` each."""
    features: Any = [one.features for one in sights]
    layers = [list(layer) for layer in zip(*(one.deeper for one in sights), strict=True)]
    more = {"deepstack_features": layers} if layers else {}
    found = torch.stack(features) if sights[0].stacked else features
    return {"mm_encoder_outputs": {"image": sights[0].output(pooler_output=found, **more)}}
