"""From a config to a plan: every step, what it reads, its fingerprint. Loads no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from genixer.config import RunConfig, settings_errors
from genixer.data import SCHEMA, content_id
from genixer.errors import ConfigError, UnknownNameError, near
from genixer.inference import settings_of_rows
from genixer.pipeline.backend_checks import check_backends
from genixer.pipeline.external import ExternalDigests
from genixer.pipeline.graph import Node, expand, in_order, references
from genixer.stages import STAGES
from genixer.stages.base import Stage, Step
from genixer.store.layout import StepFolder
from genixer.store.reader import open_step

__all__ = ["Plan", "PlannedStep", "make_plan"]


@dataclass(frozen=True)
class PlannedStep:
    """One step, small enough to send to a worker, which builds `stage()` and `step()` from it."""

    name: str
    stage_name: str
    settings: dict[str, Any]
    sources: dict[str, tuple[str, ...]]
    """Steps whose rows it reads, by role."""
    references: tuple[str, ...]
    """Steps whose files it uses: `@step/...` in its settings, and the run's image root."""
    images: str
    seed: int
    threads: int
    limit: int | None
    rows_per_shard: int
    run: Path
    identity: dict[str, Any] = field(default_factory=dict)
    """Everything but its inputs that decides its result; changes are shown from it."""
    fingerprint: str = ""

    @property
    def depends(self) -> tuple[str, ...]:
        """Every step that must be finished first."""
        rows = [name for many in self.sources.values() for name in many]
        return tuple(dict.fromkeys([*rows, *self.references]))

    @property
    def folder(self) -> StepFolder:
        """Where it lies on disk."""
        return StepFolder(self.run / self.name)

    @property
    def label(self) -> str:
        """What error messages call it."""
        return f"step {self.name} (stage {self.stage_name})"

    @property
    def max_deaths(self) -> int:
        """Workers that may end in one unit of its work."""
        kind: type[Stage] = STAGES.load(self.stage_name)
        return kind.max_deaths

    def stage(self) -> Stage:
        """The stage with its settings; loads no model yet."""
        kind = STAGES.load(self.stage_name)
        stage: Stage = kind(kind.Settings.model_validate(self.settings))
        return stage

    def step(self) -> Step:
        """What the stage may know; every input must be finished."""
        step = Step(self.name, self.seed, Path(), {}, self.limit, self.threads, self.run)
        inputs = {
            role: tuple(open_step(self.run / name) for name in many)
            for role, many in self.sources.items()
        }
        return replace(step, images=step.resolve(self.images), inputs=inputs)


@dataclass(frozen=True)
class Plan:
    """Steps of a run in an order they can run in."""

    name: str
    run: Path
    limit: int | None
    steps: tuple[PlannedStep, ...]
    digests: ExternalDigests = field(compare=False, repr=False)
    missing: tuple[Path, ...] = ()
    """Files outside the run that are not there yet; only a plan that is not run may lack some."""

    @cached_property
    def by_name(self) -> dict[str, PlannedStep]:
        """Steps by name."""
        return {step.name: step for step in self.steps}


def make_plan(
    config: RunConfig, run: Path, limit: int | None = None, *, to_run: bool = True
) -> Plan:
    """Plan of `config` in the folder `run`; `ConfigError` names file, line and key of a mistake.

    A file that is not there is one of them, unless the plan is not `to_run`.
    """
    nodes = {node.name: node for node in expand(config)}
    drafts = {name: _draft(node, config, run, limit) for name, node in nodes.items()}
    _check_references(drafts, nodes, config)
    drafts = check_backends(
        drafts, lambda name, *key: config.where("steps", nodes[name].written, *key)
    )
    drafts = _with_image_root(drafts, config)
    digests = ExternalDigests(run)
    steps: dict[str, PlannedStep] = {}
    missing: list[Path] = []
    for name in in_order({name: draft.depends for name, draft in drafts.items()}):
        try:
            external = digests.of(drafts[name].stage().external(), None if to_run else missing)
        except OSError as error:
            where = config.where("steps", nodes[name].written, "with")
            raise ConfigError(f"{where}: {error.filename}: {error.strerror}") from error
        steps[name] = _fingerprinted(drafts[name], steps, external)
    return Plan(
        config.name, run, limit, tuple(steps.values()), digests, tuple(dict.fromkeys(missing))
    )


def _draft(node: Node, config: RunConfig, run: Path, limit: int | None) -> PlannedStep:
    """The step before its fingerprint, settings checked."""
    where = config.where("steps", node.written, "stage")
    try:
        kind: type[Stage] = STAGES.load(node.stage)
    except UnknownNameError as error:
        raise ConfigError(f"{where}: {error}") from error
    try:
        settings = kind.Settings.model_validate(node.settings)
    except ValidationError as error:
        at = ("steps", node.written, "with")
        raise settings_errors(error, kind.Settings, config.source, at) from error
    checked = settings.model_dump(mode="json", by_alias=True)
    rows_per_shard = node.rows_per_shard or kind.rows_per_shard
    identity = {
        "stage": node.stage,
        "version": kind.version,
        "with": _of_rows(checked),
        "from": {role: list(many) for role, many in node.sources.items()},
        "images": config.images,
        "seed": config.seed,
        "threads": config.threads,
        "limit": limit,
        "rows_per_shard": rows_per_shard,
        "schema": SCHEMA,
    }
    return PlannedStep(
        node.name,
        node.stage,
        node.settings,
        node.sources,
        tuple(dict.fromkeys(references(checked))),
        config.images,
        config.seed,
        config.threads,
        limit,
        rows_per_shard,
        run,
        identity,
    )


def _of_rows(settings: Any) -> Any:
    """`settings` without the `backend_settings`, however deep, that can change no row."""
    if isinstance(settings, list):
        return [_of_rows(one) for one in settings]
    if not isinstance(settings, dict):
        return settings
    kept = {key: _of_rows(value) for key, value in settings.items()}
    backend, own = settings.get("backend"), settings.get("backend_settings")
    if isinstance(backend, str) and isinstance(own, dict):
        kept["backend_settings"] = settings_of_rows(backend, own)
    return kept


def _check_references(
    drafts: Mapping[str, PlannedStep], nodes: Mapping[str, Node], config: RunConfig
) -> None:
    for draft in drafts.values():
        for name in draft.references:
            if name not in drafts:
                where = config.where("steps", nodes[draft.name].written, "with")
                raise ConfigError(f"{where}: '@{name}' is no step; {near(name, drafts)}")
    for name in references(config.images):
        if name not in drafts:
            raise ConfigError(
                f"{config.where('images')}: '@{name}' is no step; {near(name, drafts)}"
            )


def _with_image_root(drafts: dict[str, PlannedStep], config: RunConfig) -> dict[str, PlannedStep]:
    """Every step waits for the one that makes the images, unless that one waits for it."""
    for root in references(config.images):
        exempt, queue = {root}, [root]
        while queue:
            for name in drafts[queue.pop()].depends:
                if name not in exempt:
                    exempt.add(name)
                    queue.append(name)
        return {
            name: draft
            if name in exempt or root in draft.references
            else replace(draft, references=(*draft.references, root))
            for name, draft in drafts.items()
        }
    return drafts


def _fingerprinted(
    draft: PlannedStep, before: Mapping[str, PlannedStep], external: list[list[str]]
) -> PlannedStep:
    identity = {**draft.identity, "external": external}
    needed = {name: before[name].fingerprint for name in draft.depends}
    fingerprint = content_id("step", draft.name, identity, needed)
    return replace(draft, identity=identity, fingerprint=fingerprint)
