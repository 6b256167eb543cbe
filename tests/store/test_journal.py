import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genixer.errors import StoreError
from genixer.store import journal as module
from genixer.store.journal import Journal

ROWS = [b"one", b"", b"\xf5JR\nnot a frame", b"four" * 9]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "journal"
    with Journal(path) as journal:
        for row in ROWS:
            journal.append([row])
    return path


@given(pieces=st.lists(st.lists(st.binary(max_size=40), max_size=4), max_size=5))
def test_rows_in_are_rows_out(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[list[bytes]]
) -> None:
    path = tmp_path_factory.mktemp("law") / "journal"
    for piece in pieces:
        with Journal(path) as journal:
            journal.append(piece)
    assert Journal(path).rows == [row for piece in pieces for row in piece]


def test_nothing_is_made_before_there_is_something_to_write(tmp_path: Path) -> None:
    with Journal(tmp_path / "deep" / "journal") as journal:
        assert journal.rows == []
    assert not (tmp_path / "deep").exists()


def test_a_tail_torn_at_any_byte_is_cut_to_the_last_whole_row_and_told(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, ends, at = path.read_bytes(), [0], 0
    for row in ROWS:
        at += module._START + len(row)
        ends.append(at)
    assert at == len(whole)
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        caplog.clear()
        with Journal(path) as journal:
            there = sum(end <= size for end in ends) - 1
            assert journal.rows == ROWS[:there]
            told = f"its last {size - ends[there]} bytes are no whole row"
            assert (told in caplog.text) == (size not in ends), size
            journal.append([b"next"])
        assert Journal(path).rows == [*ROWS[:there], b"next"]
    assert [one.name for one in path.parent.iterdir()] == ["journal"]


def test_a_row_damaged_in_the_middle_is_set_aside_and_costs_itself_alone(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = path.read_bytes()
    last = len(whole) - module._START - len(ROWS[-1])
    for position in range(last):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        caplog.clear()
        rows = Journal(path).rows
        assert len(rows) == len(ROWS) - 1
        assert [row for row in ROWS if row in rows] == rows
        aside = path.with_name("journal.corrupt")
        assert aside.read_bytes() == bytes(damaged)
        assert f"a copy is in {aside.name}" in caplog.text
        assert Journal(path).rows == rows
        aside.unlink()


@pytest.mark.parametrize("seed", range(60))
def test_bytes_of_any_kind_never_give_a_row_that_was_not_written(path: Path, seed: int) -> None:
    rng, data = random.Random(seed), bytearray(path.read_bytes())
    for _ in range(rng.randrange(1, 6)):
        start = rng.randrange(len(data))
        data[start : start + rng.randrange(9)] = rng.randbytes(rng.randrange(9))
    path.write_bytes(data)
    assert set(Journal(path).rows) <= set(ROWS)


class Disk:
    """Counts how often the disk is waited for, on a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.syncs = 50.0, 0
        monkeypatch.setattr("os.fsync", self._sync)
        monkeypatch.setattr("time.monotonic", lambda: self.now)

    def _sync(self, handle: int) -> None:
        self.syncs += 1


def test_the_disk_is_waited_for_once_in_so_many_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    with Journal(tmp_path / "journal") as journal:
        for _ in range(module.SYNC_ROWS - 1):
            journal.append([b"row"])
        assert disk.syncs == 0
        journal.append([b"row"])
        assert disk.syncs == 2  # the file and, as it is new, its name
        journal.append([b"row"] * module.SYNC_ROWS)
        assert disk.syncs == 3


@pytest.mark.parametrize("jump", [module.SYNC_S, 1e9, -0.1, -1e9])
def test_rows_that_come_slowly_or_after_a_jump_of_the_clock_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    disk = Disk(monkeypatch)
    with Journal(tmp_path / "journal") as journal:
        journal.append([b"row"])
        assert disk.syncs == 0
        disk.now += jump
        journal.append([b"row"])
        assert disk.syncs == 2


def test_a_full_disk_keeps_whole_rows_only(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.os.write

    def little(handle: int, data: memoryview) -> int:
        if len(data) < 10:
            raise OSError(28, "No space left on device")
        return real(handle, data[: len(data) - 9])

    with Journal(path) as journal:
        monkeypatch.setattr("os.write", little)
        with pytest.raises(StoreError, match="journal: No space left on device: at least"):
            journal.append([b"does not fit"])
        monkeypatch.setattr("os.write", real)
        journal.append([b"fits"])
    assert Journal(path).rows == [*ROWS, b"fits"]
