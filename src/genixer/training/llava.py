"""How conversations about images teach a LLaVA."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from genixer.training import attention
from genixer.training.batch import Batch, Row, collate
from genixer.training.order import Room
from genixer.training.spread import Spread, spread_of

if TYPE_CHECKING:
    from genixer.models.llava import LoadedModel
    from genixer.training.schedule import Schedule

__all__ = ["LlavaLesson", "loss_of", "shared_prefix"]


@contextmanager
def shared_prefix(model: LoadedModel) -> Iterator[None]:
    """Let the language model attend by a batch's layout for a while."""
    language = model.model.model.language_model
    usual = language.config._attn_implementation
    language.set_attn_implementation(attention.NAME)
    try:
        yield
    finally:
        language.set_attn_implementation(usual)


def loss_of(
    model: LoadedModel, batch: Batch, spread: Spread, cell_weight: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Sum of weighted token losses and sum of weights; to be called under `shared_prefix`."""
    hidden = model.model.model(
        input_ids=batch.input_ids,
        pixel_values=batch.pixel_values,
        # A mask in its final shape is passed on unread; `layout` says who sees whom.
        attention_mask=torch.zeros(1, 1, 1, 1, device=batch.input_ids.device),
        layout=batch.layout,
        position_ids=batch.position_ids,
        use_cache=False,
    ).last_hidden_state
    # Position t predicts token t + 1. A conversation's first token has no label, so no prediction
    # crosses over.
    targets, weight = batch.labels[:, 1:], batch.loss_weight[:, 1:]
    where = targets >= 0
    logits = model.model.lm_head(hidden[:, :-1][where])
    chosen = weight[where]
    loss, weights = (spread.loss(logits, targets[where]) * chosen).sum(), chosen.sum()
    # Where weights are sharded, every process must have gradients of the same ones, whether its
    # rows have images or not; and a stock tower has weights that no image reaches.
    loss = loss + sum(0.0 * p.sum() for p in _sight(model) if p.requires_grad)
    if batch.cells is None or not cell_weight:
        return loss, weights
    seen = hidden[batch.input_ids == model.image_id].view(
        len(batch.cells.region), -1, hidden.shape[-1]
    )
    covered = batch.cells.region >= 0
    told = batch.cells.loss(model.model.lm_head(seen[covered]).float(), spread)
    return loss + cell_weight * told, weights + cell_weight * covered.sum()


def _sight(model: LoadedModel) -> Iterator[nn.Parameter]:
    """Weights that only images reach."""
    core = model.model.model
    yield from core.vision_tower.parameters()
    yield from core.multi_modal_projector.parameters()


class LlavaLesson:
    """Rows of visits (`training.batch`) and a LLaVA; see `training.lesson.Lesson`."""

    def __init__(self, model: LoadedModel, schedule: Schedule, images: Path) -> None:
        """Teach `model`; paths of images are below `images`."""
        self.model, self._schedule, self._images = model, schedule, images
        self.network: nn.Module = model.model
        self._spread = spread_of(model, schedule.spread)
        model.model.model.vision_tower.to(memory_format=torch.channels_last)
        if schedule.gradient_checkpointing:
            core = model.model
            # Renamed within transformers 5; a tower of convolutions has nothing to compute again.
            enable = getattr(core, "activation_checkpointing_enable", None)
            (enable or core.gradient_checkpointing_enable)({"use_reentrant": False})

    def batch(self, rows: Sequence[Row]) -> Batch:
        """Tensors of `rows`; their images are read and prepared."""
        schedule = self._schedule
        return collate(
            rows, self.model, self._images, schedule.length_power, schedule.question_weight
        )

    def room(self) -> Room:
        """Rows of prefixes and all their conversations, with the preset's room by default."""
        lengths = {image: len(self.model.prefix(image)) for image in (True, False)}
        budget = self._schedule.max_tokens or self.model.preset.max_tokens
        return Room(budget, lambda image: lengths[image is not None])

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sum of weighted token losses and sum of weights, covered cells included."""
        spread = self._spread.to(batch.labels.device)
        return loss_of(self.model, batch, spread, self._schedule.cells)

    def ready(self) -> AbstractContextManager[None]:
        """Context in which `loss` may be called."""
        return shared_prefix(self.model)

    def parts(self) -> Mapping[str, nn.Module]:
        """Language model, projector, tower, and the embeddings of words in and out."""
        core = self.model.model.model
        return {
            "language": core.language_model,
            "projector": core.multi_modal_projector,
            "tower": core.vision_tower,
            "embeddings": nn.ModuleList(
                [core.language_model.embed_tokens, self.model.model.lm_head]
            ),
        }

    def blocks(self) -> Sequence[nn.Module]:
        """The decoder's layers."""
        return list(self.model.model.model.language_model.layers)
