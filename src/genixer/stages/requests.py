"""What a generate step asks: its settings, and which requests every image gets.

Images come in the order of their names (or of their archive or list). Each gets the same list of
requests, so that those about one image lie side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import msgspec
from pydantic import BaseModel, ConfigDict, Field, field_validator

from genixer.data import (
    ImageRef,
    Mode,
    Quarantined,
    Request,
    Sampling,
    encode_row,
    random_for,
)
from genixer.errors import ConfigError, near
from genixer.sources.unlabelled import find_pools, pool_images
from genixer.stages.base import FileWriter, RowWriter, StageSettings, Step
from genixer.store.images import ImageCatalog, ImageError
from genixer.store.shards import raw_bytes
from genixer.tasks import TASKS, instructions, load_task

__all__ = ["Draws", "GenerateSettings", "RequestPlan", "SamplingSettings"]

_Image = str | Quarantined
"""Path of an image, or what was broken where one was expected."""
_PLANNED = msgspec.json.Decoder(_Image)
_PLAN_ROWS = 1024
"""Images in one file of the plan: a shard reads one or two files, however many there are."""


class SamplingSettings(BaseModel):
    """How tokens are drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float | None = Field(None, ge=0.0)
    """Divides the logits before a token is drawn; 0 always takes the likeliest."""
    top_p: float | None = Field(None, gt=0.0, le=1.0)
    """Only the likeliest tokens that together reach this probability."""
    top_k: int | None = Field(None, ge=0)
    """Only this many of the likeliest tokens; 0 is off."""
    max_new_tokens: int | None = Field(None, ge=1)
    """Where a completion is cut."""


class Draws(BaseModel):
    """How many requests an image gets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agnostic: int = Field(1, ge=0)
    """Requests without a task: the model chooses what to ask."""
    specific: int = Field(1, ge=0)
    """Requests for each task."""


class GenerateSettings(StageSettings):
    """Which images, which model, what is asked of it."""

    images: str
    """Images without labels: a folder inside the run's image root (`@world/unlabelled/images`), tar
    or Parquet files in it (`pool/*.tar`), a list (`*.txt`) or LLaVA file (`*.json`, `*.jsonl`)."""
    licence: str = ""
    """Licence of the pictures: what their owner allows (`CC BY 4.0`). Rows about them carry it."""
    model: str = "base"
    """The generator: a shipped name, a folder, or `@step/model`."""
    backend: str = "transformers"
    """What runs it (`genixer list backends`)."""
    backend_settings: dict[str, Any] = Field(default_factory=dict)
    """The backend's own settings."""
    tasks: tuple[str, ...] = ("common_vqa", "adv_vqa", "mc_vqa", "md", "rec", "reg")
    """Tasks to ask for in specific mode."""
    modes: Draws = Draws()
    """Requests per image: `agnostic` in all, `specific` for each task."""
    temperature: float = Field(0.7, ge=0.0)
    """Divides the logits before a token is drawn; 0 always takes the likeliest."""
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    """Only the likeliest tokens that together reach this probability."""
    top_k: int = Field(0, ge=0)
    """Only this many of the likeliest tokens; 0 is off."""
    max_new_tokens: int = Field(64, ge=1)
    """Where a completion is cut."""
    per_task: dict[str, SamplingSettings] = Field(default_factory=dict)
    """Sampling of its own for some tasks, by task name; `agnostic` for requests without a task."""
    block: int = Field(64, ge=1, le=512)
    """Requests the model answers together; must divide the rows of a shard (512 by default)."""

    @field_validator("tasks")
    @classmethod
    def _known_tasks(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in TASKS]
        if unknown:
            raise ValueError(f"no task is called {unknown[0]!r}; {near(unknown[0], TASKS)}")
        if len(set(names)) < len(names):
            raise ValueError("a task stands twice; raise modes.specific for more requests of each")
        return names

    @field_validator("per_task")
    @classmethod
    def _known_keys(cls, values: dict[str, SamplingSettings]) -> dict[str, SamplingSettings]:
        for name in values:
            if name != "agnostic" and name not in TASKS:
                raise ValueError(f"no task is called {name!r}; {near(name, [*TASKS, 'agnostic'])}")
        return values


class Asked(NamedTuple):
    """One request of the list every image gets."""

    task: str
    mode: Mode
    draw: int


