"""Step 3: training text to weights, for the base, the generator and every student."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec
from pydantic import Field, model_validator

from genixer.data import ImageRef, Quarantined, Sample, SftRow, decode_row
from genixer.errors import DataError
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
from genixer.stages.training_job import Note, Tracker, carry_out, count_row, schedule_of
from genixer.store.shards import raw_bytes, raw_text
from genixer.training.schedule import Parallel, Schedule

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from genixer.models.base import Preset
    from genixer.models.llava import LoadedModel
    from genixer.training.batch import Conversation
    from genixer.training.cells import Region
    from genixer.training.parallel import Together

__all__ = ["Job", "TrainSettings", "TrainStage", "TrainedRow", "train_job"]


class TrainedRow(msgspec.Struct, frozen=True):
    """A row that was trained on: its place among the step's inputs, and how many tokens it has."""

    id: str
    position: int
    tokens: int


class TrainSettings(Schedule, StageSettings):
    """From which weights, for how long, at what rate."""

    model: str = "base"
    """Weights to start from: a shipped name, a folder, `@step/model`.

    Or `new:PRESET` for random ones.
    """
    rows_files: tuple[str, ...] = ()
    """JSON-lines files of training rows, as `instruct` writes them, in place of steps to read."""
    preset: str = ""
    """Preset of a `model` folder that has none of its own."""
    steps_when_limited: int = Field(3, ge=1)
    """Optimiser steps of a run with `--limit`: enough to see that it works."""
    tower_steps: int = Field(0, ge=0)
    """Steps in which the tower first learns by itself to name and box what each cell shows.

    Needs dense captions.
    """
    tower_recall: float = Field(0.5, ge=0.0)
    """What giving back its own piece of the picture counts for a cell, in these first steps."""
    processes: int = Field(1, ge=1)
    """Processes that train together, on a GPU each where there are any.

    All are on this machine, unless a launcher such as `torchrun` started as many.
    """
    parallel: Parallel = "ddp"
    """`ddp`: each process holds all weights. The others cut weights and optimiser among them.

    `zero2` gathers a layer once a step, `zero3`, which is also called `fsdp`, twice.
    """
    save_as: Literal["float32", "float16"] = "float32"
    """Number format of the written weights; `float16` halves the file."""
    merge: bool = True
    """Whether `lora` also writes the whole model, with its adapters merged into the weights."""
    track: tuple[Tracker, ...] = ()
    """Where the log goes while training: `jsonl`, `tensorboard` (both below the step's `logs/`).

    Or `wandb` and `trackio`, which must be installed; they work offline.
    """
    spoken: int = Field(25, ge=1)
    """Tokens of a conversation, its image left out, that `plan` reckons with."""
    tokens_per_second: float = Field(0.0, ge=0)
    """Speed of one device that `plan` reckons hours with; 0: that of a small model on a core."""
    seed: int | None = None
    """Order of the rows, and weights of a new model; the run's seed where it is not set."""

    @model_validator(mode="after")
    def _fits_processes(self) -> Self:
        if self.parallel != "ddp" and self.optimiser == "muon":
            raise ValueError(f"muon needs whole matrices: parallel: {self.parallel} cuts them")
        if self.parallel != "ddp" and self.lanes > 1:
            raise ValueError(f"lanes are for parallel: ddp, not {self.parallel}")
        if self.images_per_step % (self.processes * self.accumulate):
            raise ValueError(
                f"images_per_step: {self.images_per_step} cannot be shared by {self.processes} "
                f"processes in {self.accumulate} parts each; make it a multiple of "
                f"{self.processes * self.accumulate}"
            )
        return self


@dataclass(frozen=True)
class Job:
    """A training that any process can take up: rows, a place for checkpoints, one for weights."""

    settings: TrainSettings
    step: Step
    rows: StepOutput
    workspace: Path
    folder: Path


