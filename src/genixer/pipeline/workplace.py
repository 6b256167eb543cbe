"""Which executor does the work of a run, made from its config."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from genixer.config import ExecutorName, RunConfig
from genixer.pipeline.budget import Budget
from genixer.pipeline.executor import Claim, Pool, Seal, everything, write_manifest
from genixer.pipeline.leases import LeasePool, write_manifest_once
from genixer.pipeline.local import InlinePool, ProcessPool
from genixer.pipeline.plan import Plan
from genixer.store.leases import LeaseBook
from genixer.store.lock import RunLock

__all__ = ["Workplace", "workplace"]

_LONGEST_LOOK_S = 1.0
"""Most seconds between two looks at what others did."""


@dataclass(frozen=True)
class Workplace:
    """Makes pools, and writes the manifest of a step that is done."""

    pool: Callable[[], Pool]
    seal: Seal


def workplace(
    config: RunConfig,
    plan: Plan,
    workers: int,
    executor: ExecutorName,
    lock: RunLock,
    budget: Budget,
) -> Workplace:
    """Where `plan` is worked on by `executor`, in a run folder that is locked."""
    threads = max((step.threads for step in plan.steps), default=1)

    def local(claim: Claim) -> Pool:
        return ProcessPool(workers, threads, claim) if workers else InlinePool(claim)

    def ray(claim: Claim) -> Pool:
        if config.ray.address:
            os.environ["RAY_ADDRESS"] = config.ray.address  # read when Ray is imported
        from genixer.pipeline.ray import RayPool

        return RayPool(config.ray, max(workers, 1), threads, claim)

    if executor == "local":
        return Workplace(lambda: local(everything), write_manifest)
    look_s = min(_LONGEST_LOOK_S, config.stale_s / 10)
    book = LeaseBook(plan.run, lock.holder, lock.watch, look_s)
    inner = ray if executor == "ray" else local
    return Workplace(
        lambda: LeasePool(inner, book, look_s, budget), partial(write_manifest_once, book)
    )