class RequestPlan:
    """Requests of a step by number; those about one image lie side by side.

    Files: `plan/*.jsonl`, the images in order, so that a resumed run asks about the same ones.
    """

    def __init__(self, settings: GenerateSettings) -> None:
        """Plan what `settings` ask for."""
        self._settings = settings
        self._asked = _requests_per_image(settings)

    @property
    def per_image(self) -> int:
        """Requests about every image."""
        return len(self._asked)

    def count(self, step: Step) -> int:
        """How many requests there are; raises `ConfigError` where there is no image."""
        images = sum(1 for _ in self._images(step))
        if not images:
            raise ConfigError(
                f"step {step.name}: images: {self._settings.images} holds no images; archives in a "
                "folder have to be named: pool/*.tar"
            )
        return images * len(self._asked)

    def write(self, step: Step, out: FileWriter) -> None:
        """Write the names of the images in order; whoever needs them opens them."""
        most = None if step.limit is None else -(-step.limit // max(1, len(self._asked)))
        images = islice(self._images(step), most)
        start = 0
        while lines := [encode_row(image) + b"\n" for image in islice(images, _PLAN_ROWS)]:
            out.file(_plan_file(start), b"".join(lines))
            start += len(lines)

    def requests(
        self, step: Step, numbers: range, catalog: ImageCatalog, out: RowWriter
    ) -> Iterator[Request]:
        """Requests by number; those of an unusable image go to quarantine with its reason."""
        size = len(self._asked)
        images = _planned(step, numbers.start // size, (numbers.stop - 1) // size + 1)
        for number in numbers:
            planned = images[number // size - numbers.start // size]
            asked = self._asked[number % size]
            which = f"{asked.task or asked.mode}:{asked.draw}"
            if isinstance(planned, Quarantined):
                raw = raw_bytes(planned.raw)
                out.quarantine(f"{planned.where}#{which}", planned.reason, planned.detail, raw)
                continue
            try:
                image = catalog.ref(planned)
            except ImageError as error:
                out.quarantine(f"{planned}#{which}", error.reason, error.detail)
                continue
            yield self._request(step, image, asked)

    def _images(self, step: Step) -> Iterator[_Image]:
        """Images in order, as paths relative to the run's image root."""
        pools = find_pools(step.resolve(self._settings.images))
        if not pools:
            raise ConfigError(
                f"step {step.name}: images: no folder or file {self._settings.images}"
            )
        for pool in pools:
            yield from pool_images(pool, step.images)

    def _request(self, step: Step, image: ImageRef, asked: Asked) -> Request:
        """The whole request: its words and its luck follow from its id and the run's seed."""
        name = asked.task or "agnostic"
        own = self._settings.per_task.get(name, SamplingSettings()).model_dump(exclude_none=True)
        common = {key: getattr(self._settings, key) for key in SamplingSettings.model_fields}
        blank = Request.of(image, asked.task, asked.mode, asked.draw, "", Sampling())
        rng = random_for(step.seed, "generate", blank.id)
        sampling = Sampling(seed=rng.getrandbits(63), **{**common, **own})
        prompt = (
            load_task(asked.task).ask(rng, asked.mode)
            if asked.task
            else instructions.ask("", rng, asked.mode)
        )
        return msgspec.structs.replace(blank, prompt=prompt, sampling=sampling)


def _requests_per_image(settings: GenerateSettings) -> tuple[Asked, ...]:
    """What is asked about every image, in order."""
    free = [Asked("", "agnostic", draw) for draw in range(settings.modes.agnostic)]
    draws = range(settings.modes.specific)
    return (*free, *(Asked(task, "specific", draw) for task in settings.tasks for draw in draws))


def _plan_file(image: int) -> str:
    return f"plan/{image // _PLAN_ROWS:05d}.jsonl"


def _planned(step: Step, first: int, last: int) -> list[_Image]:
    """Images `first` to `last` (not included) of the plan."""
    images: list[_Image] = []
    start = first // _PLAN_ROWS * _PLAN_ROWS
    for image in range(start, last, _PLAN_ROWS):
        file = step.resolve(f"@{step.name}/{_plan_file(image)}")
        images += [_PLANNED.decode(line) for line in file.read_bytes().splitlines()]
    return images[first - start : last - start]
