"""The verbs of the command line as Python functions; `run` and `verify` have files of their own."""

from __future__ import annotations

import importlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from genixer.config import load_config, parse_config
from genixer.data import Sample
from genixer.errors import ConfigError, DataError, StoreError, UnknownNameError, near
from genixer.formats.base import Format, HoldsImages
from genixer.formats.copies import ImageCopies, without_archives
from genixer.formats.licences import Permit, Use
from genixer.formats.tally import Written
from genixer.pipeline.cost import CostForecast, forecast_costs
from genixer.pipeline.estimate import StepForecast, forecast
from genixer.pipeline.plan import make_plan
from genixer.pipeline.progress import Progress
from genixer.pipeline.run import RunResult, execute, run_folder
from genixer.pipeline.settings import read_run
from genixer.pipeline.tables import text_table
from genixer.registry import Registry
from genixer.store.layout import PREPARE, StepFolder
from genixer.store.reader import StoredStep, open_step
from genixer.yaml_source import YamlSource

__all__ = [
    "KINDS",
    "PlanReport",
    "build_report",
    "export",
    "import_samples",
    "list_plugins",
    "plan",
]

log = logging.getLogger(__name__)

KINDS = {
    "tasks": "genixer.tasks:TASKS",
    "readers": "genixer.tasks.readers:READERS",
    "sources": "genixer.sources:SOURCES",
    "formats": "genixer.formats:FORMATS",
    "backends": "genixer.inference:BACKENDS",
    "filters": "genixer.filters:FILTERS",
    "stages": "genixer.stages:STAGES",
    "benchmarks": "genixer.evaluation:BENCHMARKS",
    "presets": "genixer.models.catalogue:PRESETS",
}


@dataclass(frozen=True)
class PlanReport:
    """What a run would do."""

    run: Path
    steps: list[StepForecast]
    missing: tuple[Path, ...] = ()
    """Files of the config that are not there yet."""
    costs: tuple[CostForecast, ...] = ()
    """Of generate steps whose images are there: what is left of them, with error bars."""

    def as_mapping(self) -> dict[str, Any]:
        """The same as plain values, for `--json`."""
        steps, missing = msgspec.to_builtins(self.steps), [str(path) for path in self.missing]
        costs = msgspec.to_builtins(self.costs)
        return {"run": str(self.run), "steps": steps, "missing": missing, "costs": costs}

    @property
    def datasets(self) -> str:
        """Rows expected by step, task and source as a table; empty where nothing is expected."""
        rows: Counter[tuple[str, str, str]] = Counter()
        unknown: set[tuple[str, str, str]] = set()
        for step in self.steps:
            for one in step.expected:
                for source in (one.source, "all"):
                    rows[step.name, one.task, source] += one.rows or 0
                    if one.rows is None:
                        unknown.add((step.name, one.task, source))
        if not rows.total():
            return ""
        lines = [[*key, "?" if key in unknown else str(rows[key])] for key in rows]
        # The sum of a task follows its sources.
        order = list(dict.fromkeys((step, task) for step, task, _ in rows))
        lines.sort(key=lambda line: (order.index((line[0], line[1])), line[2] == "all"))
        return text_table(["step", "task", "source", "rows"], lines, right=[3])

    @property
    def notes(self) -> list[tuple[str, str]]:
        """What steps have to say besides, steps that say the same together."""
        said: dict[tuple[str, ...], list[str]] = {}
        for step in self.steps:
            said.setdefault(step.notes, []).append(step.name)
        return [
            (names[0] + (f" and {len(names) - 1} like it" if len(names) > 1 else ""), note)
            for notes, names in said.items()
            for note in notes
        ]


def plan(
    config: str | Path,
    overrides: Iterable[str] = (),
    *,
    out: str | Path | None = None,
    limit: int | None = None,
    probe: int | None = None,
    progress: Progress | None = None,
) -> PlanReport:
    """What `run` would do with the same arguments; loads no model, unless for a probe.

    Per step: status, items, rows kept, tokens, seconds and bytes left. Of generate steps also what
    is left in tokens, hours, money and disk, from a sample of the image headers and the rates that
    `costs` of the config states; with `probe` so many requests of each are really run, in
    `<run>-probe`, and the rates are theirs.
    """
    loaded = load_config(config, overrides)
    folder = run_folder(loaded, out, limit)
    planned = make_plan(loaded, folder, limit, to_run=False)
    steps = forecast(planned)
    costs = forecast_costs(planned, loaded, steps, probe, progress or Progress())
    return PlanReport(folder, steps, planned.missing, tuple(costs))


def list_plugins(kind: str) -> list[dict[str, str]]:
    """Every plugin of one kind (`tasks`, `stages`, ...): name, about, licence, capability.

    >>> [one["name"] for one in list_plugins("stages") if one["name"] == "mix"]
    ['mix']
    """
    table = registry(kind)
    return [{"name": name, **msgspec.to_builtins(table[name])} for name in table]


def registry(kind: str) -> Registry:
    """Table of one kind of plugin; raises `UnknownNameError` for a kind there is none of."""
    if kind not in KINDS:
        raise UnknownNameError("kind of plugin", kind, KINDS)
    module, _, name = KINDS[kind].partition(":")
    table: Registry = getattr(importlib.import_module(module), name)
    return table


