"""What a stage is: a pure, versioned function from settings and rows to rows, run shard by shard.

A step is a stage with a name, settings and inputs. Its life, whoever executes it:

    items() -> prepare() -> process() for every shard, in any order, in any process -> finish() ->
    manifest

`process` must call the writer exactly once for each of its `count` work items: `keep`, `reject` or
`quarantine`. That is the ledger `in = kept + rejected + quarantined`; a shard that does not add up
is not committed. What a stage writes depends on settings, seed and inputs alone, never on which
worker runs it, when, or how many there are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict

__all__ = [
    "Estimate",
    "ExpectedRows",
    "FileWriter",
    "Generator",
    "Need",
    "RowWriter",
    "Stage",
    "StageSettings",
    "Step",
    "StepOutput",
]

R = TypeVar("R")


class StageSettings(BaseModel):
    """Settings of one stage: the `with:` block of a step.

    Unknown keys are errors; every field has one line of help.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class StepOutput(Protocol):
    """A finished step, read only (`genixer.store.reader.StoredStep`)."""

    name: str
    stage: str
    files: Path
    """Folder of the files it wrote (images, weights, tables)."""

    @property
    def rows_kept(self) -> int:
        """How many rows it kept."""
        ...

    @property
    def counts(self) -> Mapping[str, Any]:
        """The manifest's ledger.

        `in`, `kept`, `rejected` (by reason) and `quarantined` (by reason).
        """
        ...

    def rows(self, kind: type[R], first: int = 0, count: int | None = None) -> Iterator[R]:
        """Kept rows `first` to `first + count`, in order, as records of type `kind`.

        Checks digests as it reads.
        """
        ...

    def rejected(self) -> Iterator[Any]:
        """`genixer.data.Rejected` rows, in order."""
        ...

    def quarantined(self) -> Iterator[Any]:
        """`genixer.data.Quarantined` rows, in order."""
        ...


