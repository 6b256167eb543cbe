"""How conversations about images teach an image-text model of the transformers library.

Text goes through the model's own chat template, pictures through its own processor. Every
conversation is a row of its own. Letters: B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from genixer.data import ImageRef, SftRow
from genixer.errors import CannotEncodeError
from genixer.models.sight import in_place_of_pixels, look_once
from genixer.store.images import open_image
from genixer.training.batch import NO_LOSS, Conversation, Visit
from genixer.training.order import Room
from genixer.training.schedule import Schedule

if TYPE_CHECKING:
    from genixer.models.vlm import LoadedVlm, Seen

__all__ = ["ChatBatch", "VlmLesson", "encode_chat"]


@dataclass
class ChatBatch:
    """Tensors of one step.

    `inputs` are the model's, `input_ids` [B, T] among them; `labels` [B, T] int64, -100 where there
    is no loss; `loss_weight` [B, T] float32. `pictures` are what the tower reads, an image once
    whatever the number of rows about it, and `image_of` says which is whose, a number for each row
    that has one; `pictures` is empty where the family's towers cannot be run apart: then pixels
    stand among the `inputs`.
    """

    inputs: dict[str, Tensor]
    pictures: dict[str, Tensor]
    image_of: list[int]
    labels: Tensor
    loss_weight: Tensor
    row_ids: list[str] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """How many tokens are no padding."""
        return int(self.inputs["attention_mask"].sum())

    def to(self, device: torch.device) -> ChatBatch:
        """The same on `device`."""
        return replace(
            self,
            inputs={name: value.to(device) for name, value in self.inputs.items()},
            pictures={name: value.to(device) for name, value in self.pictures.items()},
            labels=self.labels.to(device),
            loss_weight=self.loss_weight.to(device),
        )


def encode_chat(row: SftRow, model: LoadedVlm, max_tokens: int = 0) -> Conversation | str:
    """The row's tokens, its image one token still, or why it cannot be trained on.

    Reasons: `frame_mismatch`, `no_answer`, `several_pairs` (more than the model's text can hold),
    `too_long` (with its image more than `max_tokens`, or than the model reads), `control_mark`,
    `unaligned_answer`, `image_refused` (a shape the processor does not take), and those of
    `genixer.models.box_text.write_boxes`.
    """
    preset, chat = model.preset, model.chat
    if (row.frame, row.decimals) != (preset.frame, preset.decimals):
        return "frame_mismatch"
    answers = sum(message.role == "assistant" for message in row.messages)
    if not answers:
        return "no_answer"
    if preset.most_pairs is not None and answers > preset.most_pairs:
        return "several_pairs"
    places = 1 if row.image is None else model.image_tokens(row.image.width, row.image.height)
    if places is None:
        return "image_refused"
    try:
        spoken = chat.spoken(model.spell(row.messages), image=row.image is not None)
    except CannotEncodeError as error:
        return error.reason
    if isinstance(spoken, str):
        return spoken
    if len(spoken.ids) - 1 + places > min(max_tokens or model.most_tokens, model.most_tokens):
        return "too_long"
    key = f"{row.purpose}/{row.task}/{row.kind}".rstrip("/")
    ids, own = np.asarray(spoken.ids, np.int32), np.asarray(spoken.own, bool)
    return Conversation(row.id, key, ids, own)


class VlmLesson:
    """Rows of visits (`genixer.training.batch`) and an image-text model: a `Lesson`."""

    def __init__(self, model: LoadedVlm, images: Path, schedule: Schedule | None = None) -> None:
        """Teach `model`; paths of images are below `images`."""
        schedule = schedule or Schedule()
        self.model, self._images, self._length_power = model, images, schedule.length_power
        self.network: nn.Module = model.model
        # Found out now: later the weights may be cut among processes.
        self._once = model.shares_sights
        if schedule.gradient_checkpointing:
            model.model.activation_checkpointing_enable({"use_reentrant": False})

    def room(self) -> Room:
        """Rows as long as their longest conversation, each with the tokens of its own image."""

        def prefix(image: ImageRef | None) -> int:
            # The mark that the image's tokens take the place of is counted with the words.
            many = None if image is None else self.model.image_tokens(image.width, image.height)
            return (many or 1) - 1

        return Room(self.model.most_tokens, prefix, joined=False)

    def batch(self, rows: Sequence[Sequence[Visit]]) -> ChatBatch:
        """Tensors of `rows`; each image is read and prepared once."""
        ids: list[list[int]] = []
        own: list[list[bool]] = []
        seen: list[Seen] = []
        image_of: list[int] = []
        names: list[str] = []
        for visit in (visit for row in rows for visit in row):
            look = self._look(visit)
            seen += [look] if look else []
            for one in visit.conversations:
                tokens, mine = one.ids.tolist(), one.own.tolist()
                if look is not None:
                    at = tokens.index(self.model.chat.image_id)
                    mine = [*mine[:at], *[False] * len(look.ids), *mine[at + 1 :]]
                    tokens = self.model.insert(tokens, look)
                    image_of.append(len(seen) - 1)
                ids.append(tokens)
                own.append(mine)
                names.append(one.row_id)
        shown = [seen[number] for number in image_of]
        inputs = self.model.inputs(ids, shown, own, pixels=not self._once)
        pictures = self.model.pictures(seen) if self._once else {}
        return ChatBatch(inputs, pictures, image_of, *self._labels(inputs, own), names)

    def _labels(
        self, inputs: Mapping[str, Tensor], own: Sequence[Sequence[bool]]
    ) -> tuple[Tensor, Tensor]:
        """Labels and weights: n trained tokens weigh n ** (1 - `length_power`) in all."""
        trained = torch.zeros(inputs["input_ids"].shape, dtype=torch.bool)
        for row, mine in zip(trained, own, strict=True):
            row[: len(mine)] = torch.tensor(mine)
        counts = trained.sum(1, keepdim=True).clamp(min=1)
        weight = trained.float() * counts.float() ** -self._length_power
        return inputs["input_ids"].masked_fill(~trained, NO_LOSS), weight

    def _look(self, visit: Visit) -> Seen | None:
        """The visit's image as the model takes it; None for a visit to none."""
        if visit.image is None:
            return None
        return self.model.look(open_image(self._images, visit.image.path))

    def loss(self, batch: ChatBatch) -> tuple[Tensor, Tensor]:
        """Sum of weighted token losses and sum of weights."""
        # Position t predicts token t + 1; the last one predicts nothing.
        targets = batch.labels.roll(-1, 1)
        targets[:, -1] = NO_LOSS
        where = targets >= 0
        inputs: dict[str, Any] = dict(batch.inputs)
        if batch.pictures:
            sights = look_once(self.model.model, batch.pictures, max(batch.image_of) + 1) or []
            inputs |= in_place_of_pixels([sights[number] for number in batch.image_of])
        logits = self.model.model(**inputs, logits_to_keep=where, use_cache=False).logits
        chosen = batch.loss_weight.roll(-1, 1)[where]
        losses = nn.functional.cross_entropy(
            logits.float().view(-1, logits.shape[-1]), targets[where], reduction="none"
        )
        total = (losses * chosen).sum()
        # Where weights are sharded, every process must have gradients of the same ones, whether its
        # rows have images or not; and towers have weights that no image reaches.
        sight = (p for name in ("tower", "projector") for p in self.parts()[name].parameters())
        total = total + sum(0.0 * p.sum() for p in sight if p.requires_grad)
        return total, chosen.sum()

    def ready(self) -> AbstractContextManager[None]:
        """Context in which `loss` may be called: nothing has to be prepared."""
        return nullcontext()

    def parts(self) -> Mapping[str, nn.Module]:
        """Language model, projector, tower, and the embeddings of words in and out."""
        core: Any = self.model.model.model
        tower = _first(core, "visual", "vision_model", "vision_tower")
        outside = _first(core, "connector", "multi_modal_projector")
        inside = [child for name, child in tower.named_children() if "merger" in name]
        seeing = [child for name, child in tower.named_children() if "merger" not in name]
        model: Any = self.model.model
        return {
            "language": _language(core),
            "projector": outside or nn.ModuleList(inside),
            "tower": nn.ModuleList(seeing) if inside else tower,
            "embeddings": nn.ModuleList(
                [model.get_input_embeddings(), model.get_output_embeddings()]
            ),
        }

    def blocks(self) -> Sequence[nn.Module]:
        """The decoder's layers."""
        return list(_language(self.model.model.model).layers)


def _language(core: Any) -> Any:
    return _first(core, "language_model", "text_model")


def _first(module: Any, *names: str) -> Any:
    """The first of `names` that `module` has, or None: families call the same part differently."""
    return next((getattr(module, name) for name in names if hasattr(module, name)), None)
