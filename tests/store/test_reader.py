from pathlib import Path

import msgspec
import pytest

from genixer.errors import CorruptShardError, DataError, StoreError
from genixer.store.layout import StepFolder
from genixer.store.reader import StoredStep, open_step, shard_entry
from genixer.store.shards import UnitWriter


class Row(msgspec.Struct):
    id: str


class Other(msgspec.Struct):
    name: str


@pytest.fixture
def step(tmp_path: Path) -> StoredStep:
    folder = StepFolder(tmp_path / "step")
    receipts = []
    for unit in ("00000", "00001"):
        with UnitWriter(folder, unit, "basis") as out:
            for number in range(3):
                out.keep(Row(f"{unit}-{number}"))
            receipts.append(out.commit(0, 3))
    return StoredStep(folder, "toy", map(shard_entry, receipts))


def test_a_damaged_shard_gives_no_row(step: StoredStep) -> None:
    path = step.files.parent / "part-00001.jsonl"
    path.write_bytes(path.read_bytes().replace(b"2", b"9"))
    rows = step.rows(Row)
    assert [next(rows).id for _ in range(3)] == ["00000-0", "00000-1", "00000-2"]
    with pytest.raises(CorruptShardError, match="move it aside") as caught:
        next(rows)
    assert caught.value.path == path


def test_a_missing_shard_is_a_corrupt_one(step: StoredStep) -> None:
    (step.files.parent / "part-00000.jsonl").unlink()
    with pytest.raises(CorruptShardError, match="missing"):
        list(step.rows(Row))


def test_rows_before_the_damage_can_be_skipped_but_not_read_around_it(step: StoredStep) -> None:
    (step.files.parent / "part-00000.jsonl").unlink()
    assert [row.id for row in step.rows(Row, 3)] == ["00001-0", "00001-1", "00001-2"]


def test_rows_of_another_kind_are_named_by_file_and_line(step: StoredStep) -> None:
    with pytest.raises(DataError, match=r"part-00000\.jsonl:1: not a Other"):
        list(step.rows(Other))


class Picky(msgspec.Struct):
    id: str

    def __post_init__(self) -> None:
        if self.id == "00001-1":
            raise DataError("picky")


def test_rows_that_break_a_rule_are_named_by_file_and_line(step: StoredStep) -> None:
    with pytest.raises(DataError, match=r"part-00001\.jsonl:2: not a Picky: picky"):
        list(step.rows(Picky))


def test_an_unfinished_step_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no finished step"):
        open_step(tmp_path)
