"""Which requests each image gets: closed formulas, so that a million images need no table.

A *lane* is one thing that is asked: a task (or none), a mode, a kind of question. Without a quota
every image gets its draws. A quota is spread over the images as evenly as whole numbers allow, each
lane beginning elsewhere, so that they do not all ask about the same images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from genixer.data import Mode

__all__ = ["Asked", "Lane", "Spread"]


class Asked(NamedTuple):
    """One request about an image, without its words."""

    task: str
    mode: Mode
    draw: int
    kind: str = ""


class Lane(NamedTuple):
    """One thing asked: at most `draws` times an image, at most `quota` times in all."""

    task: str
    mode: Mode
    kind: str
    draws: int
    quota: int | None = None

    @property
    def name(self) -> str:
        """What people call it.

        >>> Lane("common_vqa", "specific", "number", 1).name
        'common_vqa: number'
        """
        return f"{self.task}: {self.kind}" if self.kind else self.task or self.mode


class Spread:
    """Requests of all images, numbered: those about one image lie side by side, lane by lane.

    >>> spread = Spread([Lane("rec", "specific", "", 1), Lane("md", "specific", "", 1, 2)], 4)
    >>> spread.total, [len(spread.asked(image)) for image in range(4)]
    (6, [2, 1, 2, 1])
    >>> spread.image_of(3), spread.before(3)
    (2, 5)
    """

    def __init__(self, lanes: Sequence[Lane], images: int) -> None:
        """Spread `lanes` over so many images."""
        self._lanes, self._images = tuple(lanes), images

    @property
    def total(self) -> int:
        """Requests in all."""
        return self.before(self._images)

    def before(self, image: int) -> int:
        """Requests about the images before number `image`."""
        return sum(self._before(at, image) for at in range(len(self._lanes)))

    def asked(self, image: int) -> list[Asked]:
        """Requests about image number `image`, in order."""
        return [
            Asked(lane.task, lane.mode, draw, lane.kind)
            for at, lane in enumerate(self._lanes)
            for draw in range(self._before(at, image + 1) - self._before(at, image))
        ]

    def image_of(self, number: int) -> int:
        """Image that request `number` is about; `number` must be less than `total`."""
        low, high = 0, self._images - 1
        while low < high:
            middle = (low + high) // 2
            if self.before(middle + 1) > number:
                high = middle
            else:
                low = middle + 1
        return low

    def planned(self, at: int) -> int:
        """Requests of lane number `at` in all: its quota, or less where the draws do not reach."""
        return self._before(at, self._images)

    def _before(self, at: int, image: int) -> int:
        lane, images = self._lanes[at], self._images
        if lane.quota is None or lane.quota >= lane.draws * images:
            return lane.draws * image
        phase = at * images // len(self._lanes)
        return (image * lane.quota + phase) // images
