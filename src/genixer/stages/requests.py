"""What a generate step asks: its settings, and which requests every image gets.

Images come in the order of their names (or of their archive or list), and requests about one image
lie side by side: the same list for each, but for what has a quota.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from genixer.data import (
    ImageRef,
    Quarantined,
    Request,
    Sampling,
    encode_row,
    random_for,
)
from genixer.errors import ConfigError, near
from genixer.inference import check_backend
from genixer.sources.unlabelled import find_pools, pool_images
from genixer.stages.base import FileWriter, RowWriter, StageSettings, Step
from genixer.stages.quotas import Asked, Lane, Spread
from genixer.store.images import ImageCatalog, ImageError
from genixer.store.shards import raw_bytes
from genixer.tasks import TASKS, instructions, load_task
from genixer.tasks.base import Canvas
from genixer.tasks.kinds import KINDS, kind_line
from genixer.tasks.zero_shot import ZERO_SHOT, zero_shot

__all__ = ["Draws", "GenerateSettings", "RequestPlan", "SamplingSettings"]

log = logging.getLogger(__name__)

_Image = str | Quarantined
"""Path of an image, or what was broken where one was expected."""
_PLANNED = msgspec.json.Decoder(_Image)
ANY = "any"
"""What a quota calls requests that name no kind."""
Quota = Annotated[int, Field(ge=0)] | None
_SPREAD = "plan/spread.json"
_PLAN_ROWS = 1024
"""Images in one file of the plan: a shard reads one or two files, however many there are."""


def _unit(width: int, height: int) -> Canvas:
    return Canvas("unit", 3, width, height)


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
    quotas: dict[str, Quota | dict[str, Quota]] = Field(default_factory=dict)
    """Most requests of a task in all, spread evenly over the images; by kind of question for tasks
    that have kinds (`common_vqa: {yes_no: 2000, number: 500}`), and then those kinds alone are
    asked for (`any`: no kind named). `agnostic` for requests without a task; null: no limit."""
    prompts: Literal["trained", "zero_shot"] = "trained"
    """Words of the requests: instructions a generator is trained on, or prompts for any chat model
    that say what to write and ask for JSON, which `readers: [json, fenced_json]` of decode read."""
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

    @field_validator("quotas")
    @classmethod
    def _known_kinds(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name, quota in values.items():
            if name != "agnostic" and name not in TASKS:
                raise ValueError(f"no task is called {name!r}; {near(name, [*TASKS, 'agnostic'])}")
            known = [*KINDS.get(name, ()), ANY]
            for kind in quota if isinstance(quota, dict) else ():
                if kind not in known:
                    raise ValueError(f"{name} has no kind {kind!r}; {near(kind, known)}")
        return values

    @model_validator(mode="after")
    def _backend_can(self) -> Self:
        by_rank = self.top_k or any(one.top_k for one in self.per_task.values())
        wanted = ("generate", "top_k") if by_rank else ("generate",)
        try:
            check_backend(self.backend, self.backend_settings, *wanted)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    @model_validator(mode="after")
    def _quotas_of_tasks_asked_for(self) -> GenerateSettings:
        for name in self.quotas:
            if name != "agnostic" and name not in self.tasks:
                raise ValueError(f"quotas: {name} is not among `tasks`: {', '.join(self.tasks)}")
        return self

    @model_validator(mode="after")
    def _prompts_there_are(self) -> GenerateSettings:
        for name in self.tasks if self.prompts == "zero_shot" else ():
            if name not in ZERO_SHOT:
                raise ValueError(
                    f"no zero-shot prompt for {name}; there are: {', '.join(ZERO_SHOT)}"
                )
        return self


class RequestPlan:
    """Requests of a step by number; those about one image lie side by side.

    Files: `plan/*.jsonl`, the images in order, so that a resumed run asks about the same ones, and
    with quotas `plan/spread.json`, how many they are.
    """

    def __init__(self, settings: GenerateSettings) -> None:
        """Plan what `settings` ask for."""
        self._settings = settings
        self._lanes = lanes(settings)
        self._quotas = any(lane.quota is not None for lane in self._lanes)
        self._samplings = {lane.task: _sampling(settings, lane.task) for lane in self._lanes}
        self._counted: int | None = None
        self._held: tuple[Path, list[_Image]] = (Path(), [])

    def total(self, images: int) -> int:
        """Requests about so many images."""
        return Spread(self._lanes, images).total

    def count(self, step: Step) -> int:
        """How many requests there are; raises `ConfigError` where there is no image."""
        self._counted = sum(1 for _ in self._images(step))
        if not self._counted:
            raise ConfigError(
                f"step {step.name}: images: {self._settings.images} holds no images; archives in a "
                "folder have to be named: pool/*.tar"
            )
        spread = Spread(self._lanes, self._counted)
        for at, lane in enumerate(self._lanes):
            if lane.quota is not None and spread.planned(at) < lane.quota:
                log.info(
                    "%s: %s: %d requests of a quota of %d; raise modes for more of each image",
                    *(step.name, lane.name, spread.planned(at), lane.quota),
                )
        return spread.total

    def write(self, step: Step, out: FileWriter) -> None:
        """Write the names of the images in order; whoever needs them opens them."""
        if self._quotas:
            out.file(_SPREAD, encode_row({"images": self._number(step)}))
        images = islice(self._images(step), self._most(step))
        start = 0
        while lines := [encode_row(image) + b"\n" for image in islice(images, _PLAN_ROWS)]:
            out.file(_plan_file(start), b"".join(lines))
            start += len(lines)

    def _number(self, step: Step) -> int:
        if self._counted is None:
            self.count(step)
        return self._counted or 0

    def _most(self, step: Step) -> int | None:
        """Images that a limited step asks about; None for all."""
        if step.limit is None:
            return None
        spread = Spread(self._lanes, self._number(step))
        last = min(step.limit, spread.total) - 1
        return spread.image_of(last) + 1 if last >= 0 else 0

    def requests(
        self,
        step: Step,
        numbers: range,
        catalog: ImageCatalog,
        out: RowWriter,
        canvas: Callable[[int, int], Canvas] = _unit,
    ) -> Iterator[Request]:
        """Requests by number; those of an unusable image go to quarantine with its reason.

        `canvas` is the model's, for prompts that say how to write a box.
        """
        spread = self._spread(step)
        first, last = spread.image_of(numbers[0]), spread.image_of(numbers[-1])
        number = spread.before(first)
        for at in range(first, last + 1):
            planned = self._planned(step, at)
            for asked in spread.asked(at):
                if number in numbers:
                    image = _usable(planned, asked, catalog, out)
                    if image is not None:
                        yield self._request(step, image, asked, canvas)
                number += 1

    def _planned(self, step: Step, image: int) -> _Image:
        """Image of the plan by number; its file is held, as the next ones lie in it too."""
        file = step.resolve(f"@{step.name}/{_plan_file(image)}")
        if self._held[0] != file:
            self._held = (file, _PLANNED.decode_lines(file.read_bytes()))
        return self._held[1][image % _PLAN_ROWS]

    def _spread(self, step: Step) -> Spread:
        if not self._quotas:
            return Spread(self._lanes, 1 << 62)  # every image gets the same, however many
        file = step.resolve(f"@{step.name}/{_SPREAD}")
        return Spread(self._lanes, msgspec.json.decode(file.read_bytes())["images"])

    def _images(self, step: Step) -> Iterator[_Image]:
        """Images in order, as paths relative to the run's image root."""
        pools = find_pools(step.resolve(self._settings.images))
        if not pools:
            raise ConfigError(
                f"step {step.name}: images: no folder or file {self._settings.images}"
            )
        for pool in pools:
            yield from pool_images(pool, step.images)

    def _request(
        self, step: Step, image: ImageRef, asked: Asked, canvas: Callable[[int, int], Canvas]
    ) -> Request:
        """The whole request: its words and its luck follow from its id and the run's seed."""
        settings, task, mode = self._settings, asked.task, asked.mode
        blank = Request.of(image, task, mode, asked.draw, "", Sampling(), asked.kind)
        rng = random_for(step.seed, "generate", blank.id)
        sampling = msgspec.structs.replace(self._samplings[task], seed=rng.getrandbits(63))
        if settings.prompts == "zero_shot":
            prompt, schema = zero_shot(task, asked.kind, canvas(image.width, image.height))
        else:
            schema = {}
            prompt = load_task(task).ask(rng, mode) if task else instructions.ask("", rng, mode)
            if asked.kind:
                prompt = f"{prompt}\n{kind_line(task, asked.kind)}"
        return msgspec.structs.replace(blank, prompt=prompt, sampling=sampling, schema=schema)


