"""The power goes at any moment; what was committed is there, and the same command ends the same."""

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from genixer.config import ExecutorName
from genixer.pipeline.run import run
from genixer.pipeline.verify import damaged_files, verify
from genixer.store.journal import Journal
from genixer.store.layout import StepFolder
from genixer.store.manifest import read_receipt
from genixer.store.shards import UnitWriter
from tests.faults.power_cut import Disk

CONFIG = """
name: cut
seed: 3
images: "@world"
steps:
  world:
    stage: scenes
    rows_per_shard: 2
    with:
      pools:
        labelled: {images: 2, backgrounds: [sky]}
        unlabelled: {images: 2, annotated: false, backgrounds: [bricks]}
  collect:
    stage: collect
    rows_per_shard: 8
    with:
      sources:
        - {name: pope, questions: "@world/labelled/annotations/pope.jsonl"}
  generate:
    stage: generate
    rows_per_shard: 8
    with: {images: "@world/unlabelled/images", backend: scripted, block: 4, tasks: [rec, reg, md]}
"""


class Cuts:
    """Runs followed by a disk, and what power cuts in them leave."""

    def __init__(self, home: Path, seed: int) -> None:
        self.home, self.seed = home, seed
        self.disk = Disk(home / "disk", home / "shelf")
        self.committed: set[tuple[str, str]] = set()
        self.left: list[tuple[Path, frozenset[tuple[str, str]]]] = []

    def survive(self, call: int, survivals: int) -> None:
        for number in range(survivals):
            target = self.home / f"left-{call:05d}-{number}"
            self.disk.survive(target, random.Random(f"{self.seed} {call} {number}"))
            self.left.append((target, frozenset(self.committed)))


def follow_run(
    home: Path,
    seed: int,
    executor: ExecutorName,
    monkeypatch: pytest.MonkeyPatch,
    share: float,
    survivals: int,
) -> Cuts:
    cuts = Cuts(home, seed)
    real, rng = UnitWriter.commit, random.Random(seed)

    def commit(writer: UnitWriter, *words: Any, **more: Any) -> Any:
        receipt = real(writer, *words, **more)
        cuts.committed.add((writer._folder.name, receipt.unit))
        return receipt

    def at(call: int) -> None:
        if rng.random() < share:
            cuts.survive(call, survivals)

    monkeypatch.setattr(UnitWriter, "commit", commit)
    with cuts.disk.followed(at):
        run(home / "cut.yaml", out=cuts.disk.root / "run", workers=0, executor=executor)
    monkeypatch.undo()
    return cuts


def check_survival(left: Path, committed: frozenset[tuple[str, str]]) -> None:
    """Nothing that was committed is lost, and nothing is half visible."""
    for step, unit in committed:
        place = StepFolder(left / "run" / step)
        assert read_receipt(place, unit) is not None, f"{left}: {step} {unit} is lost"
    for step in ("world", "collect", "generate"):
        assert list(damaged_files(StepFolder(left / "run" / step))) == [], left


def cut_and_go_on(
    bench: Any,
    home: Path,
    executor: ExecutorName,
    monkeypatch: pytest.MonkeyPatch,
    share: float,
    survivals: int,
) -> int:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  (what a failure is repeated with)
    (home / "cut.yaml").write_text(CONFIG)
    cuts = follow_run(home, seed, executor, monkeypatch, share, survivals)
    expected = bench.data_of(cuts.disk.root / "run")
    assert len(expected) > 20
    for left, committed in cuts.left:
        check_survival(left, committed)
        again = run(home / "cut.yaml", out=left / "run", workers=0, executor=executor)
        assert bench.data_of(again.folder) == expected, f"seed {seed}, {left}"
        assert verify(again.folder).problems == [], f"seed {seed}, {left}"
        shutil.rmtree(left)
    return len(cuts.left)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", "leases"])
def test_a_run_goes_on_after_power_cuts(
    bench: Any, tmp_path: Path, executor: ExecutorName, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cut_and_go_on(bench, tmp_path, executor, monkeypatch, share=0.15, survivals=1) > 10


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("executor", ["local", "leases"])
def test_a_run_goes_on_after_a_power_cut_at_every_call(
    bench: Any, tmp_path: Path, executor: ExecutorName, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cut_and_go_on(bench, tmp_path, executor, monkeypatch, share=1.0, survivals=3) > 300


def test_a_disk_without_syncs_loses_things(tmp_path: Path) -> None:
    """The test's own disk is as bad as it says."""
    disk = Disk(tmp_path / "disk", tmp_path / "shelf")
    with disk.followed(lambda call: None):
        (disk.root / "old").write_bytes(b"x" * 2000)
        (disk.root / "folder").mkdir()
        (disk.root / "old").replace(disk.root / "folder" / "new")
        (disk.root / "folder").rename(disk.root / "moved")
    seen = set()
    for number in range(200):
        left = tmp_path / f"left-{number}"
        disk.survive(left, random.Random(number))
        found = {str(path.relative_to(left)) for path in left.rglob("*")}
        seen.add((frozenset(found), (left / "moved/new").is_file()))
        if (left / "moved/new").is_file():
            seen.add(("whole", (left / "moved/new").read_bytes() == b"x" * 2000))
    assert {("whole", True), ("whole", False), (frozenset(), False)} <= seen
    assert (frozenset({"moved"}), False) in seen


def test_what_a_journal_synced_outlives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genixer.store.journal.SYNC_ROWS", 4)
    disk = Disk(tmp_path / "disk", tmp_path / "shelf")
    rows = [b"row %d " % number * 60 for number in range(30)]
    written, left = 0, []

    def at(call: int) -> None:
        for number in range(20):
            target = tmp_path / f"left-{call}-{number}"
            disk.survive(target, random.Random(f"{call} {number}"))
            left.append((target, written))

    with disk.followed(at), Journal(disk.root / "deep" / "journal") as journal:
        for written, row in enumerate(rows):  # noqa: B007
            journal.append([row])
    assert len(left) >= 20 * 9
    for target, before in left:
        found = Journal(target / "deep" / "journal").rows
        synced = max(0, before // 4 * 4)
        assert found[:synced] == rows[:synced], target
        assert set(found) <= set(rows[: before + 1])
