"""From a trained network to folders: whole weights, adapters, or both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from genixer.training.adapters import add_adapters, merge, save_adapters
from genixer.training.llava import LlavaLesson
from genixer.training.parallel import Together, whole_weights
from genixer.training.schedule import Schedule

if TYPE_CHECKING:
    from peft import PeftModel

    from genixer.models.llava import LoadedModel

__all__ = ["add_adapters_to", "write_model"]


def add_adapters_to(model: LoadedModel, schedule: Schedule, seed: int) -> PeftModel | None:
    """Put adapters into `model` where `schedule` trains such."""
    if schedule.trainable != "lora":
        return None
    return add_adapters(LlavaLesson(model, schedule, Path()), schedule, seed)


def write_model(
    model: LoadedModel,
    adapted: PeftModel | None,
    schedule: Schedule,
    folder: Path,
    half: bool,
    merged: bool,
    fresh: Callable[[], LoadedModel] | None,
    together: Together,
) -> None:
    """Write `model/` and, of `adapted`, `adapter/` below `folder`; all processes call it.

    `half` stores weights as float16. `merged` writes the model of `adapted`, too. `fresh` gives the
    model as it was before, to take the weights of one that is sharded.
    """
    first = together.rank == 0
    if fresh is not None:
        weights = whole_weights(model.model, keep=first)
        if first:
            model = fresh()
            adapted = add_adapters_to(model, schedule, 0)
            model.model.load_state_dict(weights)
    if not first:
        return
    if adapted is not None:
        save_adapters(adapted, folder / "adapter")
        if not merged:
            return
        model.model = merge(adapted)  # type: ignore[assignment]
    model.save(folder / "model", half=half)
