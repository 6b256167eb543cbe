"""Targets that know that 0.51 is nearly 0.50.

A coordinate that is one token of many says nothing of how far a wrong one is off. Spreading the
right one's probability over its neighbours does.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from genixer.models.llava import LoadedModel

__all__ = ["Spread", "spread_of"]

_COORDINATE = re.compile(r"(\[?)([0-9]+(?:\.[0-9]+)?)([],]?)")


@dataclass(frozen=True)
class Spread:
    """For each token [V, K]: the tokens that are right or nearly so, and how much each counts."""

    ids: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> Spread:
        """The same on `device`."""
        return Spread(self.ids.to(device), self.weights.to(device))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy [n] of `logits` [n, V] against `targets` [n], spread."""
        scores = logits.float().log_softmax(-1).gather(1, self.ids[targets])
        return -(scores * self.weights[targets]).sum(-1)


def spread_of(model: LoadedModel, width: float) -> Spread:
    """Spread over the coordinates that are one token of `model`, a normal curve around the right.

    `width` is its standard deviation in printed steps; other tokens, and all with 0, stay alone.
    """
    vocabulary = model.tokenizer.get_vocab()
    reach = math.ceil(2.5 * width)
    ids = torch.arange(len(model.tokenizer))[:, None].repeat(1, 2 * reach + 1)
    weights = torch.zeros(ids.shape)
    weights[:, reach] = 1.0
    decimals = model.preset.decimals
    for token, own in vocabulary.items() if reach else ():
        match = _COORDINATE.fullmatch(token)
        if match is None or len(match[2].partition(".")[2]) != decimals:
            continue
        place = round(float(match[2]) * 10**decimals)
        for off in range(-reach, reach + 1):
            number = (place + off) / 10**decimals
            near = vocabulary.get(f"{match[1]}{number:.{decimals}f}{match[3]}")
            if near is not None:
                ids[own, off + reach] = near
                weights[own, off + reach] = math.exp(-0.5 * (off / width) ** 2)
        weights[own] /= weights[own].sum()
    return Spread(ids, weights)