@dataclass(frozen=True)
class Step:
    """Everything a stage may know about the step it runs as."""

    name: str
    seed: int
    images: Path
    """Image root of the run: every `ImageRef.path` is relative to it."""
    inputs: Mapping[str, tuple[StepOutput, ...]] = field(default_factory=dict)
    """Finished input steps by role; a plain list in the config has the role `rows`."""
    limit: int | None = None
    """With `--limit N`: at most N work items, and as little training as shows that it works."""
    threads: int = 1
    """Compute threads this process may use; part of the fingerprint."""
    run: Path = Path()
    """Run folder."""

    def resolve(self, reference: str) -> Path:
        """Path that `reference` means.

        `@step/some/file` lies inside that step's files; others are relative to the working folder.
        """
        if not reference.startswith("@"):
            return Path(reference)
        step, _, rest = reference[1:].partition("/")
        return self.run / step / "files" / rest

    def resolve_all(self, value: Any) -> Any:
        """`value` with every text `@step/...` in it, however deep, turned into its path."""
        if isinstance(value, str) and value.startswith("@"):
            return str(self.resolve(value))
        if isinstance(value, Mapping):
            return {key: self.resolve_all(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.resolve_all(inner) for inner in value]
        return value

    def rows(
        self, kind: type[R], first: int = 0, count: int | None = None, role: str = "rows"
    ) -> Iterator[R]:
        """Rows `first` to `first + count` of all inputs of `role` joined in order."""
        left = count
        for output in self.inputs.get(role, ()):
            if first >= output.rows_kept:
                first -= output.rows_kept
                continue
            for row in output.rows(kind, first, left):
                if left is not None:
                    left -= 1
                yield row
            if left is not None and left <= 0:
                return
            first = 0

    def count(self, role: str = "rows") -> int:
        """How many rows the inputs of `role` keep together."""
        return sum(output.rows_kept for output in self.inputs.get(role, ()))


class FileWriter(Protocol):
    """Where a step puts files.

    They appear all at once, with digests, when the unit of work is committed.
    """

    deaths: int
    """Workers that ended in this very unit of work since the run was started, this one left out."""

    def file(self, path: str, data: bytes) -> None:
        """Write `data` to `path`, relative to the step's `files` folder."""
        ...

    def adopt(self, folder: Path, path: str = "") -> None:
        """Move every file of a scratch folder to `path` below the step's `files` folder."""
        ...

    def scratch(self) -> Path:
        """New empty folder on the same disk, removed when the unit of work ends."""
        ...

    def workspace(self) -> Path:
        """Folder that a killed unit of work finds again when it is done once more.

        For checkpoints. It belongs to what the unit depends on: other inputs or settings get an
        empty one. Removed when the unit is committed.
        """
        ...


class RowWriter(FileWriter, Protocol):
    """Where a shard's rows go: one call for each work item."""

    def keep(self, row: msgspec.Struct) -> None:
        """The item's result."""
        ...

    def reject(
        self, id: str, reason: str, row: Any, scores: Mapping[str, float] | None = None
    ) -> None:
        """A well-formed item that a rule refused; `reason` is snake_case."""
        ...

    def quarantine(self, where: str, reason: str, detail: str = "", raw: str | bytes = "") -> None:
        """An unreadable or failed item; `raw` is kept as it came."""
        ...

    def hold(self, who: str, revision: str) -> None:
        """See that all units of an unfinished step ask one and the same model.

        Raises `SettingsChangedError` where a unit before this one, whoever did it, asked another
        `revision` as `who` (a backend, a filter): no fingerprint knows what a server serves.
        """
        ...


class ExpectedRows(msgspec.Struct, frozen=True):
    """Rows of one task that a source should give; None where nothing says how many."""

    source: str
    task: str
    rows: int | None


class Estimate(msgspec.Struct, frozen=True):
    """What `genixer plan` says of a step.

    `items` in, `kept` out (None = cannot be known before), tokens, seconds, bytes, and for a step
    that reads datasets what each should give.
    """

    items: int | None = None
    kept: int | None = None
    tokens: int = 0
    seconds: float = 0.0
    bytes: int = 0
    expected: tuple[ExpectedRows, ...] = ()
    notes: tuple[str, ...] = ()
    """More for people, a line each."""


class Generator(msgspec.Struct, frozen=True):
    """Who writes the rows of a step: a model, and the backend it runs on with its settings."""

    backend: str
    model: str
    settings: str = ""
    """The backend's settings, as JSON with sorted keys."""


class Need(msgspec.Struct, frozen=True):
    """What a step asks of a backend, so that a plan can refuse it.

    `capability` is a field of `inference.base.Capabilities`, `at` the key below `with` that names
    the backend. Without a `backend` it is asked of all that wrote the rows that come in.
    """

    capability: str
    backend: str = ""
    at: tuple[str | int, ...] = ()


class Stage(ABC):
    """One kind of step.

    Subclasses set the class variables and `process`; the other hooks do nothing by default.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Raised whenever the same inputs and settings would give other rows.

    Part of the fingerprint.
    """
    Settings: ClassVar[type[StageSettings]] = StageSettings
    rows_per_shard: ClassVar[int] = 512
    max_deaths: ClassVar[int] = 2
    """Workers that may end in one unit of work before the run ends; more where it learns of it."""
    joins: ClassVar[bool] = True
    """Whether rows of its inputs end up side by side in what it keeps."""

    def __init__(self, settings: Any) -> None:
        """Keep `settings`, an instance of `Settings`."""
        self.settings = settings

    @abstractmethod
    def items(self, step: Step) -> int:
        """How many work items there are. Cheap: counts only."""

    def prepare(self, step: Step, out: FileWriter) -> None:  # noqa: B027 - optional hook
        """Once, before the shards: build what they share (an index, say) as files."""

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Do work items `first` to `first + count`."""
        raise NotImplementedError(f"stage {self.name} has {count} items but no process()")

    def finish(self, step: Step, out: FileWriter, rows: StepOutput) -> None:  # noqa: B027
        """Once, after the shards: make files (weights, scores) from the step's own `rows`."""

    def external(self) -> list[Path]:
        """Files outside the run that the result depends on.

        Their content goes into the fingerprint.
        """
        return []

    def needs(self) -> list[Need]:
        """What it asks of backends, from its settings alone."""
        return []

    def generator(self) -> Generator | None:
        """Who writes its rows, if a model does."""
        return None

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        """What the step will cost, from its settings and its inputs' estimates by role.

        Loads no model, reads no data.
        """
        items = sum(one.kept or 0 for many in inputs.values() for one in many) or None
        return Estimate(items=items, kept=items)
