"""The seam between the training loop and a backbone: what the loop asks of it, and nothing more.

The loop knows rows only as things it hands on. A lesson turns rows into a batch and a batch into a
loss; it names the parts of its network, so that they can be frozen, rated and sharded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from genixer.training.order import Room

__all__ = ["AnyBatch", "Learner", "Lesson"]


class AnyBatch(Protocol):
    """Tensors of some rows, on one device."""

    row_ids: list[str]
    """Ids of the rows, for messages."""

    @property
    def tokens(self) -> int:
        """How many tokens are no padding."""
        ...

    def to(self, device: torch.device) -> AnyBatch:
        """The same on `device`."""
        ...


R = TypeVar("R", contravariant=True)


class Lesson(Protocol[R]):
    """A network, and how rows of type `R` teach it."""

    network: nn.Module
    """Holds every weight."""

    def batch(self, rows: Sequence[R]) -> AnyBatch:
        """Tensors of `rows`, on the CPU; called from other threads."""
        ...

    def loss(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Sum of weighted token losses, and sum of weights: two scalars.

        A batch that does not reach every trained weight still connects them, by zeros: where
        weights are sharded, all processes reduce the same ones.
        """
        ...

    def parts(self) -> Mapping[str, nn.Module]:
        """`language`, `projector`, `tower` and `embeddings`; those that the network has."""
        ...

    def room(self) -> Room:
        """How long rows are."""
        ...

    def blocks(self) -> Sequence[nn.Module]:
        """Layers of the language model: what is sharded, and gathered again, one by one."""
        ...

    def ready(self) -> AbstractContextManager[None]:
        """Context in which `loss` may be called."""
        ...


class Learner(nn.Module):
    """A lesson as one module whose forward pass is the loss, so that hooks see all of it."""

    def __init__(self, lesson: Lesson[Any]) -> None:
        """Hold the lesson and register its network."""
        super().__init__()
        self.network = lesson.network
        self._lesson = lesson

    def forward(self, batch: AnyBatch) -> tuple[Tensor, Tensor]:
        """Sum of weighted losses and sum of weights."""
        return self._lesson.loss(batch)
