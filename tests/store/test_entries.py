import json

import pytest

from genixer.errors import ConfigError
from genixer.store import entry_files
from genixer.store.entries import EntryError, JoinedFiles, json_array, json_lines, json_object


def write(tmp_path, data):
    path = tmp_path / "file"
    path.write_bytes(data)
    return path


def test_lines_are_numbered_as_an_editor_shows_them(tmp_path):
    file = json_lines(write(tmp_path, b'\xef\xbb\xbf{"id": 1}\r\n\n  \n{"id": 2}'))
    assert list(file.places) == ["file:1", "file:4"]
    assert file.raw(0) == b'{"id": 1}'
    assert file.by_id("id") == ({1: 0, 2: 1}, frozenset())


def test_an_entry_is_read_when_asked_for_and_a_bad_neighbour_does_not_matter(tmp_path):
    file = json_array(write(tmp_path, b'{"a": [{"id": 1}, {"\xff": 1}, {"id": 1}], "b": 2}'), "a")
    assert file.places[1] == "file:a[1]"
    assert file.read(2, dict) == {"id": 1}
    with pytest.raises(EntryError, match="not_utf8"):
        file.read(1, dict)
    assert file.by_id("id") == ({1: 0}, frozenset({2}))


def test_a_file_in_which_no_entry_has_the_id_is_another_file(tmp_path):
    with pytest.raises(ConfigError, match=r"no entry has a 'question_id'.*file:1"):
        json_lines(write(tmp_path, b'{"id": 1}\n{"id": 2}\n')).by_id("question_id")


def test_an_empty_array_is_a_file_without_entries(tmp_path):
    assert json_array(write(tmp_path, b"[]")).by_id("id") == ({}, frozenset())


def test_nesting_without_end_is_an_entry_that_cannot_be_read(tmp_path):
    deep = b"[1," + b"[" * 200_000 + b"]" * 200_000 + b"]"
    file = json_array(write(tmp_path, deep))
    assert file.read(0, int) == 1
    with pytest.raises(EntryError, match="not_json"):
        file.read(1, object)


def test_keys_of_an_object_are_ids(tmp_path):
    file = json_object(
        write(tmp_path, b'{"a": {"x": 1}, "b\\u00e9": 2, "a": 3, broken: 4, "\xff": 5}')
    )
    assert [file.key(index) for index in range(3)] == ["a", "b\u00e9", "a"]
    assert file.raw(0) == b'"a": {"x": 1}'
    assert file.read(1, int) == 2
    assert file.repeated("") == {2}
    assert file.by_id("") == ({"a": 0, "b\u00e9": 1}, frozenset({2}))
    for index, reason in ((3, "not_json"), (4, "not_utf8")):
        with pytest.raises(EntryError, match=reason):
            file.key(index)


def test_an_object_none_of_whose_values_fit_is_another_file(tmp_path):
    path = write(tmp_path, b'{"a": [], "b": "c"}')
    with pytest.raises(ConfigError, match=r"no entry is of this layout.*file\[0\]"):
        json_object(path, dict[str, int])
    assert len(json_object(path, str)) == 2
    assert len(json_object(write(tmp_path, b"{}"), str)) == 0


def test_an_array_is_found_behind_a_large_neighbour_and_a_wrong_name_is_helped(tmp_path):
    path = write(tmp_path, b'{"info": "' + b"x" * 100_000 + b'", "questions": [1, 2]}')
    assert json_array(path, "questions").places[1] == "file:questions[1]"
    assert json_array(path, "questions").read(1, int) == 2
    with pytest.raises(ConfigError, match=r"no 'question' in it.*did you mean questions"):
        json_array(path, "question")


def test_joined_files_count_on_and_say_which_file(tmp_path):
    one, two = tmp_path / "0.json", tmp_path / "1.json"
    one.write_bytes(b'{"a": 1, "b": 2}')
    two.write_bytes(b'{"c": 3, "a": 4}')
    joined = JoinedFiles([json_object(one), json_object(two)])
    assert len(joined) == 4
    assert list(joined.places) == ["0.json[0]", "0.json[1]", "1.json[0]", "1.json[1]"]
    assert [joined.read(index, int) for index in range(4)] == [1, 2, 3, 4]
    assert joined.raw(3) == b'"a": 4'
    assert joined.repeated("") == {3}
    assert len(JoinedFiles([])) == 0


@pytest.mark.parametrize(
    "ids", [[1, 2, 1, 1, "1", 2], ["a", "b"], [], [1.5, 7, 7]], ids=["many", "none", "empty", "bad"]
)
def test_repeated_agrees_with_the_table_of_ids(tmp_path, ids):
    file = json_array(write(tmp_path, json.dumps([{"id": one} for one in ids]).encode()))
    assert file.repeated("id") == file.by_id("id")[1]


def test_places_end_where_the_entries_end(tmp_path):
    file = json_lines(write(tmp_path, b"1\n2\n"))
    assert list(file.places) == ["file:1", "file:2"]
    with pytest.raises(ConfigError, match="empty"):
        json_lines(write(tmp_path, b"\n \n"))


def test_a_key_that_cannot_be_read_hides_no_other(tmp_path):
    path = write(tmp_path, b'{broken: [1], "a": [2]}')
    assert json_array(path, "a").read(0, int) == 2


def test_entries_read_in_order_are_those_read_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr(entry_files, "_READ_AHEAD", 16)
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'{"id": 1}\n{"id": "x"}\nnonsense\n{"\xff": 1}\n' + b'{"id": 22222222222}\n' * 3
    )
    file = json_lines(path)
    kind = dict[str, int]

    def one(index: int) -> object:
        try:
            return file.read(index, kind)
        except EntryError as error:
            return error.reason, error.detail

    found = [
        (each.reason, each.detail) if isinstance(each, EntryError) else each
        for each in file.each(kind)
    ]
    assert found == [one(index) for index in range(len(file))]
    assert [each[0] for each in found if isinstance(each, tuple)] == [
        "bad_entry",
        "not_json",
        "not_utf8",
    ]
    assert list(file.each(kind, 4, 6)) == found[4:6]


def test_entries_with_keys_are_read_in_order(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": {"id": 1}, "b": {"id": 2}}')
    assert list(json_object(path).each(dict)) == [{"id": 1}, {"id": 2}]
