"""What each cell of a picture shows, as lessons for whatever reads the cells.

A cell is one image token: a square of the picture the model sees, cells in reading order. Letters:
N pictures, G cells, R regions, K tokens a region is known by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from genixer.data import Box, ImageRef, Sample, split_marks
from genixer.frames import box_to_frame
from genixer.tasks.grammar import write_box

if TYPE_CHECKING:
    from genixer.models.llava import LoadedModel
    from genixer.training.spread import Spread

__all__ = ["Cells", "Region", "cells_of", "covered_by", "regions_of"]

Region = tuple[str, Box]


@dataclass(frozen=True)
class Cells:
    """The regions that cells of N pictures show.

    `region` [N, G] is a row of `ids`, or -1 where there is nothing. `ids` [R, K] are the tokens of
    a region's name and box, `weights` [R, K] sum to one, 0 for padding.
    """

    region: Tensor
    ids: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> Cells:
        """The same on `device`."""
        return Cells(self.region.to(device), self.ids.to(device), self.weights.to(device))

    def loss(self, scores: Tensor, spread: Spread) -> Tensor:
        """Summed cross-entropy of `scores` [C, V] of the C covered cells, in order.

        Half of a cell's probability belongs to the words of the name, half to the coordinates.
        """
        chosen = self.region[self.region >= 0]
        losses = scores.new_zeros(len(chosen))
        scores = scores.log_softmax(-1)
        for ids, weights in zip(self.ids.T, self.weights.T, strict=True):
            near = spread.ids[ids[chosen]]
            found = (scores.gather(1, near) * spread.weights[ids[chosen]]).sum(-1)
            losses = losses - found * weights[chosen]
        return losses.sum()


def regions_of(sample: Sample) -> list[Region]:
    """Names and boxes of a dense caption: each box mark is named by the words before it.

    >>> from genixer.data import Origin, Turn
    >>> boxes = (Box(0.0, 0.0, 0.5, 0.5), Box(0.5, 0.5, 1.0, 1.0))
    >>> turn = Turn("assistant", "red book <box>, dog <box>", boxes)
    >>> image = ImageRef("a.png", 1, 1, "")
    >>> sample = Sample.of("dense_caption", image, (turn,), Origin("x"))
    >>> [name for name, _ in regions_of(sample)]
    ['red book', 'dog']
    """
    found: list[Region] = []
    for turn in sample.turns:
        pieces, _ = split_marks(turn.text)
        found += [
            (piece.strip(" ,;."), box)
            for piece, box in zip(pieces, turn.boxes, strict=False)
            if piece.strip(" ,;.")
        ]
    return found


def covered_by(model: LoadedModel, ref: ImageRef, regions: Sequence[Region]) -> Tensor:
    """Number of the region over each cell's centre [G], the last where several are, -1 for none."""
    side = round(model.preset.image_tokens**0.5)
    found = torch.full((side, side), -1)
    centre = (torch.arange(side) + 0.5) / side
    for number, (_, region) in enumerate(regions):
        x0, y0, x1, y1 = box_to_frame(region, model.preset.frame, ref.width, ref.height)
        across, down = (centre > x0) & (centre < x1), (centre > y0) & (centre < y1)
        found[down[:, None] & across[None, :]] = number
    return found.flatten()


def cells_of(
    model: LoadedModel, pictures: Sequence[tuple[ImageRef, Sequence[Region]]]
) -> Cells | None:
    """What the cells of `pictures` show; None where no picture has a region."""
    places: list[Tensor] = []
    tokens: list[list[int]] = []
    weights: list[list[float]] = []
    for ref, regions in pictures:
        place = covered_by(model, ref, regions)
        places.append(torch.where(place >= 0, place + len(tokens), place))
        for name, box in regions:
            words = model.encode_text(name)
            corners = model.encode_text(write_box([box], model.canvas(ref.width, ref.height)))
            # The space before a box is not its.
            corners = [one for one in corners if model.decode([one]).strip()]
            tokens.append([*words, *corners])
            weights.append([0.5 / len(words)] * len(words) + [0.5 / len(corners)] * len(corners))
    if not tokens:
        return None
    longest = max(map(len, tokens))
    return Cells(
        torch.stack(places),
        torch.tensor([one + [0] * (longest - len(one)) for one in tokens]),
        torch.tensor([one + [0.0] * (longest - len(one)) for one in weights]),
    )