def lanes(settings: GenerateSettings) -> tuple[Lane, ...]:
    """What is asked about images, in order."""
    modes = settings.modes
    found: list[Lane] = []
    for task in ("agnostic", *settings.tasks):
        quota = settings.quotas.get(task)
        for kind, most in (quota if isinstance(quota, dict) else {ANY: quota}).items():
            named = "" if kind == ANY else kind
            if task == "agnostic":
                found.append(Lane("", "agnostic", named, modes.agnostic, most))
            else:
                found.append(Lane(task, "specific", named, modes.specific, most))
    return tuple(found)


def _sampling(settings: GenerateSettings, task: str) -> Sampling:
    """How tokens of requests of `task` are drawn, whatever their seed."""
    own = settings.per_task.get(task or "agnostic", SamplingSettings())
    common = {key: getattr(settings, key) for key in SamplingSettings.model_fields}
    return Sampling(**{**common, **own.model_dump(exclude_none=True)})


def _usable(
    planned: _Image, asked: Asked, catalog: ImageCatalog, out: RowWriter
) -> ImageRef | None:
    """The image, or None where its request went to quarantine."""
    kind = f".{asked.kind}" if asked.kind else ""
    which = f"{asked.task or asked.mode}{kind}:{asked.draw}"
    if isinstance(planned, Quarantined):
        raw = raw_bytes(planned.raw)
        out.quarantine(f"{planned.where}#{which}", planned.reason, planned.detail, raw)
        return None
    try:
        return catalog.ref(planned)
    except ImageError as error:
        out.quarantine(f"{planned}#{which}", error.reason, error.detail)
        return None


def _plan_file(image: int) -> str:
    return f"plan/{image // _PLAN_ROWS:05d}.jsonl"
