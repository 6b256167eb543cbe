"""Step 3 for any image-text model of transformers: training text to weights or adapters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from genixer.data import ImageRef, SftRow
from genixer.inference import named_files
from genixer.models.base import model_files
from genixer.stages.base import (
    Estimate,
    FileWriter,
    RowWriter,
    Stage,
    StageSettings,
    Step,
    StepOutput,
)
from genixer.stages.train import TrainedRow
from genixer.stages.training_job import Note, Tracker, carry_out, count_row, schedule_of
from genixer.training.schedule import Schedule

if TYPE_CHECKING:
    from genixer.models.vlm import LoadedVlm
    from genixer.training.batch import Conversation

__all__ = ["TrainVlmSettings", "TrainVlmStage", "VlmJob", "train_vlm_job"]

_NOT_HERE = ("spread", "cells", "question_weight")
"""Options of a schedule that know the tokens of a model of this project."""


class TrainVlmSettings(Schedule, StageSettings):
    """From which weights, for how long, at what rate."""

    model: str
    """Weights to start from: a folder, or `@step/model`."""
    preset: str = ""
    """How its text writes boxes: a shipped preset or a YAML file; empty for `@step/model`."""
    most_px: int | None = Field(None, ge=1)
    """Most pixels an image may keep, for models that take any size; the processor's by default."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the weights while they are trained and as they are written."""
    steps_when_limited: int = Field(3, ge=1)
    """Optimiser steps of a run with `--limit`: enough to see that it works."""
    processes: int = Field(1, ge=1)
    """Processes that train together, on a GPU each where there are any.

    All are on this machine, unless a launcher such as `torchrun` started as many.
    """
    merge: bool = True
    """Whether `lora` also writes the whole model, with its adapters merged into the weights."""
    track: tuple[Tracker, ...] = ()
    """Where the log goes while training: `jsonl`, `tensorboard`, or `wandb` and `trackio`."""
    seed: int | None = None
    """Order of the rows; the run's seed where it is not set."""

    @model_validator(mode="after")
    def _fits_here(self) -> Self:
        if self.order != "draw":
            raise ValueError(f"order: {self.order} needs rows of one prefix; here it is draw")
        for name in _NOT_HERE:
            if getattr(self, name):
                raise ValueError(f"{name} is for models of this project (stage train)")
        if self.images_per_step % (self.processes * self.accumulate):
            raise ValueError(
                f"images_per_step: {self.images_per_step} is no multiple of {self.processes} "
                f"processes times {self.accumulate} parts"
            )
        return self


@dataclass(frozen=True)
class VlmJob:
    """A training that any process can take up: rows, a place for checkpoints, one for weights."""

    settings: TrainVlmSettings
    step: Step
    rows: StepOutput
    workspace: Path
    folder: Path


class TrainVlmStage(Stage):
    """Trains an image-text model of transformers on the rows (`SftRow`) of role `rows`.

    Text goes through the model's own chat template (`genixer.training.chat`). Files: `model/` (a
    folder that transformers loads), with `lora` `adapter/`, `log.jsonl` (loss by step) and
    `seen.json` (rows by source and task). A killed training goes on from its last checkpoint.
    """

    name = "train_vlm"
    Settings = TrainVlmSettings
    rows_per_shard = 4096

    def __init__(self, settings: TrainVlmSettings) -> None:
        """Load nothing yet."""
        super().__init__(settings)
        self._model: LoadedVlm | None = None

    def items(self, step: Step) -> int:
        """One item a row."""
        return step.count()

    def external(self) -> list[Path]:
        """Weights to start from and the preset, where no step of the run makes them."""
        return [*model_files(self.settings.model), *named_files({"preset": self.settings.preset})]

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Tokenise rows; keep those that can be trained on, reject the others with the reason."""
        for position, row in enumerate(step.rows(SftRow, first, count), start=first):
            found = self._encode(step, row)
            if isinstance(found, str):
                out.reject(row.id, found, row)
            else:
                out.keep(TrainedRow(row.id, position, len(found.ids)))

    def finish(self, step: Step, out: FileWriter, rows: StepOutput) -> None:
        """Train on the kept rows and write the weights."""
        if self.settings.processes > 1:
            self._model = None  # the children load it themselves
        job = VlmJob(self.settings, step, rows, out.workspace(), out.scratch())
        carry_out(job, self.train, "genixer.stages.train_vlm:train_vlm_job", out)

    def train(self, job: VlmJob, note: Note) -> dict[str, Any]:
        """Do `job` in this process; gives the rows seen, by source and task."""
        from genixer.training.adapters import add_adapters, merge, save_adapters
        from genixer.training.batch import group
        from genixer.training.chat import VlmLesson
        from genixer.training.checkpoint import Checkpoints
        from genixer.training.order import drawn
        from genixer.training.parallel import Together
        from genixer.training.run import train

        step, together = job.step, Together()
        schedule = schedule_of(self.settings, limited=step.limit is not None)
        seed = step.seed if self.settings.seed is None else self.settings.seed
        model = self._load(step)
        lesson = VlmLesson(model, step.images, schedule.length_power)
        if schedule.gradient_checkpointing:
            model.model.activation_checkpointing_enable({"use_reentrant": False})
        seen: dict[str, int] = {}
        by_image = group(self._conversations(job, seen))
        adapted = add_adapters(lesson, schedule, seed) if schedule.trainable == "lora" else None
        checkpoints = Checkpoints(job.workspace / "steps", schedule.keep, together, False)
        train(
            lesson,
            drawn(by_image, schedule, seed),
            schedule,
            seed,
            note,
            threads=step.threads,
            together=together,
            checkpoints=checkpoints,
        )
        # The weights have changed under it: a later step in this process must load afresh.
        self._model = None
        if together.rank == 0:
            if adapted is not None:
                save_adapters(adapted, job.folder / "adapter")
                model.model = merge(adapted)
            if adapted is None or self.settings.merge:
                model.save(job.folder / "model")
        return {"rows": seen, "images": len(by_image), "start": self.settings.model}

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        """How many rows come in; time and memory depend on the model."""
        items = sum(one.kept or 0 for one in inputs.get("rows", []))
        return Estimate(items=items, kept=items)

    def _load(self, step: Step) -> LoadedVlm:
        """The model to start from, once a process."""
        if self._model is None:
            from genixer.models.vlm import load_vlm

            settings = self.settings
            name = settings.model
            folder = str(step.resolve(name)) if name.startswith("@") else name
            self._model = load_vlm(
                folder, settings.preset, settings.dtype, "auto", settings.most_px
            )
        return self._model

    def _encode(self, step: Step, row: SftRow) -> Conversation | str:
        from genixer.training.chat import encode_chat

        return encode_chat(row, self._load(step), self.settings.max_tokens)

    def _conversations(
        self, job: VlmJob, seen: dict[str, int]
    ) -> Iterator[tuple[ImageRef | None, Conversation]]:
        chosen = {row.position for row in job.rows.rows(TrainedRow)}
        for position, row in enumerate(job.step.rows(SftRow)):
            found = self._encode(job.step, row) if position in chosen else ""
            if not isinstance(found, str):
                count_row(seen, row)
                yield row.image, found


def train_vlm_job(job: VlmJob, note: Note) -> dict[str, Any]:
    """Do `job` as one of several processes."""
    return TrainVlmStage(job.settings).train(job, note)
