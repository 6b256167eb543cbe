"""Leases, their ends, and commits that somebody else may finish."""

import errno
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from genixer.errors import LeaseLostError, StoreError
from genixer.store import fence as fences
from genixer.store import holders
from genixer.store.fence import Fence, create_once, finish_commit, stage_of
from genixer.store.holders import Holder, Watch
from genixer.store.layout import StepFolder
from genixer.store.leases import LeaseBook, close_leases
from genixer.store.manifest import committed, read_receipt
from genixer.store.shards import UnitWriter

STALE_S = 0.2


class Row(msgspec.Struct):
    id: str


class Shell:
    """One process that shares the run folder; `die` stops its heart and nothing else."""

    def __init__(self, run: Path) -> None:
        self.holder = Holder(run, True, STALE_S)
        self.holder.__enter__()
        self.book = LeaseBook(run, self.holder, Watch(run, STALE_S), look_s=0.0)
        self.folder = StepFolder(run / "step")

    def die(self) -> None:
        self.holder._over.set()
        self.holder._thread.join()

    def claim(self, unit: str = "00000") -> Fence | None:
        return self.book.claim(
            self.folder, unit, lambda: committed(self.folder, unit, "basis") is not None
        )

    def takes_over(self) -> Fence:
        """The lease, once the former holder's counter stood still long enough."""
        end = time.monotonic() + 30
        while (fence := self.claim()) is None:
            assert time.monotonic() < end, "nobody is given up"
            time.sleep(0.01)
        return fence

    def writer(self, fence: Fence) -> UnitWriter:
        return UnitWriter(self.folder, "00000", "basis", fence=fence)

    def writes(self, fence: Fence, name: str) -> None:
        with self.writer(fence) as out:
            fill(out, name)


def fill(out: UnitWriter, name: str) -> None:
    """Rows and files that differ from holder to holder, as those of a model on a server may."""
    out.keep(Row(f"kept by {name}"))
    out.file("shared.txt", name.encode())
    out.file(f"{name}.txt", name.encode())
    if name == "first":
        out.reject("r", "too_small", {})
    out.commit(0, 2 if name == "first" else 1)


@pytest.fixture
def shells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Shell]]:
    """Shells on different machines: none sees the file locks of another."""
    monkeypatch.setattr(holders, "kernel", lambda: "")
    (tmp_path / "step").mkdir()
    with ExitStack() as stack:

        def begin() -> Shell:
            shell = Shell(tmp_path)
            stack.callback(shell.holder.__exit__)
            return shell

        yield begin


def is_the_work_of(folder: StepFolder, name: str) -> bool:
    """Whether everything there is from one holder, and the receipt says so."""
    receipt = committed(folder, "00000", "basis")
    if receipt is None:
        return False
    found = {p.name: p.read_bytes() for p in folder.root.rglob("*") if p.is_file()}
    expected = {*receipt.outputs, "00000.json", "shared.txt", f"{name}.txt"}
    return (
        found.keys() == expected
        and name.encode() in found["part-00000.jsonl"]
        and found["shared.txt"] == name.encode()
    )


def test_a_file_is_made_once(tmp_path: Path) -> None:
    made = []
    threads = [
        threading.Thread(target=lambda n=n: made.append(create_once(tmp_path / "x", b"%d" % n)))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False] * 7 + [True]
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_file_that_has_no_room_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="make room"):
        create_once(tmp_path / "lease", b"holder")
    assert not list(tmp_path.iterdir())


def test_one_holder_at_a_time_and_numbers_grow(shells: Callable[[], Shell]) -> None:
    one, two = shells(), shells()
    first = one.claim()
    assert first is not None
    assert first.number == 1
    assert [one.claim(), two.claim()] == [None, None]
    other_unit = two.claim("00001")
    assert other_unit is not None
    one.book.release(first, "step", "00000")
    second = two.claim()
    assert second is not None
    assert second.number == 2


def test_a_beating_heart_is_waited_for_and_a_still_one_is_not(shells: Callable[[], Shell]) -> None:
    one, two = shells(), shells()
    assert one.claim() is not None
    end = time.monotonic() + 5 * STALE_S
    while time.monotonic() < end:
        assert two.claim() is None
        time.sleep(0.01)
    one.die()
    assert two.takes_over().number == 2


def test_a_former_holder_cannot_publish(shells: Callable[[], Shell]) -> None:
    one, two = shells(), shells()
    first = one.claim()
    assert first is not None
    with one.writer(first) as late:
        one.die()
        second = two.takes_over()
        with pytest.raises(LeaseLostError):
            fill(late, "first")
        two.writes(second, "second")
    assert is_the_work_of(two.folder, "second")
    with pytest.raises(LeaseLostError), one.writer(first):
        pass


