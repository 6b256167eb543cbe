"""From a trained network to folders: whole weights, adapters, or both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from genixer.training.adapters import add_adapters, merge, save_adapters
from genixer.training.lesson import Lesson
from genixer.training.parallel import Together, whole_weights
from genixer.training.schedule import Schedule

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = ["Taught", "add_adapters_to", "write_model"]


class Taught(Lesson[Any], Protocol):
    """A lesson that says which model it teaches: tokenizer, preset and the network, `model`."""

    model: Any


def add_adapters_to(lesson: Taught, schedule: Schedule, seed: int) -> PeftModel | None:
    """Put adapters into the network of `lesson` where `schedule` trains such."""
    return add_adapters(lesson, schedule, seed) if schedule.trainable == "lora" else None


def write_model(
    lesson: Taught,
    adapted: PeftModel | None,
    schedule: Schedule,
    folder: Path,
    save: Callable[[Any, Path], None],
    merged: bool,
    fresh: Callable[[], Taught] | None,
    together: Together,
) -> None:
    """Write `model/` and, of `adapted`, `adapter/` below `folder`; all processes call it.

    `save` writes a loaded model. `merged` writes that of `adapted`, too. `fresh` gives the lesson
    as it was before, to take the weights of one that is sharded.
    """
    first = together.rank == 0
    if fresh is not None:
        weights = whole_weights(lesson.network, keep=first)
        if first:
            lesson = fresh()
            adapted = add_adapters_to(lesson, schedule, 0)
            lesson.network.load_state_dict(weights)
    if not first:
        return
    if adapted is not None:
        save_adapters(adapted, folder / "adapter")
        if not merged:
            return
        lesson.model.model = merge(adapted)
    save(lesson.model, folder / "model")
