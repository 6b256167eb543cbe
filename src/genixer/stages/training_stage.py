"""What the stages that train share: settings, which rows they read, and how a training is done."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec
from pydantic import Field, model_validator

from genixer.data import ImageRef, Quarantined, SftRow, decode_row
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
from genixer.stages.training_job import Job, Note, Tracker, carry_out, count_row, schedule_of
from genixer.store.shards import raw_bytes, raw_text
from genixer.training.forecast import Means, Rows, forecast
from genixer.training.schedule import Parallel, Schedule

if TYPE_CHECKING:
    from genixer.training.batch import Conversation
    from genixer.training.cells import Region
    from genixer.training.output import Taught
    from genixer.training.parallel import Together

__all__ = ["TrainedRow", "TrainingSettings", "TrainingStage"]


class TrainedRow(msgspec.Struct, frozen=True):
    """A row that was trained on: its place among the step's inputs, and how many tokens it has."""

    id: str
    position: int
    tokens: int


class TrainingSettings(Schedule, StageSettings):
    """Which rows, for how long, at what rate, on how many devices."""

    rows_files: tuple[str, ...] = ()
    """JSON-lines files of training rows, as `instruct` writes them, in place of steps to read."""
    steps_when_limited: int = Field(3, ge=1)
    """Optimiser steps of a run with `--limit`: enough to see that it works."""
    processes: int = Field(1, ge=1)
    """Processes that train together, on a GPU each where there are any.

    All are on this machine, unless a launcher such as `torchrun` started as many.
    """
    parallel: Parallel = "ddp"
    """`ddp`: each process holds all weights. The others cut weights and optimiser among them.

    `zero2` gathers a layer once a step, `zero3`, which is also called `fsdp`, twice.
    """
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


