"""Step 3: training text to weights, for the base, the generator and every student."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from pydantic import Field

from genixer.data import ImageRef, Sample, SftRow, encode_row
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

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from genixer.models.base import Preset
    from genixer.models.llava import LoadedModel
    from genixer.training.batch import Conversation
    from genixer.training.cells import Region

__all__ = ["TrainSettings", "TrainStage", "TrainedRow"]

log = logging.getLogger(__name__)


class TrainedRow(msgspec.Struct, frozen=True):
    """A row that was trained on: its place among the step's inputs, and how many tokens it has."""

    id: str
    position: int
    tokens: int


class TrainSettings(StageSettings):
    """From which weights, for how long, at what rate."""

    model: str = "base"
    """Weights to start from: a shipped name, a folder, `@step/model`.

    Or `new:PRESET` for random ones.
    """
    steps: int = Field(200, ge=1)
    """Optimiser steps."""
    steps_when_limited: int = Field(3, ge=1)
    """Optimiser steps of a run with `--limit`: enough to see that it works."""
    images_per_step: int = Field(8, ge=1)
    """Images in a batch."""
    conversations_per_image: int = Field(8, ge=1)
    """Conversations read off an image at one visit; they share its prefix."""
    lr: float = 1e-3
    """Peak learning rate of everything but the vision tower."""
    tower_lr: float = 0.0
    """Peak learning rate of the vision tower; 0 freezes it."""
    tower_steps: int = Field(0, ge=0)
    """Steps in which the tower first learns by itself to name and box what each cell shows.

    Needs dense captions.
    """
    tower_recall: float = Field(0.5, ge=0.0)
    """What giving back its own piece of the picture counts for a cell, in these first steps."""
    warmup: float = 0.03
    """Share of the steps with a rising rate; then it falls as a cosine."""
    length_power: float = 0.5
    """0: every token counts the same; 1: every conversation does."""
    weights: dict[str, float] = Field(default_factory=dict)
    """How often conversations are drawn: a number for a purpose, purpose/task or purpose/task/kind.

    Those that an entry covers share its number, however many an image has; others count 1 each.
    """
    optimiser: Literal["adamw", "muon"] = "adamw"
    """`muon` for the matrices of the language model and projector learns in fewer steps."""
    spread: float = Field(0.0, ge=0.0, le=10.0)
    """Printed steps (standard deviation) over which a coordinate's neighbours are nearly right."""
    cells: float = Field(0.0, ge=0.0)
    """What a cell that shows a thing counts, against an answer of one token; needs `regions`.

    The language model then also learns to say at each image token what is there.
    """
    lanes: int = Field(1, ge=1)
    """Parts of a batch computed side by side, each with the run's `threads`."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16` computes matrix products in bfloat16."""
    save_as: Literal["float32", "float16"] = "float32"
    """Number format of the written weights; `float16` halves the file."""
    seed: int | None = None
    """Order of the rows, and weights of a new model; the run's seed where it is not set."""


