import pytest

from genixer.errors import StoreError
from genixer.stages.keyed_rows import KeyedRows, key_of, write_keyed_rows


def test_rows_of_a_key_come_back_in_the_order_they_came(tmp_path):
    rows = [(7, b"a"), (2**64 - 1, b"b"), (7, b""), (0, b"d"), (7, b"e")]
    write_keyed_rows(tmp_path, rows)
    with KeyedRows(tmp_path) as keyed:
        assert keyed.get(7) == [b"a", b"", b"e"]
        assert keyed.get(7, most=2) == [b"a", b""]
        assert keyed.get(2**64 - 1) == [b"b"]
        assert keyed.get(0) == [b"d"]
        assert keyed.get(8) == []


def test_no_rows_is_a_table_too(tmp_path):
    write_keyed_rows(tmp_path, [])
    with KeyedRows(tmp_path) as keyed:
        assert keyed.get(key_of("x")) == []


def test_missing_or_short_files_say_what_to_do(tmp_path):
    with pytest.raises(StoreError, match="run again"):
        KeyedRows(tmp_path)
    write_keyed_rows(tmp_path, [(1, b"abc")])
    (tmp_path / "rows.jsonl").write_bytes(b"ab")
    with KeyedRows(tmp_path) as keyed, pytest.raises(StoreError, match="cut short"):
        keyed.get(1)
