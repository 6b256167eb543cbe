from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genixer.errors import CorruptShardError, StoreError
from genixer.store.layout import StepFolder
from genixer.store.manifest import committed
from genixer.store.reader import StoredStep, read_lines, shard_entry
from genixer.store.shards import UnitWriter, raw_bytes, raw_text


class Row(msgspec.Struct):
    id: str
    value: Any = None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def folder(tmp_path: Path) -> StepFolder:
    return StepFolder(tmp_path / "step")


def write(folder: StepFolder, values: list[Any], unit: str = "00000") -> StoredStep:
    with UnitWriter(folder, unit, "basis") as out:
        for number, value in enumerate(values):
            out.keep(Row(str(number), value))
        receipt = out.commit(0, len(values))
    return StoredStep(folder, "toy", [shard_entry(receipt)])


@given(shards=st.lists(st.lists(JSON, max_size=5), min_size=1, max_size=4), data=st.data())
def test_rows_in_are_rows_out(
    tmp_path_factory: pytest.TempPathFactory, shards: list[list[Any]], data: st.DataObject
) -> None:
    folder = StepFolder(tmp_path_factory.mktemp("law") / "step")
    receipts = []
    for index, values in enumerate(shards):
        with UnitWriter(folder, f"{index:05d}", "basis") as out:
            for value in values:
                out.keep(Row("x", value))
            receipts.append(out.commit(0, len(values)))
    step = StoredStep(folder, "toy", map(shard_entry, receipts))
    everything = [value for values in shards for value in values]
    assert [row.value for row in step.rows(Row)] == everything
    assert step.rows_kept == len(everything)
    first = data.draw(st.integers(0, len(everything)))
    count = data.draw(st.none() | st.integers(0, len(everything) + 1))
    expected = everything[first:] if count is None else everything[first : first + count]
    assert [row.value for row in step.rows(Row, first, count)] == expected


@given(raw=st.binary())
def test_raw_bytes_come_back(raw: bytes) -> None:
    assert raw_bytes(raw_text(raw)) == raw


@given(text=st.text(st.characters()))
def test_raw_text_of_any_string_can_be_stored(text: str) -> None:
    assert msgspec.json.decode(msgspec.json.encode(raw_text(text + "\udcff\ud800")))
    assert raw_bytes(raw_text(text)) == text.encode("utf-8", "surrogatepass")


def test_a_shard_torn_at_any_byte_is_noticed(folder: StepFolder) -> None:
    write(folder, ["one", "two"])
    path = folder.output("part", "00000")
    whole = path.read_bytes()
    receipt = committed(folder, "00000", "basis")
    assert receipt is not None
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert committed(folder, "00000", "basis") is None
    for position in range(len(whole)):
        changed = bytes([whole[position] ^ 1])
        path.write_bytes(whole[:position] + changed + whole[position + 1 :])
        with pytest.raises(CorruptShardError, match=r"part-00000\.jsonl: its digest"):
            read_lines(path, receipt.outputs[path.name])


def test_a_receipt_torn_at_any_byte_does_not_count(folder: StepFolder) -> None:
    write(folder, ["one"])
    path = folder.receipt("00000")
    whole = path.read_bytes().rstrip()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert committed(folder, "00000", "basis") is None


def test_nothing_is_visible_before_the_commit(folder: StepFolder) -> None:
    with UnitWriter(folder, "00000", "basis") as out:
        out.keep(Row("a"))
        out.file("a.txt", b"a")
        assert not folder.output("part", "00000").exists()
        assert not folder.files.exists()
        out.commit(0, 1)
    assert folder.output("part", "00000").read_bytes() == b'{"id":"a","value":null}\n'
    assert (folder.files / "a.txt").read_bytes() == b"a"
    assert not any(folder.scratch.iterdir())


def write_and_fail(folder: StepFolder) -> None:
    with UnitWriter(folder, "00000", "basis") as out:
        out.keep(Row("a"))
        raise RuntimeError("toy trouble")


def test_a_unit_that_fails_leaves_nothing(folder: StepFolder) -> None:
    with pytest.raises(RuntimeError):
        write_and_fail(folder)
    assert [path for path in folder.root.rglob("*") if path.is_file()] == []


