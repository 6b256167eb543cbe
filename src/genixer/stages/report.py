"""One offline page about the run, its summary as text, and a card for the rows that were kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import yaml
from pydantic import Field

from genixer.data import Measured, Sample, content_id, decode_row
from genixer.errors import ConfigError
from genixer.evaluation.ablation import Run, arm_and_seed, main_metrics
from genixer.evaluation.base import Prediction, ScoreFile
from genixer.filters.decontaminate import LeakTable
from genixer.models.base import model_files
from genixer.report.card import card
from genixer.report.gallery import GalleryBuilder
from genixer.report.model import Curve, Ledger, Page, PrecisionRow, Seen, Students
from genixer.report.page import render
from genixer.report.statistics import precision_rows
from genixer.report.students import students
from genixer.report.summary import summary
from genixer.report.training import read_curve, read_seen
from genixer.sources.scene_art import ATTRIBUTION
from genixer.stages.base import Estimate, FileWriter, Stage, StageSettings, Step, StepOutput
from genixer.stages.leak_check import TABLE
from genixer.store.layout import StepFolder
from genixer.store.manifest import Manifest, read_manifest

__all__ = ["ReportSettings", "ReportStage"]

_THRESHOLD = 0.5
_OPENMOJI = (
    f"{ATTRIBUTION} (openmoji.org). Pictures of the embedded world show its drawings; they, and "
    "this page as far as it shows them, are under the same licence."
)
_WEIGHTS = "The weights that ship with Genixer were trained on such pictures: CC BY-SA 4.0."


class ReportSettings(StageSettings):
    """What the page is called and how much it shows."""

    title: str = ""
    """Headline of the page; the name of the run where it is empty."""
    gallery_limit: int = Field(default=400, ge=0, le=5_000)
    """Most rows in the gallery, drawn evenly over outcomes."""
    judge: str = "judge"
    """Filter whose score, in [0, 1], the slider moves."""
    threshold: float | None = Field(default=None, ge=0.0, le=1.0)
    """Where the slider starts; by default the `keep_above` of that filter in this run."""
    baseline: str = ""
    """Arm that the other students are compared with; by default `none`, else the first."""
    licence: str = "CC-BY-SA-4.0"
    """Licence of the kept rows, for their card."""


class ReportStage(Stage):
    """Makes a page of whatever a run has; a section whose role is missing says so.

    Roles: `generated` (generate), `decoded` (decode), `judged` (dedup and filter steps in the order
    of the funnel), `precision` (measure), `scores` (evaluate steps, labelled or
    named `STEP-ARM-SEED`).
    Files: `index.html`, `summary.txt`, `dataset_card.md`.
    """

    name: ClassVar[str] = "report"
    Settings: ClassVar[type[ReportSettings]] = ReportSettings

    def items(self, step: Step) -> int:
        """None: a report has no rows of its own."""
        return 0

    def finish(self, step: Step, out: FileWriter, rows: StepOutput) -> None:
        """Collect, count, draw."""
        history = list(_history(step))
        config = _config(step.run)
        builder = self._builder(step)
        funnel = [
            _ledger(one.name, one.stage, one.counts)
            for role in ("generated", "decoded", "judged")
            for one in step.inputs.get(role, ())
        ]
        page = Page(
            title=self.settings.title or str(config.get("name", step.run.resolve().name)),
            digest=content_id(sorted((one.step, one.fingerprint) for one in history)),
            funnel=funnel,
            ledgers=[_ledger(one.step, one.stage, one.counts.as_mapping()) for one in history],
            seen=_seen(step, history),
            precision=_precision(step),
            judge=builder.judge(self._threshold(config)),
            students=_students(step, self.settings.baseline),
            gallery=builder.gallery(step.images, lambda: step.rows(Measured, role="precision")),
            curves=list(_curves(step, history)),
            leaks=_leaks(step, history),
            versions=_versions(history),
            licences=_licences(history),
            config=_yaml(config),
        )
        out.file("index.html", render(page).encode())
        out.file("summary.txt", summary(page).encode())
        words = card(page, builder.kept, self.settings.licence)
        out.file("dataset_card.md", words.encode())

    def _builder(self, step: Step) -> GalleryBuilder:
        builder = GalleryBuilder(self.settings.gallery_limit, self.settings.judge)
        builder.know(step.rows(Measured, role="precision"))
        for output in _judges(step):
            builder.refuse(output.name, output.rejected())
        for output in _judges(step)[-1:]:
            builder.keep(output.name, output.rows(Sample))
        return builder

    def _threshold(self, config: Mapping[str, Any]) -> float:
        if self.settings.threshold is not None:
            return float(self.settings.threshold)
        for one in config.get("steps", {}).values():
            for entry in one.get("with", {}).get("filters", ()):
                if entry.get("name") == self.settings.judge:
                    return float(entry.get("keep_above", _THRESHOLD))
        return _THRESHOLD

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        """No rows; about as long as it takes to read the inputs."""
        return Estimate(items=0, kept=0, seconds=10.0)


def _history(step: Step) -> Iterator[Manifest]:
    """Manifests of every step this one builds on, however indirectly, each after what it read."""
    seen: set[str] = set()

    def visit(name: str) -> Iterator[Manifest]:
        if name in seen:
            return
        seen.add(name)
        manifest = read_manifest(StepFolder(step.run / name))
        if manifest is None:
            return
        for entries in manifest.inputs.values():
            for entry in entries:
                yield from visit(entry.step)
        yield manifest

    for many in step.inputs.values():
        for one in many:
            yield from visit(one.name)


def _ledger(name: str, stage: str, counts: Mapping[str, Any]) -> Ledger:
    rejected, quarantined = dict(counts["rejected"]), dict(counts["quarantined"])
    return Ledger(name, stage, counts["in"], counts["kept"], rejected, quarantined)


def _judges(step: Step) -> tuple[StepOutput, ...]:
    """The steps of the funnel whose rows are samples or were meant to be."""
    return (*step.inputs.get("decoded", ()), *step.inputs.get("judged", ()))


def _seen(step: Step, history: Sequence[Manifest]) -> list[Seen]:
    """What each trained model has seen; variants of a step that saw the same share a line."""
    found: dict[tuple[str, str, str], Seen] = {}
    for one in history:
        seen = read_seen(one.step, StepFolder(step.run / one.step).files)
        if seen is None:
            continue
        key = (one.step.rpartition("-")[0] or one.step, seen.start, str(seen.rows))
        if key in found:
            seen = msgspec.structs.replace(seen, step=f"{found[key].step}, {one.step}")
        found[key] = seen
    return [*_seen_before(found.values()), *found.values()]


def _seen_before(trained: Iterable[Seen]) -> Iterator[Seen]:
    """What the weights had seen that no step of the run made, where they say so."""
    for start in dict.fromkeys(one.start for one in trained):
        for folder in model_files(start):
            seen = read_seen(f"{start} (before this run)", folder)
            if seen:
                yield seen


def _leaks(step: Step, history: Sequence[Manifest]) -> dict[str, LeakTable]:
    """Tables of the mixtures this run trained on, by step."""
    found = {}
    for one in history:
        path = StepFolder(step.run / one.step).files / TABLE
        if one.stage == "mix" and path.is_file():
            found[one.step] = decode_row(path.read_bytes(), LeakTable)
    return found


def _curves(step: Step, history: Sequence[Manifest]) -> Iterator[Curve]:
    for one in history:
        found = read_curve(one.step, StepFolder(step.run / one.step).files)
        if found:
            yield found


def _precision(step: Step) -> list[PrecisionRow]:
    """Rows of `precision.json` of the measure step; with several, those of the last one."""
    for output in step.inputs.get("precision", ())[-1:]:
        data = _file_of(output, "precision", "precision.json", "measure")
        return precision_rows(decode_row(data, dict[str, dict[str, dict[str, int]]]))
    return []


def _students(step: Step, baseline: str) -> Students | None:
    """Table over the answers of the evaluate steps."""
    outputs = step.inputs.get("scores", ())
    files = [_score_file(output) for output in outputs]
    runs = [
        Run(*arm_and_seed(output.name, file.labels), output.rows(Prediction))
        for output, file in zip(outputs, files, strict=True)
    ]
    metrics = {name: metric for file in files for name, metric in main_metrics(file).items()}
    arms = [run.arm for run in runs]
    if not baseline and arms:
        baseline = "none" if "none" in arms else arms[0]
    return students(runs, baseline, metrics)


def _score_file(output: StepOutput) -> ScoreFile:
    return decode_row(_file_of(output, "scores", "scores.json", "evaluate"), ScoreFile)


def _file_of(output: StepOutput, role: str, name: str, stage: str) -> bytes:
    path = output.files / name
    if not path.is_file():
        raise ConfigError(
            f"step {output.name} (stage {output.stage}) in role `{role}` wrote no {name}; "
            f"name a step of stage {stage}"
        )
    return path.read_bytes()


def _versions(history: Sequence[Manifest]) -> dict[str, str]:
    """Versions that took part; where steps differ, all of them."""
    found: dict[str, list[str]] = {}
    for one in history:
        for name, version in one.versions.items():
            known = found.setdefault(name, [])
            if version not in known:
                known.append(version)
    return {name: ", ".join(sorted(known)) for name, known in sorted(found.items())}


def _licences(history: Sequence[Manifest]) -> list[str]:
    stages = {one.stage for one in history}
    return [_OPENMOJI, _WEIGHTS] if "scenes" in stages else []


def _config(run: Path) -> dict[str, Any]:
    """The resolved config as the run folder keeps it; empty where it keeps none."""
    path = run / "run.json"
    if not path.is_file():
        return {}
    return msgspec.json.decode(path.read_bytes(), type=_RunFile).config


class _RunFile(msgspec.Struct):
    """The part of `run.json` that a report shows."""

    config: dict[str, Any] = {}


def _yaml(config: Mapping[str, Any]) -> str:
    return yaml.safe_dump(config, sort_keys=False, width=100) if config else ""
