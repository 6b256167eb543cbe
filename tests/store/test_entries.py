import pytest

from genixer.errors import ConfigError
from genixer.store.entries import EntryError, json_array, json_lines


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
    file = json_array(
        write(tmp_path, b'{"a": [{"id": 1}, {"id": "\xff"}, {"id": 1}], "b": 2}'), "a"
    )
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


def test_nesting_without_end_costs_one_entry(tmp_path):
    deep = b"[7, " + b"[" * 200_000 + b"]" * 200_000 + b"]"
    file = json_array(write(tmp_path, deep))
    assert file.read(0, int) == 7
    with pytest.raises(EntryError, match="not_json"):
        file.read(1, list)


@pytest.mark.parametrize("entry", [b'{"id": NaN}', b'{"\xff": 1}', b'{"id": 1 2}', b""])
def test_one_broken_entry_does_not_cost_the_array(tmp_path, entry):
    file = json_array(write(tmp_path, b'{"a": [{"id": 1}, ' + entry + b', {"id": 3}]}'), "a")
    assert [file.places[2], file.read(2, dict)] == ["file:a[2]", {"id": 3}]
    with pytest.raises(EntryError, match=r"not_json|not_utf8"):
        file.read(1, dict)


@pytest.mark.parametrize("data", [b'[{"id": 1}, {"id": 2', b'[{"id": 1}, "x]', b" \n", b""])
def test_an_array_that_is_cut_short_or_empty_is_a_config_error_that_names_it(tmp_path, data):
    with pytest.raises(ConfigError, match="file"):
        json_array(write(tmp_path, data))


def test_the_file_is_closed_with_its_entries(tmp_path):
    lines = json_lines(write(tmp_path, b"1\n2\n"))
    handle = lines._raws._file
    assert lines.read(1, int) == 2
    del lines
    assert handle.closed
