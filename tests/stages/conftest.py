"""Runs one stage as an executor would, in this process: items, prepare, shards, finish."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from genixer.data import Quarantined, Rejected, encode_row
from genixer.stages.base import Stage, Step


class MemoryWriter:
    """Collects what a unit of work writes; files land on disk at once."""

    deaths = 0

    def __init__(self, files: Path) -> None:
        self.files = files
        self.kept: list[bytes] = []
        self.rejects: list[Rejected] = []
        self.quarantines: list[Quarantined] = []

    def keep(self, row: msgspec.Struct) -> None:
        self.kept.append(encode_row(row))

    def reject(
        self, id: str, reason: str, row: Any, scores: Mapping[str, float] | None = None
    ) -> None:
        self.rejects.append(Rejected(id, reason, row, dict(scores or {})))

    def quarantine(self, where: str, reason: str, detail: str = "", raw: str | bytes = "") -> None:
        self.quarantines.append(Quarantined(where, reason, detail, str(raw)))

    def file(self, path: str, data: bytes) -> None:
        target = self.files / path
        assert not target.exists(), f"{path} written twice"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def adopt(self, folder: Path, path: str = "") -> None:
        shutil.copytree(folder, self.files / path, dirs_exist_ok=True)

    def scratch(self) -> Path:
        folder = self.files.parent / f"scratch-{len(list(self.files.parent.iterdir()))}"
        folder.mkdir(parents=True)
        return folder

    def hold(self, who: str, revision: str) -> None:
        assert who
        assert revision

    def workspace(self) -> Path:
        folder = self.files.parent / "work"
        folder.mkdir(exist_ok=True)
        return folder


class MemoryStep:
    """A finished step: the `StepOutput` of another stage."""

    def __init__(self, name: str, stage: str, files: Path, kept: list[bytes]) -> None:
        self.name, self.stage, self.files, self.kept = name, stage, files, kept
        self.rejects: list[Rejected] = []
        self.quarantines: list[Quarantined] = []

    @property
    def rows_kept(self) -> int:
        return len(self.kept)

    @property
    def counts(self) -> Mapping[str, Any]:
        return {"kept": len(self.kept)}

    def rows(self, kind: type, first: int = 0, count: int | None = None) -> Iterator[Any]:
        stop = None if count is None else first + count
        for line in self.kept[first:stop]:
            yield msgspec.json.decode(line, type=kind)

    def rejected(self) -> Iterator[Rejected]:
        yield from self.rejects

    def quarantined(self) -> Iterator[Quarantined]:
        yield from self.quarantines


Run = Callable[..., MemoryStep]


@pytest.fixture
def memory_step(tmp_path: Path) -> Callable[..., MemoryStep]:
    """`memory_step(rows)` is a finished step that kept these records."""
    return lambda rows: MemoryStep("before", "any", tmp_path, [encode_row(row) for row in rows])


@pytest.fixture
def memory_writer(tmp_path: Path) -> MemoryWriter:
    """Where a unit of work of the step `generate` writes, kept in memory but for its files."""
    return MemoryWriter(tmp_path / "generate" / "files")


@pytest.fixture
def run_stage(tmp_path: Path) -> Run:
    """`run_stage(stage, rows, name=.., shard=.., images=..)` gives the finished step.

    `rows` is a list of records, or role -> list of steps.
    """

    def run(
        stage: Stage,
        rows: Any = (),
        name: str = "this",
        shard: int = 512,
        images: Path = tmp_path,
        **known: Any,
    ) -> MemoryStep:
        if not isinstance(rows, Mapping):
            rows = {"rows": [MemoryStep("before", "any", tmp_path, [encode_row(r) for r in rows])]}
        files = tmp_path / name / "files"
        files.mkdir(parents=True)
        inputs = {role: tuple(steps) for role, steps in rows.items()}
        step = Step(name, known.pop("seed", 7), images, inputs, run=tmp_path, **known)
        writer, done = MemoryWriter(files), MemoryStep(name, stage.name, files, [])
        total = stage.items(step)
        stage.prepare(step, writer)
        for first in range(0, total, shard):
            count = min(shard, total - first)
            before = len(writer.kept) + len(writer.rejects) + len(writer.quarantines)
            stage.process(step, first, count, writer)
            after = len(writer.kept) + len(writer.rejects) + len(writer.quarantines)
            assert after - before == count, "in = kept + rejected + quarantined"
        done.kept, done.rejects = writer.kept, writer.rejects
        done.quarantines = writer.quarantines
        stage.finish(step, writer, done)
        return done

    return run
