"""What a run would cost: per step what is done, what is left, and what the stage itself expects."""

from __future__ import annotations

import msgspec

from genixer.pipeline.plan import Plan, PlannedStep
from genixer.pipeline.state import look
from genixer.stages.base import Estimate, ExpectedRows
from genixer.store.layout import StepFolder
from genixer.store.manifest import Manifest, read_manifest

__all__ = ["StepForecast", "forecast"]


class StepForecast(msgspec.Struct, frozen=True):
    """One line of a plan; seconds and bytes are those left.

    `status` is `cached`, `partial n of m` or `to do`.
    """

    name: str
    stage: str
    status: str
    items: int | None
    kept: int | None
    tokens: int
    seconds: float
    bytes: int
    fingerprint: str
    expected: tuple[ExpectedRows, ...] = ()
    """Of a step that reads datasets: rows by source and task."""
    notes: tuple[str, ...] = ()
    """What the stage has to say besides, for people."""
    done: int = 0
    """Items whose shards are committed."""


def forecast(plan: Plan) -> list[StepForecast]:
    """Every step in running order, from names and sizes on disk and the stages' estimates."""
    estimates: dict[str, Estimate] = {}
    lines = []
    for step in plan.steps:
        status, manifest, done = _status(step)
        if status == "cached" and manifest is not None:
            estimate = Estimate(manifest.counts.items, manifest.counts.kept)
        else:
            estimate = _estimate(step, estimates)
        estimates[step.name] = estimate
        lines.append(
            StepForecast(
                step.name,
                step.stage_name,
                status,
                estimate.items,
                estimate.kept,
                estimate.tokens,
                round(estimate.seconds, 1),
                estimate.bytes,
                step.fingerprint,
                estimate.expected,
                estimate.notes,
                done,
            )
        )
    return lines


def _status(step: PlannedStep) -> tuple[str, Manifest | None, int]:
    """How far the step is, taking the steps before it as their manifests say they were."""
    contents = {}
    for name in step.depends:
        before = read_manifest(StepFolder(step.run / name))
        if before is None:
            return "to do", None, 0
        contents[name] = before.content
    state = look(step, contents)
    done = sum(shard.counts.items for shard in state.shards.values())
    manifest = read_manifest(step.folder)
    if state.done and manifest is not None and manifest.fingerprint == step.fingerprint:
        return "cached", manifest, done
    if state.shards:
        return f"partial {len(state.shards)} of {state.shard_count}", manifest, done
    return "to do", manifest, 0


def _estimate(step: PlannedStep, known: dict[str, Estimate]) -> Estimate:
    inputs = {role: [known[name] for name in many] for role, many in step.sources.items()}
    estimate = step.stage().estimate(inputs)
    if step.limit is None:
        return estimate
    return msgspec.structs.replace(
        estimate, items=_capped(estimate.items, step.limit), kept=_capped(estimate.kept, step.limit)
    )


def _capped(count: int | None, limit: int) -> int | None:
    return None if count is None else min(count, limit)