class TrainingStage(Stage):
    """Trains a model on the rows (`SftRow`) of role `rows`, or of files.

    A subclass says how a row becomes tokens, what teaches which network, and how the result is
    written. A killed training goes on from its last checkpoint.
    """

    rows_per_shard = 4096
    elsewhere: ClassVar[str]
    """`module:function` that does a job as one of several processes."""
    loads: ClassVar[str]
    """`module.function` that loads what was written."""
    settings: Any
    """Those of the subclass: a `TrainingSettings` with `model` and `preset`."""

    def __init__(self, settings: TrainingSettings) -> None:
        """Load nothing yet."""
        super().__init__(settings)
        self._model: Any = None

    @abstractmethod
    def encode(self, step: Step, row: SftRow) -> Conversation | str:
        """Tokens of `row`, or why it cannot be trained on."""

    @abstractmethod
    def lesson(self, step: Step, schedule: Schedule) -> Taught:
        """What teaches the model to start from."""

    @abstractmethod
    def save(self, model: Any, folder: Path) -> None:
        """Write `model`, which was loaded and taught."""

    @abstractmethod
    def reads(self) -> Rows | str:
        """What `plan` reckons with, or a note that says why nobody can know."""

    def stored_bytes(self) -> int:
        """Bytes of a number of the weights while they are trained."""
        return 4

    def first(self, job: Job, note: Note, together: Together) -> None:
        """What is taught before all else: nothing by default."""

    def regions(self, step: Step) -> Mapping[ImageRef, Sequence[Region]]:
        """What images are known to show: nothing by default."""
        return {}

    def loaded(self, step: Step) -> Any:
        """The model to start from, once a process."""
        if self._model is None:
            self._model = self.load(step)
        return self._model

    @abstractmethod
    def load(self, step: Step) -> Any:
        """The model to start from, on the CPU: weights go to their device when training begins."""

    def folder_of(self, step: Step) -> str:
        """Where the model to start from lies, or its shipped name."""
        name = str(self.settings.model)
        return str(step.resolve(name)) if name.startswith("@") else name

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

    def rows(
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

    def seed(self, step: Step) -> int:
        """Seed of order and new weights."""
        return step.seed if self.settings.seed is None else int(self.settings.seed)

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Tokenise rows; keep those that can be trained on, reject the others with the reason."""
        for position, row in enumerate(self.rows(step, first, count), start=first):
            if isinstance(row, Quarantined):
                out.quarantine(row.where, row.reason, row.detail, raw_bytes(row.raw))
                continue
            found = self.encode(step, row)
            if isinstance(found, str):
                out.reject(row.id, found, row)
            else:
                out.keep(TrainedRow(row.id, position, len(found.ids)))

    def finish(self, step: Step, out: FileWriter, rows: StepOutput) -> None:
        """Train on the kept rows and write the weights."""
        if self.settings.processes > 1:
            self._model = None  # the children load it themselves
        job = Job(self.settings, step, rows, out.workspace(), out.scratch())
        carry_out(job, self.train, self.elsewhere, out)

    def train(self, job: Job, note: Note) -> dict[str, Any]:
        """Do `job` in this process; gives the rows seen, by source and task."""
        import torch

        from genixer.training.batch import group
        from genixer.training.card import write_cards
        from genixer.training.checkpoint import Checkpoints
        from genixer.training.order import order_of
        from genixer.training.output import add_adapters_to, write_model
        from genixer.training.parallel import Together
        from genixer.training.run import train

        step, settings, seed = job.step, self.settings, self.seed(job.step)
        schedule = schedule_of(settings, limited=step.limit is not None)
        torch.set_num_threads(step.threads)
        together = Together()
        self.first(job, note, together)
        seen: dict[str, int] = {}
        by_image = group(self._conversations(job, seen))
        lesson = self.lesson(step, schedule)
        order = order_of(by_image, schedule, seed, lesson.room(), self.regions(step))
        adapted = add_adapters_to(lesson, schedule, seed)
        parallel: Parallel = settings.parallel if together.world > 1 else "ddp"
        sharded = parallel != "ddp"
        checkpoints = Checkpoints(job.workspace / "steps", schedule.keep, together, sharded)
        train(
            lesson,
            order,
            schedule,
            seed,
            note,
            threads=step.threads,
            together=together,
            checkpoints=checkpoints,
            parallel=parallel,
        )
        # The weights have changed under it: a later step in this process must load afresh.
        self._model = None
        fresh = partial(self.lesson, step, schedule) if sharded else None
        write_model(
            lesson, adapted, schedule, job.folder, self.save, settings.merge, fresh, together
        )
        if together.rank == 0:
            start, preset = settings.model, lesson.model.preset.name
            write_cards(job.folder, self.loads, start, preset, seen, schedule, order.steps)
        return {"rows": seen, "images": len(by_image), "start": settings.model}

    def _conversations(
        self, job: Job, seen: dict[str, int]
    ) -> Iterator[tuple[ImageRef | None, Conversation]]:
        chosen = {row.position for row in job.rows.rows(TrainedRow)}
        for position, row in enumerate(self.rows(job.step)):
            if position in chosen and isinstance(row, SftRow):
                found = self.encode(job.step, row)
                if not isinstance(found, str):
                    count_row(seen, row)
                    yield row.image, found

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        """By model, schedule and rows; without `tokens_per_second`, as a tiny model on a core."""
        settings = self.settings
        sizes = [one.kept for one in inputs.get("rows", [])]
        rows = None if None in sizes else sum(size or 0 for size in sizes)
        reads = self.reads()
        if isinstance(reads, str):
            return Estimate(items=rows, kept=rows, notes=(reads,) if reads else ())
        if rows is None and settings.epochs:
            return Estimate(notes=("steps follow from the rows, which are not known yet",))
        means = Means(
            settings.processes,
            settings.parallel,
            settings.spoken,
            settings.tokens_per_second,
            self.stored_bytes(),
        )
        found = forecast(settings, reads, rows or 0, means)
        speed = settings.tokens_per_second * settings.processes or 3500 * settings.lanes
        return Estimate(
            rows, rows, found.tokens, found.tokens / speed, 16_000_000, notes=found.notes
        )
