"""In which order rows come: drawn without end, or every one once an epoch.

An order is a function of its arguments alone, so that a training that was killed finds its place
again by counting steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import numpy as np

from genixer.data import ImageRef, random_for
from genixer.errors import ConfigError
from genixer.training.batch import Conversation, Row, Visit, plan_visits, regions_at
from genixer.training.packing import pack
from genixer.training.sampler import grouped
from genixer.training.schedule import Schedule

if TYPE_CHECKING:
    from genixer.training.cells import Region

__all__ = ["Order", "Room", "order_of"]

ByImage = Mapping[ImageRef | None, Sequence[Conversation]]
Regions = Mapping[ImageRef, "Sequence[Region]"]


class Order(Protocol):
    """Batches of rows, and how many there are."""

    steps: int

    def batches(self, done: int) -> Iterator[Sequence[Row]]:
        """Rows of every step after the first `done`."""
        ...


@dataclass(frozen=True)
class Room:
    """How long the rows of a backbone are.

    `prefix` gives the tokens of a visit's image and of what else stands before its conversations.
    """

    budget: int
    """Most tokens of a row."""
    prefix: Callable[[ImageRef | None], int]
    joined: bool = True
    """Whether a visit's conversations share one row; else each is one, as wide as the longest."""

    def length(self, image: ImageRef | None, conversations: Sequence[Conversation]) -> int:
        """Tokens of the longest row that a visit makes."""
        lengths = [len(one.ids) for one in conversations]
        return self.prefix(image) + (sum(lengths) if self.joined else max(lengths))


def order_of(
    by_image: ByImage,
    schedule: Schedule,
    seed: int,
    room: Room,
    regions: Regions | None = None,
) -> Order:
    """The order that `schedule` names, over conversations `by_image`.

    Raises `ConfigError` where there are none.
    """
    if not by_image:
        raise ConfigError(
            "no row is left to train on; rejected rows say why (frame_mismatch: coordinates are "
            "written as another preset reads them)"
        )
    if schedule.order == "draw":
        return _Drawn(by_image, schedule, seed, regions)
    return _Epochs(by_image, schedule, seed, room, regions)


class _Drawn:
    """Random visits without end."""

    def __init__(
        self, by_image: ByImage, schedule: Schedule, seed: int, regions: Regions | None
    ) -> None:
        self._by_image, self._schedule, self._seed = by_image, schedule, seed
        self._regions = regions
        per_visit = schedule.conversations_per_image
        visits = sum(-(-len(many) // per_visit) for many in by_image.values())
        in_epochs = -(-visits * schedule.epochs // schedule.images_per_step)
        self.steps = in_epochs or schedule.steps

    def batches(self, done: int) -> Iterator[Sequence[Row]]:
        schedule = self._schedule
        size = schedule.images_per_step
        visits = plan_visits(
            self._by_image,
            schedule.conversations_per_image,
            schedule.weights,
            self._seed,
            self._regions,
            skip=done * size,
        )
        for _ in range(done, self.steps):
            yield [(visit,) for visit in islice(visits, size)]


class _Epochs:
    """Every conversation once an epoch, in batches by length or packed into full rows."""

    def __init__(
        self,
        by_image: ByImage,
        schedule: Schedule,
        seed: int,
        room: Room,
        regions: Regions | None,
    ) -> None:
        self._by_image, self._schedule, self._seed = by_image, schedule, seed
        self._regions, self._room = regions, room
        self._planned: tuple[int, list[list[Row]]] = (0, self._plan(0))
        if schedule.epochs:
            self.steps = sum(len(self._epoch(number)) for number in range(schedule.epochs))
        else:
            self.steps = schedule.steps

    def batches(self, done: int) -> Iterator[Sequence[Row]]:
        number, left = 0, self.steps
        while left:
            for batch in self._epoch(number)[:left]:
                left -= 1
                if done:
                    done -= 1
                else:
                    yield batch
            number += 1

    def _epoch(self, number: int) -> list[list[Row]]:
        if self._planned[0] != number:
            self._planned = (number, self._plan(number))
        return self._planned[1]

    def _plan(self, number: int) -> list[list[Row]]:
        visits = list(self._visits(number))
        room = self._room
        lengths = np.asarray([room.length(one.image, one.conversations) for one in visits])
        size, seed = self._schedule.images_per_step, self._seed + number
        if self._schedule.order == "grouped":
            images = np.asarray([visit.image is not None for visit in visits])
            batches = grouped(lengths, images, size, seed)
            return [[(visits[i],) for i in batch] for batch in batches]
        rows: list[Row] = [tuple(visits[i] for i in bin) for bin in pack(lengths, room.budget)]
        random_for(seed, "packed", "order").shuffle(rows)
        return [rows[first : first + size] for first in range(0, len(rows), size)]

    def _visits(self, number: int) -> Iterator[Visit]:
        """Every conversation once, up to so many of an image together."""
        for image, many in sorted(
            self._by_image.items(), key=lambda one: one[0].path if one[0] else ""
        ):
            conversations = list(many)
            path = image.path if image else ""
            random_for(self._seed, "epoch", f"{number}/{path}").shuffle(conversations)
            regions = regions_at(image, self._regions)
            start = 0
            while start < len(conversations):
                end = self._end(image, conversations, start)
                yield Visit(image, tuple(conversations[start:end]), regions)
                start = end

    def _end(
        self, image: ImageRef | None, conversations: Sequence[Conversation], start: int
    ) -> int:
        """Where a visit ends that begins at `start`: by number, or where its row is full."""
        end, budget = start, self._room.budget
        stop = min(len(conversations), start + self._schedule.conversations_per_image)
        left = budget - self._room.prefix(image)
        while end < stop and len(conversations[end].ids) <= left:
            left -= len(conversations[end].ids) if self._room.joined else 0
            end += 1
        if end == start:
            one = conversations[start]
            length = self._room.length(image, [one])
            raise ConfigError(
                f"row {one.row_id} has {length} tokens, more than max_tokens: {budget}; raise it"
            )
        return end
