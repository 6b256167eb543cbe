"""A small run of a generate step, really done and timed, in a folder of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genixer.config import RunConfig, parse_config
from genixer.data import content_id
from genixer.pipeline.meter import written_tokens
from genixer.pipeline.plan import PlannedStep, make_plan
from genixer.pipeline.progress import Progress
from genixer.pipeline.run import execute
from genixer.stages.requests import GenerateSettings
from genixer.store.disk import write_atomic
from genixer.store.layout import shard_unit
from genixer.store.manifest import read_receipt
from genixer.yaml_source import YamlSource

__all__ = ["Probe", "probe"]

_SHARDS = 4
"""The first has to load the model; the others give the pace and how it varies."""


@dataclass(frozen=True)
class Probe:
    """What a request of a step takes."""

    tokens: tuple[int, ...]
    """Written for each request that was answered."""
    seconds: tuple[float, ...]
    """Of one worker for one request, a mean for each shard but the first."""
    bytes: tuple[float, ...]
    """On disk for one request, a mean for each shard."""


def probe(
    planned: PlannedStep, config: RunConfig, names: Sequence[str], requests: int, progress: Progress
) -> Probe:
    """Ask `requests` of a generate step about images `names`, in `<run>-probe/<step>-<digest>`.

    The same probe again is not run, but read. Quotas are left out: an image gets all there is.
    """
    size = max(1, -(-requests // _SHARDS))
    # Whole blocks, as large as those of the run: that is what its requests are answered in.
    block = min(size, GenerateSettings.model_validate(planned.settings).block)
    size = -(-size // block) * block
    root = str(planned.step().images)
    given = planned.step().resolve_all({**planned.settings, "quotas": {}, "block": block})
    key = content_id("probe", planned.fingerprint, requests, list(names))[:12]
    folder = planned.run.with_name(f"{planned.run.name}-probe") / f"{planned.name}-{key}"
    listed = folder.with_suffix(".txt")
    listed.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(listed, "".join(f"{name}\n" for name in names).encode())
    step = {
        "stage": planned.stage_name,
        "rows_per_shard": size,
        "with": {**given, "images": str(listed)},
    }
    value = {
        "name": "probe",
        "seed": config.seed,
        "threads": config.threads,
        "images": root,
        "steps": {planned.name: step},
    }
    own = parse_config(value, YamlSource("probe", {}))
    plan = make_plan(own, folder, requests)
    execute(own, plan, 0, False, progress)
    return _read(plan.by_name[planned.name])


def _read(step: PlannedStep) -> Probe:
    tokens: list[int] = []
    seconds: list[float] = []
    sizes: list[float] = []
    while (receipt := read_receipt(step.folder, shard_unit(len(sizes)))) is not None:
        tokens += written_tokens(step.folder, receipt)
        seconds.append(receipt.seconds / receipt.counts.items)
        sizes.append(sum(one.bytes for one in receipt.outputs.values()) / receipt.counts.items)
    return Probe(tuple(tokens) or (0,), tuple(seconds[1:] or seconds), tuple(sizes))
