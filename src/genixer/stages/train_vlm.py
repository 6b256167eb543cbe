"""Step 3 for any image-text model of transformers: training text to weights or adapters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from genixer.data import SftRow
from genixer.inference import named_files
from genixer.stages.base import Step
from genixer.stages.training_job import Job, Note
from genixer.stages.training_stage import TrainingSettings, TrainingStage
from genixer.training.forecast import Rows
from genixer.training.schedule import Schedule

if TYPE_CHECKING:
    from genixer.models.vlm import LoadedVlm
    from genixer.training.batch import Conversation
    from genixer.training.chat import VlmLesson

__all__ = ["TrainVlmSettings", "TrainVlmStage", "train_vlm_job"]

_NOT_HERE = ("spread", "cells", "question_weight")
"""Options of a schedule that know the tokens of a model of this project."""


class TrainVlmSettings(TrainingSettings):
    """From which weights, for how long, at what rate."""

    model: str
    """Weights to start from: a folder, or `@step/model`."""
    preset: str = ""
    """How its text writes boxes: a shipped preset or a YAML file; empty for `@step/model`."""
    most_px: int | None = Field(None, ge=1)
    """Most pixels an image may keep, for models that take any size; the processor's by default."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the weights while they are trained and as they are written."""
    image_px: tuple[int, int] = (640, 480)
    """Width and height of an image that `plan` reckons with."""

    @model_validator(mode="after")
    def _fits_here(self) -> Self:
        if self.order == "packed":
            raise ValueError("order: packed is for models of this project; use grouped")
        for name in _NOT_HERE:
            if getattr(self, name):
                raise ValueError(f"{name} is for models of this project (stage train)")
        return self


class TrainVlmStage(TrainingStage):
    """Trains an image-text model of transformers on the rows (`SftRow`) of role `rows`.

    Text goes through the model's own chat template (`genixer.training.chat`). Files: `model/` (a
    folder that transformers loads), with `lora` `adapter/`, `log.jsonl` (loss by step) and
    `seen.json` (rows by source and task). A killed training goes on from its last checkpoint.
    """

    name = "train_vlm"
    version = 2
    Settings = TrainVlmSettings
    elsewhere = "genixer.stages.train_vlm:train_vlm_job"
    loads = "genixer.models.vlm.load_vlm"

    def external(self) -> list[Path]:
        """Weights to start from, files of rows, and the preset, where no step makes them."""
        return [*super().external(), *named_files({"preset": self.settings.preset})]

    def load(self, step: Step) -> LoadedVlm:
        """The model to start from."""
        from genixer.models.vlm import load_vlm

        settings = self.settings
        folder = self.folder_of(step)
        return load_vlm(folder, settings.preset, settings.dtype, "cpu", settings.most_px)

    def encode(self, step: Step, row: SftRow) -> Conversation | str:
        """Tokens of `row`, or why it cannot be trained on."""
        from genixer.training.chat import encode_chat

        return encode_chat(row, self.loaded(step), self.settings.max_tokens)

    def lesson(self, step: Step, schedule: Schedule) -> VlmLesson:
        """What teaches the model to start from."""
        from genixer.training.chat import VlmLesson

        return VlmLesson(self.loaded(step), step.images, schedule)

    def save(self, model: LoadedVlm, folder: Path) -> None:
        """Write `model` beside the files it came with."""
        model.save(folder)

    def stored_bytes(self) -> int:
        """By `dtype`."""
        return 4 if self.settings.dtype == "float32" else 2

    def reads(self) -> Rows | str:
        """What `config.json` and the preset say, or why that is not enough."""
        from genixer.training.vlm_costs import vlm_rows

        settings = self.settings
        if settings.model.startswith("@"):
            return f"unknown steps, tokens, memory and hours: {settings.model} is not made yet"
        folder = Path(settings.model)
        return vlm_rows(folder, settings.preset, settings.image_px, settings.most_px)


def train_vlm_job(job: Job, note: Note) -> dict[str, Any]:
    """Do `job` as one of several processes."""
    return TrainVlmStage(job.settings).train(job, note)