def test_empty_kinds_of_rows_have_no_file(folder: StepFolder) -> None:
    with UnitWriter(folder, "00000", "basis") as out:
        out.reject("a", "too_short", Row("a"), {"length": 1.0})
        out.quarantine("f.json:3", "broken", raw=b"\xff")
        receipt = out.commit(0, 2)
    assert sorted(receipt.outputs) == ["quarantined-00000.jsonl", "rejected-00000.jsonl"]
    step = StoredStep(folder, "toy", [shard_entry(receipt)])
    assert [row.row for row in step.rejected()] == [{"id": "a", "value": None}]
    assert [raw_bytes(row.raw) for row in step.quarantined()] == [b"\xff"]
    assert step.counts == {
        "in": 2,
        "kept": 0,
        "rejected": {"too_short": 1},
        "quarantined": {"broken": 1},
    }


@pytest.mark.parametrize("items", [0, 2])
def test_a_ledger_that_does_not_add_up_is_not_committed(folder: StepFolder, items: int) -> None:
    with UnitWriter(folder, "00000", "basis", "step toy") as out:
        out.keep(Row("a"))
        with pytest.raises(StoreError, match="step toy, 00000: the ledger does not add up"):
            out.commit(0, items)
    assert not folder.receipt("00000").exists()


@pytest.mark.parametrize("reason", ["", "Too short", "too-short", "3_short"])
def test_reasons_are_snake_case(folder: StepFolder, reason: str) -> None:
    with UnitWriter(folder, "00000", "basis") as out, pytest.raises(StoreError, match="snake_case"):
        out.reject("a", reason, Row("a"))


@pytest.mark.parametrize("path", ["", "/etc/x", "../x", "a/../../x", "a//b", "./a", "a/"])
def test_files_stay_inside(folder: StepFolder, path: str) -> None:
    with UnitWriter(folder, "00000", "basis") as out, pytest.raises(StoreError, match="relative"):
        out.file(path, b"")


def test_a_file_is_written_once(folder: StepFolder) -> None:
    with UnitWriter(folder, "00000", "basis") as out:
        out.file("a", b"1")
        with pytest.raises(StoreError, match="'a' is written twice"):
            out.file("a", b"2")


def test_adopting_moves_a_whole_folder(folder: StepFolder) -> None:
    with UnitWriter(folder, "finish", "basis") as out:
        scratch = out.scratch()
        (scratch / "deep").mkdir()
        (scratch / "deep" / "w.bin").write_bytes(b"weights")
        out.adopt(scratch, "model")
        receipt = out.commit()
    assert (folder.files / "model" / "deep" / "w.bin").read_bytes() == b"weights"
    assert receipt.files["model/deep/w.bin"].bytes == 7


def test_adopting_refuses_links(folder: StepFolder) -> None:
    with UnitWriter(folder, "finish", "basis") as out:
        scratch = out.scratch()
        (scratch / "link").symlink_to("/etc/hostname")
        with pytest.raises(StoreError, match="not a regular file"):
            out.adopt(scratch)


def test_a_second_commit_takes_the_first_ones_place(folder: StepFolder) -> None:
    with UnitWriter(folder, "00000", "old") as out:
        out.keep(Row("a"))
        out.reject("b", "bad", Row("b"))
        out.file("old.txt", b"old")
        out.commit(0, 2)
    with UnitWriter(folder, "00000", "new") as out:
        out.keep(Row("a"))
        out.keep(Row("b"))
        out.commit(0, 2)
    assert not folder.output("rejected", "00000").exists()
    assert not (folder.files / "old.txt").exists()
    assert committed(folder, "00000", "old") is None
    assert committed(folder, "00000", "new") is not None


def test_what_a_crash_left_in_the_scratch_folder_is_cleared(folder: StepFolder) -> None:
    stray = folder.scratch / "00000" / "part-00000.jsonl"
    stray.parent.mkdir(parents=True)
    stray.write_text("half a li")
    write(folder, ["whole"])
    assert b"half" not in folder.output("part", "00000").read_bytes()


def test_a_missing_file_takes_the_unit_back(folder: StepFolder) -> None:
    with UnitWriter(folder, "00000", "basis") as out:
        out.file("images/1.png", b"png")
        out.commit()
    assert committed(folder, "00000", "basis") is not None
    (folder.files / "images" / "1.png").write_bytes(b"pn")
    assert committed(folder, "00000", "basis") is None
    (folder.files / "images" / "1.png").unlink()
    assert committed(folder, "00000", "basis") is None
