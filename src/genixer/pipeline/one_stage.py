"""One stage by itself, as `collect`, `instruct`, `generate` .. run it: a config of one step.

What it reads are finished steps of another run. The new run takes these over, with everything they
were made of, so that it is whole: it can be verified, moved, and read by the next verb.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from genixer.config import NAME, RunConfig, parse_config
from genixer.errors import ConfigError, StoreError, near
from genixer.pipeline.budget import Budget
from genixer.pipeline.graph import expand
from genixer.pipeline.plan import Plan, make_plan
from genixer.pipeline.progress import Progress
from genixer.pipeline.run import RunResult, execute, run_folder, take_over
from genixer.pipeline.settings import read_run
from genixer.stages import STAGES
from genixer.store.archives import split_archive
from genixer.store.layout import StepFolder
from genixer.store.manifest import read_manifest
from genixer.yaml_source import YamlSource

__all__ = ["run_stage"]

_OF_RUN = ("seed", "threads", "costs")
"""Keys that belong to the run, not to the stage."""


def run_stage(
    stage: str,
    out: str | Path,
    settings: Mapping[str, Any] | None = None,
    *,
    sources: Mapping[str, Iterable[str | Path]] | None = None,
    limit: int | None = None,
    workers: int = 1,
    progress: Progress | None = None,
    budget: Budget | None = None,
) -> RunResult:
    """Run one stage; the same call again goes on where it was.

    Args:
        stage: name of a stage (`list_plugins("stages")`); the step is called so, too.
        out: run folder to make.
        settings: the stage's own, and `images`, `seed`, `threads` and `costs` of the run. Where the
            stage has `images` of its own they are the folder they lie in, or `image_root`.
        sources: folders of finished steps whose rows it reads, by role, all of one run; then the
            run's settings are those of that run.
        limit: at most this many work items, in a folder of its own; without sources only.
        workers: worker processes, 0 for none.
        progress: who hears how it goes; nobody by default.
        budget: what may be spent before it stops.
    """
    shared, given = _divided(stage, dict(settings or {}))
    step = {"stage": stage, "with": given}
    name = _name(Path(out))
    if not sources:
        config = _config({**shared, "name": name, "steps": {stage: step}}, stage)
        plan = make_plan(config, run_folder(config, out, limit), limit)
        return execute(config, plan, workers, False, progress or Progress(), budget=budget)
    if shared or limit is not None:
        what = ", ".join(shared) or "--limit"
        raise ConfigError(
            f"{what} would change the steps it reads, too; it is only for a stage that reads none"
        )
    places = {role: [Path(one) for one in many] for role, many in sources.items()}
    old = _run_of(places)
    config = _continued(old, name, stage, step, places)
    plan = make_plan(config, Path(out))
    _check_finished(old, plan, places)
    take_over(old, config, plan)
    return execute(config, plan, workers, False, progress or Progress(), budget=budget)


def _divided(stage: str, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the run, and those of the stage."""
    images = given.pop("images", None)
    root = given.pop("image_root", None)
    shared = {key: given.pop(key) for key in _OF_RUN if key in given}
    own = STAGES.load(stage).Settings.model_fields.get("images")
    if own is None or own.annotation is not str:
        if root is not None:
            raise ConfigError(f"{stage} has no images of its own: its image root is `images`")
        return (shared if images is None else {"images": images, **shared}), given
    if images is None:
        raise ConfigError(f"{stage} needs images: a folder, archives or a list: images=FOLDER")
    shared["images"] = _folder_of(str(images)) if root is None else root
    return shared, {"images": images, **given}


def _folder_of(images: str) -> str:
    """Folder that holds `images`: themselves, or where the archives or the list are."""
    path = Path(images)
    if path.is_dir():
        return images
    inside = split_archive(path.as_posix())
    plain = takewhile(
        lambda part: not set("*?[") & set(part), Path(inside[0] if inside else path).parent.parts
    )
    return str(Path(*plain))


def _name(out: Path) -> str:
    name = out.resolve().name
    return name if NAME.fullmatch(name) else "run"


def _config(value: dict[str, Any], stage: str) -> RunConfig:
    return parse_config(value, YamlSource(f"genixer {stage}", {}))


def _run_of(places: Mapping[str, list[Path]]) -> Path:
    """The one run all steps to read are in."""
    runs = {place.resolve().parent for many in places.values() for place in many}
    if len(runs) > 1:
        raise ConfigError(
            f"steps of {len(runs)} runs: {', '.join(sorted(map(str, runs)))}; a run has one image "
            "root and one seed: write a config that makes both, and use `genixer run`"
        )
    (run,) = runs
    return run


def _continued(
    old: Path, name: str, stage: str, step: dict[str, Any], places: Mapping[str, list[Path]]
) -> RunConfig:
    """Config of the steps to read, of all they were made of, and of the new step."""
    known = read_run(old)
    if known is None:
        raise StoreError(f"{old}: no run is here (no run.json); give a step's folder, RUN/STEP")
    config = known.run_config(old)
    by_name = make_plan(config, old, known.limit).by_name
    written = {node.name: node.written for node in expand(config)}
    needed: set[str] = set()
    queue = [place.name for many in places.values() for place in many]
    for one in queue:
        if one not in by_name:
            raise ConfigError(f"{old}: no step is called {one!r}; {near(one, by_name)}")
    while queue:
        one = queue.pop()
        if one not in needed:
            needed.add(one)
            queue.extend(by_name[one].depends)
    keep = {written[one] for one in needed}
    value = config.raw()
    value["steps"] = {key: one for key, one in value["steps"].items() if key in keep}
    new, number = stage, 1
    while new in value["steps"]:
        number += 1
        new = f"{stage}-{number}"
    step["from"] = {role: [place.name for place in many] for role, many in places.items()}
    value["steps"][new] = step
    return _config({**value, "name": name}, stage)


def _check_finished(old: Path, plan: Plan, places: Mapping[str, list[Path]]) -> None:
    """Steps to read must be done, and what they were made of unchanged: else it would run anew."""
    for place in (place for many in places.values() for place in many):
        manifest = read_manifest(StepFolder(old / place.name))
        if manifest is None:
            raise StoreError(f"{place}: no finished step is here; finish its run first")
        if manifest.fingerprint != plan.by_name[place.name].fingerprint:
            raise StoreError(f"{place}: what it was made of has changed since; run it again first")