class TrainStage(Stage):
    """Trains on the rows (`SftRow`) of role `rows`.

    Role `regions` (samples of dense captions) teaches the tower first, and what each cell shows.
    A new model learns its words from the rows of role `words`, or from its own.

    Files: `model/` (weights, tokenizer, preset), `log.jsonl` (loss by step), `seen.json` (rows by
    source and task).
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
        return step.count()

    def external(self) -> list[Path]:
        """Weights to start from, where no step of the run makes them."""
        return model_files(self.settings.model)

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
                self._model = load(path, step.threads)
        return self._model

    def _words(self, step: Step, preset: Preset) -> PreTrainedTokenizerFast:
        """The tokenizer of a new model, learned from the rows of role `words`, else its own."""
        from genixer.models.tokenizer import new_tokenizer

        role = "words" if "words" in step.inputs else "rows"
        texts = (m.text for row in step.rows(SftRow, role=role) for m in row.messages)
        return new_tokenizer(preset, texts)

    def _seed(self, step: Step) -> int:
        return step.seed if self.settings.seed is None else int(self.settings.seed)

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Tokenise rows; keep those that can be trained on, reject the others with the reason."""
        from genixer.training.batch import encode

        model = self._load(step)
        for position, row in enumerate(step.rows(SftRow, first, count), start=first):
            found = encode(row, model)
            if isinstance(found, str):
                out.reject(row.id, found, row)
            else:
                out.keep(TrainedRow(row.id, position, len(found.ids)))

    def finish(self, step: Step, out: FileWriter, rows: StepOutput) -> None:
        """Train on the kept rows and write the weights."""
        import torch

        from genixer.training.batch import group
        from genixer.training.run import train

        torch.set_num_threads(step.threads)
        model, seed = self._load(step), self._seed(step)
        lines: list[dict[str, Any]] = []

        def note(line: dict[str, Any]) -> None:
            lines.append(line)
            log.debug("%s: %s", step.name, line)

        regions = self._regions(step)
        self._teach_tower(step, model, regions, note)
        chosen = {row.position for row in rows.rows(TrainedRow)}
        seen: dict[str, int] = {}
        by_image = group(self._conversations(step, model, chosen, seen))
        schedule = self._schedule(step)
        train(model, by_image, schedule, step.images, seed, note, step.threads, regions)
        folder = out.scratch()
        model.save(folder, half=self.settings.save_as == "float16")
        out.adopt(folder, "model")
        out.file("log.jsonl", b"".join(encode_row(_timeless(line)) + b"\n" for line in lines))
        summary = {"rows": seen, "images": len(by_image), "start": self.settings.model}
        out.file("seen.json", encode_row(summary))
        # The weights have changed under it: a later step in this process must load afresh.
        self._model = None

    def _schedule(self, step: Step) -> Any:
        from genixer.training.run import Schedule

        names = set(Schedule.model_fields) & set(TrainSettings.model_fields)
        settings = {name: getattr(self.settings, name) for name in names}
        if step.limit is not None:
            settings["steps"] = min(self.settings.steps, self.settings.steps_when_limited)
        return Schedule(**settings)

    def _conversations(
        self, step: Step, model: LoadedModel, chosen: set[int], seen: dict[str, int]
    ) -> Iterator[tuple[ImageRef, Conversation]]:
        from genixer.training.batch import encode

        for position, row in enumerate(step.rows(SftRow)):
            if position in chosen:
                found = encode(row, model)
                if not isinstance(found, str):
                    name = f"{row.source or 'unknown'}/{row.task}"
                    seen[name] = seen.get(name, 0) + 1
                    yield row.image, found

    def _regions(self, step: Step) -> dict[ImageRef, list[Region]]:
        """What each image shows, by the dense captions of role `regions`."""
        from genixer.training.cells import regions_of

        found: dict[ImageRef, list[Region]] = {}
        if "regions" in step.inputs:
            for sample in step.rows(Sample, role="regions"):
                if sample.task == "dense_caption":
                    found.setdefault(sample.image, []).extend(regions_of(sample))
        return found

    def _teach_tower(
        self,
        step: Step,
        model: LoadedModel,
        regions: Mapping[ImageRef, list[Region]],
        note: Callable[[dict[str, Any]], None],
    ) -> None:
        if not self.settings.tower_steps:
            return
        from genixer.training.tower import TowerSchedule, train_tower

        steps = self.settings.tower_steps if step.limit is None else 2
        schedule = TowerSchedule(
            steps=steps, precision=self.settings.precision, recall=self.settings.tower_recall
        )
        train_tower(model, list(regions.items()), schedule, step.images, self._seed(step), note)

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        """About 3500 tokens a second and lane, 25 tokens a conversation (tiny preset, one core)."""
        items = sum(one.kept or 0 for one in inputs.get("rows", []))
        images = self.settings.steps * self.settings.images_per_step
        tokens = images * (65 + 25 * self.settings.conversations_per_image)
        seconds = tokens / (3500 * self.settings.lanes) + self.settings.tower_steps * 0.25
        return Estimate(items=items, kept=items, tokens=tokens, seconds=seconds, bytes=16_000_000)


def _timeless(line: dict[str, Any]) -> dict[str, Any]:
    """A log line without speeds, so that the same training writes the same bytes."""
    return {key: value for key, value in line.items() if key != "tokens_per_second"}