def test_a_former_holder_with_everything_on_disk_cannot_publish(
    shells: Callable[[], Shell], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sleeps at the last moment before the decision, and wakes when all is over."""
    one, two = shells(), shells()
    first = one.claim()
    assert first is not None
    end_with = Fence.end_with

    def sleep_here(fence: Fence, what: bytes) -> bool:
        if fence == first and what:
            one.die()
            two.writes(two.takes_over(), "second")
            assert is_the_work_of(two.folder, "second")
        return end_with(fence, what)

    monkeypatch.setattr(Fence, "end_with", sleep_here)
    with pytest.raises(LeaseLostError):
        one.writes(first, "first")
    assert is_the_work_of(two.folder, "second")


@pytest.mark.parametrize("done", range(7))
def test_a_decided_commit_is_finished_by_the_next(
    shells: Callable[[], Shell], monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    """The holder dies after `done` of its renames, or sleeps there and wakes later."""
    one, two = shells(), shells()
    first = one.claim()
    assert first is not None
    move_once, moved = fences._move_once, []

    def sleep_after_some(source: Path, target: Path) -> None:
        if len(moved) == done:
            moved.append(None)
            one.die()
            end = time.monotonic() + 30
            while stage_of(two.folder, "00000", first).exists():
                assert time.monotonic() < end
                assert two.claim() is None
                time.sleep(0.01)
            assert is_the_work_of(two.folder, "first")
        moved.append(None)
        move_once(source, target)

    monkeypatch.setattr(fences, "_move_once", sleep_after_some)
    one.writes(first, "first")
    assert is_the_work_of(two.folder, "first")
    assert two.claim() is None


def test_a_decided_commit_is_finished_though_a_power_cut_took_its_lease(
    shells: Callable[[], Shell], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = shells(), shells()
    fence = one.claim()
    assert fence is not None
    with monkeypatch.context() as patch:
        patch.setattr(fences, "finish_commit", lambda *_: None)
        patch.setattr(UnitWriter, "__exit__", lambda *_: None)
        one.writes(fence, "first")
    one.die()
    fence.lease.unlink()
    assert two.claim() is None
    assert is_the_work_of(two.folder, "first")
    assert not stage_of(two.folder, "00000", fence).exists()


def test_a_holder_that_sees_the_receipt_late_does_not_do_it_again(
    shells: Callable[[], Shell],
) -> None:
    one, two = shells(), shells()
    two.book._leases("step")
    fence = one.claim()
    assert fence is not None
    one.writes(fence, "first")
    assert two.claim() is None


def test_a_damaged_unit_is_done_again_whole(shells: Callable[[], Shell]) -> None:
    one, two = shells(), shells()
    fence = one.claim()
    assert fence is not None
    one.writes(fence, "first")
    (one.folder.files / "shared.txt").unlink()
    again = two.claim()
    assert again is not None
    assert again.number == 2
    two.writes(again, "second")
    assert is_the_work_of(two.folder, "second")


def test_a_workspace_is_handed_over_and_its_former_holder_shut_out(
    shells: Callable[[], Shell],
) -> None:
    one, two = shells(), shells()
    first = one.claim()
    assert first is not None
    with one.writer(first) as late:
        old = late.workspace()
        (old / "step-1").write_text("checkpoint")
        with (old / "journal").open("a") as journal:
            journal.write("row\n")
            journal.flush()
            one.die()
            with two.writer(two.takes_over()) as heir:
                new = heir.workspace()
                journal.write("late row\n")
                journal.flush()
                with pytest.raises(FileNotFoundError):
                    (old / "step-2").write_text("late checkpoint")
                assert (new / "journal").read_text() == "row\n"
                assert (new / "step-1").read_text() == "checkpoint"
                late.workspace()
                assert new.is_dir()


def test_alone_again_decided_commits_are_finished_and_leases_dropped(
    shells: Callable[[], Shell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = shells(), shells()
    fence, other = one.claim(), two.claim("00001")
    assert fence is not None
    assert other is not None

    def nothing(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fences, "finish_commit", nothing)
        patch.setattr(UnitWriter, "__exit__", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            one.writes(fence, "first")
    assert read_receipt(one.folder, "00000") is None
    with UnitWriter(two.folder, "00001", "basis", fence=other) as late:
        (late.workspace() / "x").write_text("half")
        close_leases(tmp_path, [one.folder])
        with pytest.raises(LeaseLostError):
            late.commit()
    assert not (tmp_path / ".leases").exists()
    with UnitWriter(two.folder, "00001", "basis") as alone:
        assert (alone.workspace() / "x").read_text() == "half"
    shutil.rmtree(two.folder.work)
    shutil.rmtree(two.folder.scratch)
    assert is_the_work_of(one.folder, "first")


def test_finishing_twice_changes_nothing(shells: Callable[[], Shell]) -> None:
    one = shells()
    fence = one.claim()
    assert fence is not None
    one.writes(fence, "first")
    finish_commit(one.folder, "00000", fence)
    assert is_the_work_of(one.folder, "first")
