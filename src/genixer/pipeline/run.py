"""A whole run: its folder, its lock, what to do about damage, and the executor in the middle."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from genixer.config import (
    ExecutorName,
    RunConfig,
    environment_executor,
    environment_workers,
    load_config,
    runs_folder,
)
from genixer.errors import ConfigError, CorruptShardError
from genixer.pipeline.budget import Budget
from genixer.pipeline.executor import Executor
from genixer.pipeline.meter import Meter
from genixer.pipeline.plan import Plan, make_plan
from genixer.pipeline.progress import Progress
from genixer.pipeline.settings import check_unchanged, read_run, run_path, write_run
from genixer.pipeline.tables import compact_row, funnel
from genixer.pipeline.verify import damaged_files
from genixer.pipeline.workplace import Workplace, workplace
from genixer.store.disk import free_name, full_disk, link, make_folder, move
from genixer.store.layout import StepFolder
from genixer.store.leases import clear_ended, close_leases
from genixer.store.lock import RunLock
from genixer.store.manifest import Manifest, read_manifest
from genixer.store.reader import open_step

__all__ = ["RunResult", "execute", "move_aside", "run", "run_folder", "take_over"]

log = logging.getLogger(__name__)

_MAX_REPAIRS = 20


@dataclass(frozen=True)
class RunResult:
    """A complete run."""

    plan: Plan
    manifests: dict[str, Manifest]
    worked: tuple[str, ...]
    """Steps that had something to do; empty for a rerun."""

    @property
    def folder(self) -> Path:
        """Run folder."""
        return self.plan.run

    @property
    def table(self) -> str:
        """Funnel: in = kept + rejected + quarantined of every step."""
        return funnel({step.name: self.manifests[step.name] for step in self.plan.steps})

    @cached_property
    def summary(self) -> str:
        """What the report steps say, with the paths of their pages."""
        parts = []
        for step in self.plan.steps:
            text, page = step.folder.files / "summary.txt", step.folder.files / "index.html"
            if step.stage_name == "report" and text.is_file():
                parts.append(text.read_text(encoding="utf-8").rstrip())
            if step.stage_name == "report" and page.is_file():
                parts.append(f"Report: {page}")
        return "\n\n".join(parts)

    def rows(self, step: str, count: int | None = None) -> list[dict[str, Any]]:
        """Kept rows of `step` as plain values, at most `count`."""
        return list(open_step(self.plan.by_name[step].folder.root).rows(dict, 0, count))

    def preview(self, count: int) -> str:
        """Up to `count` kept rows of every step, a line a row."""
        blocks = []
        for step in self.plan.steps:
            lines = [compact_row(row) for row in self.rows(step.name, count)]
            blocks.append("\n".join([f"{step.name}:", *(f"  {line}" for line in lines)]))
        return "\n".join(blocks)


def run(
    config: str | Path,
    overrides: Iterable[str] = (),
    *,
    out: str | Path | None = None,
    new_run: str | Path | None = None,
    limit: int | None = None,
    workers: int | None = None,
    executor: ExecutorName | None = None,
    check: bool = False,
    progress: Progress | None = None,
    budget: Budget | None = None,
) -> RunResult:
    """Run a config, or go on with it: complete steps are passed, a torn one goes on where it was.

    Args:
        config: path of a YAML file, or the name of a shipped config.
        overrides: `key=value` texts laid over it, as in `steps.generator.with.steps=50`.
        out: run folder; `runs/<name>` by default.
        new_run: take over what is unchanged in the run folder, and do the rest in this one.
        limit: at most this many work items a step, in a folder of its own (`<folder>-limit-N`).
        workers: worker processes, 0 for none; the config's number by default.
        executor: who does the work, `local`, `leases` or `ray`; the config's by default.
        check: read and hash everything that is committed before going on.
        progress: who hears how it goes; nobody by default.
        budget: what may be spent before it stops with `BudgetSpentError`.

    Raises a `GenixerError` when the run does not become complete.
    """
    loaded = load_config(config, overrides)
    folder = run_folder(loaded, out, limit)
    plan = make_plan(loaded, folder if new_run is None else Path(new_run), limit)
    if new_run is not None:
        take_over(folder, loaded, plan)
    if workers is None:
        asked = environment_workers()
        workers = loaded.workers if asked is None else asked
    executor = executor or environment_executor() or loaded.executor
    return execute(loaded, plan, workers, check, progress or Progress(), executor, budget)


def run_folder(config: RunConfig, out: str | Path | None, limit: int | None) -> Path:
    """Folder of a run: `out`, else below `GENIXER_RUNS` or `runs`; limited runs have their own."""
    folder = Path(out) if out is not None else runs_folder() / config.name
    return folder if limit is None else folder.with_name(f"{folder.name}-limit-{limit}")


def execute(
    config: RunConfig,
    plan: Plan,
    workers: int,
    check: bool,
    progress: Progress,
    executor: ExecutorName = "local",
    budget: Budget | None = None,
) -> RunResult:
    """Run `plan` in its folder, which must be new or hold the same run."""
    shared = executor != "local"
    budget = budget or Budget()
    budget.begin(config.costs)
    _claim(plan.run)
    with RunLock(plan.run, shared=shared, stale_s=config.stale_s) as lock:
        check_unchanged(plan)
        if write_run(config, plan, once=shared) or not shared:
            plan.digests.save()
            (plan.run / "errors.log").unlink(missing_ok=True)  # it tells of the latest run alone
        _tidy(plan, shared)
        if check:
            _check_everything(plan)
        place = workplace(config, plan, workers, executor, lock, budget)
        with Meter(plan, config.costs, budget, progress) as meter:
            return _execute_and_repair(plan, place, meter, budget)


def _tidy(plan: Plan, shared: bool) -> None:
    """Remove what earlier processes left unfinished, but for what others are at."""
    if shared:
        for step in plan.steps:
            clear_ended(plan.run, step.folder)
        return
    close_leases(plan.run, [step.folder for step in plan.steps])
    for step in plan.steps:
        shutil.rmtree(step.folder.scratch, ignore_errors=True)


def _execute_and_repair(
    plan: Plan, place: Workplace, progress: Progress, budget: Budget
) -> RunResult:
    """Run; a corrupt shard that turns up is moved aside and made again."""
    worked: dict[str, None] = {}
    repairs = 0
    while True:
        executor = Executor(plan, place.pool(), progress, place.seal, budget)
        try:
            executor.run()
        except CorruptShardError as error:
            repairs += 1
            if error.path is None or repairs > _MAX_REPAIRS:
                raise
            move_aside(error.path, str(error))
        else:
            worked.update(dict.fromkeys(executor.worked))
            return RunResult(plan, executor.manifests, tuple(worked))
        worked.update(dict.fromkeys(executor.worked))


def move_aside(path: Path, why: str) -> None:
    """Give a damaged file another name, so that its shard counts as not done."""
    target = free_name(path)
    with suppress(FileNotFoundError):  # another process that shares the folder was first
        move(path, target)
    log.warning("%s: moved to %s, its shard is made again", why.partition(";")[0], target.name)


def _check_everything(plan: Plan) -> None:
    for step in plan.steps:
        for path, why in damaged_files(step.folder):
            if path.exists():
                move_aside(path, f"{path}: {why}")


def _claim(run: Path) -> None:
    """Make the run folder; refuse one that holds something else."""
    if run.exists() and not run.is_dir():
        raise ConfigError(f"{run}: this is a file; choose another run folder with --out")
    if read_run(run) is None and run.is_dir():
        strange = [path.name for path in run.iterdir() if not _is_ours(path)]
        # Another process that shares the folder may have begun in the meantime.
        if strange and read_run(run) is None:
            raise ConfigError(
                f"{run}: not a run folder (no {run_path(run).name}) and not empty; "
                "choose another one with --out"
            )
    with full_disk(run, 0):
        make_folder(run)


def _is_ours(path: Path) -> bool:
    names = (".lock", ".holders", ".leases", "external.json")
    return path.name in names or (path.name[0] == "." and path.suffix == ".tmp")


def take_over(old: Path, config: RunConfig, plan: Plan) -> None:
    """Link every finished step of `old` that is unchanged into the folder of `plan`."""
    if old.resolve() == plan.run.resolve():
        raise ConfigError(f"--new-run {plan.run}: this is the old run folder; name another one")
    if read_run(old) is None:
        raise ConfigError(f"--new-run {plan.run}: there is no run in {old} to take over from")
    _claim(plan.run)
    with RunLock(plan.run):
        check_unchanged(plan)
        write_run(config, plan)
        for step in plan.steps:
            source = StepFolder(old / step.name)
            manifest = read_manifest(source)
            if manifest is None or manifest.fingerprint != step.fingerprint:
                continue
            if read_manifest(step.folder) is None:
                shutil.rmtree(step.folder.root, ignore_errors=True)
                link_step(source, step.folder)
                log.info("%s: taken over from %s", step.name, old)


def link_step(source: StepFolder, target: StepFolder) -> None:
    """Second names for all files of a finished step, its manifest last."""
    for path in sorted(source.root.rglob("*")):
        inner = path.relative_to(source.root)
        wanted = path.is_file() and path.suffix != ".corrupt" and path != source.manifest
        if wanted and inner.parts[0] not in (source.scratch.name, source.work.name):
            link(path, target.root / inner)
    link(source.manifest, target.manifest)
