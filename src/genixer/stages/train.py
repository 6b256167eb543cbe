"""Step 3: training text to weights, for the base, the generator and every student."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from pydantic import Field

from genixer.data import ImageRef, Sample, SftRow
from genixer.stages.base import Estimate, Step
from genixer.stages.training_job import Job, Note
from genixer.stages.training_stage import TrainingSettings, TrainingStage
from genixer.training.forecast import Rows, preset_of, rows_of
from genixer.training.schedule import Schedule

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from genixer.models.base import Preset
    from genixer.models.llava import LoadedModel
    from genixer.training.batch import Conversation
    from genixer.training.cells import Region
    from genixer.training.llava import LlavaLesson
    from genixer.training.parallel import Together

__all__ = ["TrainSettings", "TrainStage", "train_job"]


class TrainSettings(TrainingSettings):
    """From which weights, for how long, at what rate."""

    model: str = "base"
    """Weights to start from: a shipped name, a folder, `@step/model`.

    Or `new:PRESET` for random ones.
    """
    preset: str = ""
    """Preset of a `model` folder that has none of its own."""
    tower_steps: int = Field(0, ge=0)
    """Steps in which the tower first learns by itself to name and box what each cell shows.

    Needs dense captions.
    """
    tower_recall: float = Field(0.5, ge=0.0)
    """What giving back its own piece of the picture counts for a cell, in these first steps."""
    save_as: Literal["float32", "float16"] = "float32"
    """Number format of the written weights; `float16` halves the file."""


class TrainStage(TrainingStage):
    """Trains on the rows (`SftRow`) of role `rows`.

    Role `regions` (samples of dense captions) teaches the tower first, and what each cell shows.
    A new model learns its words from the rows of role `words`, or from its own.

    Files: `model/` (weights, tokenizer, preset), with `lora` `adapter/`, `log.jsonl` (loss by step)
    and `seen.json` (rows by source and task). A killed training goes on from its last checkpoint.
    """

    name = "train"
    version = 3
    Settings = TrainSettings
    elsewhere = "genixer.stages.train:train_job"
    loads = "genixer.models.llava.load"

    def load(self, step: Step) -> LoadedModel:
        """The model to start from; a new one learns its words from all the rows."""
        from genixer.models.base import load_preset
        from genixer.models.llava import create, load

        name = self.settings.model
        if name.startswith("new:"):
            preset = load_preset(name[4:])
            return create(preset, self._words(step, preset), self.seed(step))
        return load(self.folder_of(step), step.threads, preset=self.settings.preset, device="cpu")

    def _words(self, step: Step, preset: Preset) -> PreTrainedTokenizerFast:
        """The tokenizer of a new model, learned from the rows of role `words`, else its own."""
        from genixer.models.tokenizer import new_tokenizer

        role = "words" if "words" in step.inputs else "rows"
        rows = step.rows(SftRow, role=role) if role == "words" else self.rows(step)
        texts = (m.text for row in rows if isinstance(row, SftRow) for m in row.messages)
        return new_tokenizer(preset, texts)

    def encode(self, step: Step, row: SftRow) -> Conversation | str:
        """Tokens of `row`, or why it cannot be trained on."""
        from genixer.training.batch import encode

        return encode(row, self.loaded(step))

    def lesson(self, step: Step, schedule: Schedule) -> LlavaLesson:
        """What teaches the model to start from."""
        from genixer.training.llava import LlavaLesson

        return LlavaLesson(self.loaded(step), schedule, step.images)

    def save(self, model: LoadedModel, folder: Path) -> None:
        """Write `model` in the number format that was asked for."""
        model.save(folder, half=self.settings.save_as == "float16")

    def regions(self, step: Step) -> dict[ImageRef, list[Region]]:
        """What each image shows, by the dense captions of role `regions`."""
        from genixer.training.cells import regions_of

        found: dict[ImageRef, list[Region]] = {}
        if "regions" in step.inputs:
            for sample in step.rows(Sample, role="regions"):
                if sample.task == "dense_caption" and sample.image is not None:
                    found.setdefault(sample.image, []).extend(regions_of(sample))
        return found

    def first(self, job: Job, note: Note, together: Together) -> None:
        """Let the tower learn by itself, unless it did before this training was killed."""
        if not self.settings.tower_steps:
            return
        from genixer.training.checkpoint import Checkpoints, load_tensors, tensors_of
        from genixer.training.tower import TowerSchedule, train_tower

        step, model = job.step, self.loaded(job.step)
        tower, regions = model.model.model.vision_tower, self.regions(step)
        lines: list[dict[str, Any]] = []
        taught = Checkpoints(job.workspace / "tower", 1, together)
        saved = taught.latest()
        if saved is None:
            steps = self.settings.tower_steps if step.limit is None else 2
            precision: Any = "fp32" if self.settings.precision == "fp32" else "bf16"
            recall = self.settings.tower_recall
            schedule = TowerSchedule(steps=steps, precision=precision, recall=recall)
            seed = self.seed(step)
            train_tower(model, list(regions.items()), schedule, step.images, seed, lines.append)
            if self.settings.save_every:
                taught.save(steps, tensors_of(tower, []), {"lines": lines})
        else:
            load_tensors(tower, [], saved.tensors)
            lines = saved.state["lines"]
        for line in lines:
            note(line)

    def reads(self) -> Rows | str:
        """What the preset says of rows and weights; nothing where a step is to make it first."""
        preset = preset_of(self.settings.model, self.settings.preset)
        return "" if preset is None else rows_of(preset, self.settings.max_tokens)

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        """As every training, and the tower's own steps before it."""
        found = super().estimate(inputs)
        alone = self.settings.tower_steps * 0.25 if found.tokens else 0.0
        return msgspec.structs.replace(found, seconds=found.seconds + alone)


def train_job(job: Job, note: Note) -> dict[str, Any]:
    """Do `job` as one of several processes."""
    return TrainStage(job.settings).train(job, note)
