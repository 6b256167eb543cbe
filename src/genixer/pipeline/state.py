"""How far a step is, read from its receipts: names and sizes are looked at, nothing is hashed.

Each unit of work has a *basis*, a digest of everything its result depends on. Prepare depends on
the step's fingerprint and on what the steps before it wrote; shards on that and on what prepare
wrote; finish on all of it and on the shards.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from genixer import __version__
from genixer.data import SCHEMA, content_id
from genixer.errors import StoreError
from genixer.pipeline.plan import Plan, PlannedStep
from genixer.store.fence import Fence
from genixer.store.layout import FINISH, PREPARE, shard_unit
from genixer.store.manifest import (
    Counts,
    FileEntry,
    InputEntry,
    Manifest,
    Receipt,
    committed,
    read_manifest,
)
from genixer.store.reader import shard_entry

__all__ = ["StepState", "Task", "look"]

_PACKAGES = ("msgspec", "numpy", "pillow", "pydantic", "tokenizers", "torch", "transformers")


@dataclass(frozen=True)
class Task:
    """One unit of work of one step, as it is sent to a worker."""

    step: PlannedStep
    unit: str
    basis: str
    first: int = 0
    items: int = 0
    shards: int = 0
    """Of `finish` only: how many shards there are."""
    deaths: int = 0
    """Workers that ended while they did it."""
    fence: Fence | None = None
    """The lease it is done under, where several processes share the run folder."""

    def __str__(self) -> str:
        """What error messages call it."""
        unit = f"shard {int(self.unit)}" if self.unit.isdecimal() else self.unit
        return f"{self.step.label}, {unit}"


class StepState:
    """Receipts of one step so far, and what is left to do."""

    def __init__(self, step: PlannedStep, basis: str) -> None:
        """Nothing done yet; `basis` is that of the unit `prepare`."""
        self.step, self.basis = step, basis
        self.prepare: Receipt | None = None
        self.shards: dict[int, Receipt] = {}
        self.finish: Receipt | None = None

    @property
    def shard_count(self) -> int | None:
        """How many shards there are; unknown before prepare."""
        if self.prepare is None:
            return None
        return -(-self.prepare.total // self.step.rows_per_shard)

    @property
    def done(self) -> bool:
        """Whether every unit of work is committed."""
        return self.finish is not None

    def tasks(self) -> list[Task]:
        """Units that can be worked on now: prepare, else the missing shards, else finish."""
        if self.prepare is None:
            return [Task(self.step, PREPARE, self.basis)]
        missing = [index for index in range(self.shard_count or 0) if index not in self.shards]
        if missing:
            return [self._shard(index, self.prepare) for index in missing]
        if self.finish is None:
            return [Task(self.step, FINISH, self.finish_basis(), shards=self.shard_count or 0)]
        return []

    def accept(self, receipt: Receipt) -> None:
        """Note a committed unit."""
        if receipt.unit == PREPARE:
            self.prepare = receipt
        elif receipt.unit == FINISH:
            self.finish = receipt
        else:
            self.shards[int(receipt.unit)] = receipt
        self.find_finish()

    def find_finish(self) -> None:
        """See whether what `finish` once made still holds for the shards as they are."""
        if self.finish is None and len(self.shards) == self.shard_count:
            self.finish = committed(self.step.folder, FINISH, self.finish_basis())

    def _shard(self, index: int, prepare: Receipt) -> Task:
        size = self.step.rows_per_shard
        first = index * size
        items = min(size, prepare.total - first)
        return Task(self.step, shard_unit(index), self.shard_basis(prepare), first, items)

    def shard_basis(self, prepare: Receipt) -> str:
        """What every shard depends on."""
        return content_id("shard", prepare.basis, prepare.content)

    def finish_basis(self) -> str:
        """What finish depends on; every shard must be done."""
        return content_id("finish", self.basis, self._contents())

    def _contents(self) -> list[str]:
        receipts = [self.prepare, *(self.shards[index] for index in sorted(self.shards))]
        return [receipt.content for receipt in receipts if receipt]

    def manifest(self, inputs: dict[str, list[InputEntry]]) -> Manifest:
        """Manifest of the finished step; raises `StoreError` when two units wrote the same file."""
        if self.prepare is None or self.finish is None:
            raise StoreError(f"{self.step.label} is not finished")
        shards = [self.shards[index] for index in sorted(self.shards)]
        units = [self.prepare, *shards, self.finish]
        counts, files = Counts(), dict[str, FileEntry]()
        for unit in units:
            counts = counts.plus(unit.counts)
            for path, entry in unit.files.items():
                if path in files:
                    raise StoreError(f"{self.step.label}: file {path!r} is written by two shards")
                files[path] = entry
        return Manifest(
            SCHEMA,
            self.step.name,
            self.step.stage_name,
            self.step.identity["version"],
            self.step.fingerprint,
            content_id(*self._contents(), self.finish.content),
            inputs,
            self.prepare.one_to_one,
            counts,
            [shard_entry(shard) for shard in shards],
            dict(sorted(files.items())),
            _versions(),
            round(sum(unit.seconds for unit in units), 3),
            {
                "machine": platform.machine(),
                "system": platform.system(),
                "cores": str(os.cpu_count()),
            },
        )


def look(step: PlannedStep, contents: Mapping[str, str]) -> StepState:
    """State of `step` on disk, given what the steps it depends on wrote (`contents` by name)."""
    basis = content_id("prepare", step.fingerprint, [contents[name] for name in step.depends])
    state = StepState(step, basis)
    state.prepare = committed(step.folder, PREPARE, basis)
    if state.prepare is None:
        return state
    shard_basis = state.shard_basis(state.prepare)
    for index in range(state.shard_count or 0):
        receipt = committed(step.folder, shard_unit(index), shard_basis)
        if receipt is not None:
            state.shards[index] = receipt
    state.find_finish()
    return state


def inputs_of(
    step: PlannedStep, plan: Plan, contents: Mapping[str, str]
) -> dict[str, list[InputEntry]]:
    """What a manifest says of the steps it read."""
    roles = {**step.sources, "@": step.references}
    return {
        role: [InputEntry(name, plan.by_name[name].fingerprint, contents[name]) for name in many]
        for role, many in roles.items()
        if many
    }


def current_manifest(step: PlannedStep) -> Manifest | None:
    """Manifest in the step's folder if it was made by this very step."""
    manifest = read_manifest(step.folder)
    return manifest if manifest and manifest.fingerprint == step.fingerprint else None


@cache
def _versions() -> dict[str, str]:
    found = {"genixer": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