def export(
    source: str | Path,
    out: str | Path,
    *,
    format: str = "llava",
    step: str | None = None,
    images: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    use: Use = "research",
    allow_loss: bool = False,
    copy_images: str | Path | None = None,
) -> Written:
    """Write samples in a published format, and say how many of what were written.

    Args:
        source: a run folder, a step folder, or a file of rows (`part-00000.jsonl`).
        out: where to write.
        format: name of a format (`list_plugins("formats")`).
        step: which step of the run; may be left out where one alone kept samples.
        images: image root; a run knows its own.
        settings: the format's own, such as the frame of its boxes.
        use: what the file is for; `commercial` takes rows alone whose licence is known to allow it.
        allow_loss: leave out rows that the format cannot carry whole.
        copy_images: folder to copy the images of the rows to, under their paths; needed where they
            lie in archives and the format names them only.

    Raises `LossError`, `LicenceError` or `ConfigError`, and then writes no file of rows, when rows
    cannot be carried, may not be used so, or have their images in archives.
    """
    writer = _format(format, settings, strict=not allow_loss)
    place = Path(source)
    if place.is_file():
        samples: Iterator[Sample] = _samples_in_file(place)
        root = Path(images) if images is not None else Path()
    else:
        folder = _step_to_export(place, step)
        samples = open_step(folder).rows(Sample)
        root = Path(images) if images is not None else image_root(folder.parent)
    permit = Permit(use)
    copies = ImageCopies(root, Path(copy_images), not allow_loss) if copy_images else None
    if copies:
        samples, root = copies.of(samples), Path(str(copy_images))
    elif not (isinstance(writer, HoldsImages) and writer.holds_images):
        samples = without_archives(samples, root)
    done = writer.write(permit.of(samples), Path(out), root)
    for line in permit.unknown():
        log.warning("%s: no licence that Genixer knows: %s", out, line)
    written = done if isinstance(done, Written) else Written(done)
    return Written({**written, **copies.lost}, written.rounding) if copies else written


def import_samples(
    path: str | Path,
    out: str | Path,
    *,
    format: str = "llava",
    images: str | Path = ".",
    settings: Mapping[str, Any] | None = None,
    allow_loss: bool = False,
    limit: int | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> RunResult:
    """Bring a file of a published format in as a run of one step, which later steps can read.

    Args:
        path: the file, or the folder where the format is one.
        out: run folder; the same call again goes on where it was.
        format: name of a format (`list_plugins("formats")`).
        images: image root, which paths in the file are relative to.
        settings: the format's own, such as the frame of its boxes.
        allow_loss: also keep rows of which the record cannot keep everything.
        limit: at most this many rows, in a folder of its own.
        workers: worker processes, 0 for none.
        progress: who hears how it goes; nobody by default.
    """
    own = {"strict": not allow_loss, **(settings or {})}
    _format(format, own)
    step = {"stage": "import", "with": {"format": format, "path": str(path), "settings": own}}
    value = {"name": "import", "images": str(images), "steps": {"import": step}}
    config = parse_config(value, YamlSource("import", {}))
    loaded = make_plan(config, run_folder(config, out, limit), limit)
    return execute(config, loaded, workers, False, progress or Progress())


def _format(name: str, settings: Mapping[str, Any] | None, **forced: Any) -> Format:
    """The format called `name` with its settings checked."""
    formats = registry("formats")
    built: Format = formats.load(name)(formats.settings(name, {**(settings or {}), **forced}))
    return built


def _samples_in_file(path: Path) -> Iterator[Sample]:
    decode = msgspec.json.Decoder(Sample).decode
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield decode(line)
            except msgspec.DecodeError as error:
                raise DataError(f"{path}:{number}: not a Sample: {error}") from error


def _step_to_export(place: Path, step: str | None) -> Path:
    run = read_run(place)
    if run is None:
        if StepFolder(place).manifest.is_file() and step is None:
            return place
        raise StoreError(f"{place}: neither a run folder, a finished step, nor a file of rows")
    if step is not None:
        if step not in run.order:
            raise ConfigError(f"{place}: no step is called {step!r}; {near(step, run.order)}")
        return place / step
    return place / _only_step_with_samples(place, run.order)


def _only_step_with_samples(place: Path, names: Iterable[str]) -> str:
    """Name of the one finished step that keeps samples: of several, each may be what is wanted."""
    finished = [
        open_step(place / one) for one in names if StepFolder(place / one).manifest.is_file()
    ]
    found = [one for one in finished if _keeps_samples(one)]
    if not found:
        raise StoreError(f"{place}: no finished step keeps samples; name one with --step")
    if len(found) > 1:
        known = ", ".join(f"{one.name} ({one.stage}, {one.rows_kept} rows)" for one in found)
        raise ConfigError(
            f"{place}: {len(found)} steps keep samples: {known}; name one: --step {found[-1].name}"
        )
    return found[0].name


def _keeps_samples(step: StoredStep) -> bool:
    try:
        return next(step.rows(Sample, 0, 1), None) is not None
    except DataError:
        return False


def image_root(run: Path) -> Path:
    """Folder that the image paths in a run's rows are relative to."""
    known = read_run(run)
    images = str(known.config.get("images", ".")) if known else "."
    if not images.startswith("@"):
        return Path(images)
    step, _, rest = images[1:].partition("/")
    return StepFolder(run / step).files / rest


def build_report(run: str | Path, *, progress: Progress | None = None) -> RunResult:
    """Make the report pages of a run again, with the present version of the stage `report`."""
    folder = Path(run)
    known = read_run(folder)
    if known is None:
        raise StoreError(f"{folder}: no run is here (no run.json)")
    config = known.run_config(folder)
    again = make_plan(config, folder, known.limit)
    reports = [step for step in again.steps if step.stage_name == "report"]
    if not reports:
        raise ConfigError(f"{folder}: its config has no step of the stage report; add one")
    for step in reports:
        step.folder.receipt(PREPARE).unlink(missing_ok=True)
    return execute(config, again, 0, False, progress or Progress())