class TrainStage(Stage):
    """Trains on the rows (`SftRow`) of role `rows`.

    Role `regions` (samples of dense captions) teaches the tower first, and what each cell shows.
    A new model learns its words from the rows of role `words`, or from its own.

    Files: `model/` (weights, tokenizer, preset), with `lora` `adapter/`, `log.jsonl` (loss by step)
    and `seen.json` (rows by source and task). A killed training goes on from its last checkpoint.
    """

    name = "train"
    version = 3
    Settings = TrainSettings
    rows_per_shard = 4096

    def __init__(self, settings: TrainSettings) -> None:
        """Load nothing yet."""
        super().__init__(settings)
        self._model: LoadedModel | None = None

    def items(self, step: Step) -> int:
        """One item a row."""
        return step.count() + sum(1 for _ in self._lines())

    def external(self) -> list[Path]:
        """Weights to start from, where no step of the run makes them, and files of rows."""
        return [*model_files(self.settings.model), *map(Path, self.settings.rows_files)]

    def _lines(self) -> Iterator[tuple[str, bytes]]:
        """Place and bytes of every line of the rows files."""
        for name in self.settings.rows_files:
            with Path(name).open("rb") as file:
                for number, line in enumerate(file, start=1):
                    yield f"{name}:{number}", line.rstrip(b"\r\n")

    def _rows(
        self, step: Step, first: int = 0, count: int | None = None
    ) -> Iterator[SftRow | Quarantined]:
        """Rows of steps, then those of files; what is no row says why."""
        yield from step.rows(SftRow, first, count)
        first, stop = max(0, first - step.count()), None if count is None else first + count
        stop = None if stop is None else max(0, stop - step.count())
        for place, line in islice(self._lines(), first, stop):
            try:
                yield decode_row(line, SftRow)
            except DataError as error:
                yield Quarantined(place, "bad_row", str(error), raw_text(line))

    def _load(self, step: Step) -> LoadedModel:
        """The model to start from, once a process; a new one learns its words from all the rows."""
        if self._model is None:
            from genixer.models.base import load_preset
            from genixer.models.llava import create, load

            name = self.settings.model
            if name.startswith("new:"):
                preset = load_preset(name[4:])
                self._model = create(preset, self._words(step, preset), self._seed(step))
            else:
                path = str(step.resolve(name)) if name.startswith("@") else name
                # Weights go to their device, whole or in part, when training begins.
                preset_name = self.settings.preset
                self._model = load(path, step.threads, preset=preset_name, device="cpu")
        return self._model

    def _words(self, step: Step, preset: Preset) -> PreTrainedTokenizerFast:
        """The tokenizer of a new model, learned from the rows of role `words`, else its own."""
        from genixer.models.tokenizer import new_tokenizer

        role = "words" if "words" in step.inputs else "rows"
        rows = step.rows(SftRow, role=role) if role == "words" else self._rows(step)
        texts = (m.text for row in rows if isinstance(row, SftRow) for m in row.messages)
        return new_tokenizer(preset, texts)

    def _seed(self, step: Step) -> int:
        return step.seed if self.settings.seed is None else int(self.settings.seed)

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Tokenise rows; keep those that can be trained on, reject the others with the reason."""
        from genixer.training.batch import encode

        model = self._load(step)
        for position, row in enumerate(self._rows(step, first, count), start=first):
            if isinstance(row, Quarantined):
                out.quarantine(row.where, row.reason, row.detail, raw_bytes(row.raw))
                continue
            found = encode(row, model)
            if isinstance(found, str):
                out.reject(row.id, found, row)
            else:
                out.keep(TrainedRow(row.id, position, len(found.ids)))

    def finish(self, step: Step, out: FileWriter, rows: StepOutput) -> None:
        """Train on the kept rows and write the weights."""
        if self.settings.processes > 1:
            self._model = None  # the children load it themselves
        job = Job(self.settings, step, rows, out.workspace(), out.scratch())
        carry_out(job, self.train, "genixer.stages.train:train_job", out)

    def train(self, job: Job, note: Note) -> dict[str, Any]:
        """Do `job` in this process; gives the rows seen, by source and task."""
        import torch

        from genixer.training.batch import group
        from genixer.training.card import write_cards
        from genixer.training.checkpoint import Checkpoints
        from genixer.training.llava import LlavaLesson
        from genixer.training.order import order_of
        from genixer.training.output import add_adapters_to, write_model
        from genixer.training.parallel import Together
        from genixer.training.run import train

        step, seed = job.step, self._seed(job.step)
        schedule = schedule_of(self.settings, limited=step.limit is not None)
        torch.set_num_threads(step.threads)
        model, together = self._load(step), Together()
        regions = self._regions(step)
        self._teach_tower(job, model, regions, note, together)
        seen: dict[str, int] = {}
        by_image = group(self._conversations(job, model, seen))
        order = order_of(by_image, schedule, seed, model, regions)
        adapted = add_adapters_to(model, schedule, seed)
        parallel: Parallel = self.settings.parallel if together.world > 1 else "ddp"
        sharded = parallel != "ddp"
        train(
            LlavaLesson(model, schedule, step.images),
            order,
            schedule,
            seed,
            note,
            threads=step.threads,
            together=together,
            checkpoints=Checkpoints(job.workspace / "steps", schedule.keep, together, sharded),
            parallel=parallel,
        )
        # The weights have changed under it: a later step in this process must load afresh.
        self._model = None
        fresh = partial(self._load, step) if sharded else None
        half = self.settings.save_as == "float16"
        write_model(
            model, adapted, schedule, job.folder, half, self.settings.merge, fresh, together
        )
        if together.rank == 0:
            start = self.settings.model
            write_cards(job.folder, start, model.preset.name, seen, schedule, order.steps)
        return {"rows": seen, "images": len(by_image), "start": self.settings.model}

    def _conversations(
        self, job: Job, model: LoadedModel, seen: dict[str, int]
    ) -> Iterator[tuple[ImageRef | None, Conversation]]:
        from genixer.training.batch import encode

        chosen = {row.position for row in job.rows.rows(TrainedRow)}
        for position, row in enumerate(self._rows(job.step)):
            if position in chosen and isinstance(row, SftRow):
                found = encode(row, model)
                if not isinstance(found, str):
                    count_row(seen, row)
                    yield row.image, found

    def _regions(self, step: Step) -> dict[ImageRef, list[Region]]:
        """What each image shows, by the dense captions of role `regions`."""
        from genixer.training.cells import regions_of

        found: dict[ImageRef, list[Region]] = {}
        if "regions" in step.inputs:
            for sample in step.rows(Sample, role="regions"):
                if sample.task == "dense_caption" and sample.image is not None:
                    found.setdefault(sample.image, []).extend(regions_of(sample))
        return found

    def _teach_tower(
        self,
        job: Job,
        model: LoadedModel,
        regions: Mapping[ImageRef, list[Region]],
        note: Note,
        together: Together,
    ) -> None:
        """Let the tower learn by itself, unless it did before this training was killed."""
        if not self.settings.tower_steps:
            return
        from genixer.training.checkpoint import Checkpoints, load_tensors, tensors_of
        from genixer.training.tower import TowerSchedule, train_tower

        step, tower = job.step, model.model.model.vision_tower
        lines: list[dict[str, Any]] = []
        taught = Checkpoints(job.workspace / "tower", 1, together)
        saved = taught.latest()
        if saved is None:
            steps = self.settings.tower_steps if step.limit is None else 2
            precision: Any = "fp32" if self.settings.precision == "fp32" else "bf16"
            recall = self.settings.tower_recall
            schedule = TowerSchedule(steps=steps, precision=precision, recall=recall)
            seed = self._seed(step)
            train_tower(model, list(regions.items()), schedule, step.images, seed, lines.append)
            if self.settings.save_every:
                taught.save(steps, tensors_of(tower, []), {"lines": lines})
        else:
            load_tensors(tower, [], saved.tensors)
            lines = saved.state["lines"]
        for line in lines:
            note(line)

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        """By preset, schedule and rows; without `tokens_per_second`, as a tiny model on a core."""
        from genixer.training.forecast import Means, forecast, preset_of

        settings = self.settings
        sizes = [one.kept for one in inputs.get("rows", [])]
        rows = None if None in sizes else sum(size or 0 for size in sizes)
        preset = preset_of(settings.model, settings.preset)
        if preset is None:
            return Estimate(items=rows, kept=rows)
        means = Means(
            settings.processes, settings.parallel, settings.spoken, settings.tokens_per_second
        )
        if rows is None and settings.epochs:
            return Estimate(notes=("steps follow from the rows, which are not known yet",))
        found = forecast(settings, preset, rows or 0, means)
        speed = settings.tokens_per_second * settings.processes or 3500 * settings.lanes
        seconds = found.tokens / speed + settings.tower_steps * 0.25
        return Estimate(rows, rows, found.tokens, seconds, 16_000_000, notes=found.notes)


def train_job(job: Job, note: Note) -> dict[str, Any]:
    """Do `job` as one of several processes."""
    return TrainStage(job.settings).train(job, note)
