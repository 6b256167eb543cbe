import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genixer.errors import ConfigError
from genixer.store import json_spans
from genixer.store.entries import json_array, json_object

text = st.text(st.sampled_from('"\\[]{},: \n\u00e9a'), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spans") / "file.json"


@given(
    entries=st.lists(values, max_size=5), chunk=st.integers(1, 9), indent=st.sampled_from([None, 1])
)
def test_entries_of_an_array_are_found_wherever_chunks_end(place, entries, chunk, indent):
    place.write_text(json.dumps(entries, indent=indent, ensure_ascii=False), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_spans, "_CHUNK", chunk)
        file = json_array(place)
    assert [file.read(index, object) for index in range(len(file))] == entries


@given(
    entries=st.dictionaries(text, values, max_size=5),
    chunk=st.integers(1, 9),
    indent=st.sampled_from([None, 1]),
)
def test_entries_of_an_object_are_found_with_their_keys(place, entries, chunk, indent):
    place.write_text(json.dumps(entries, indent=indent), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_spans, "_CHUNK", chunk)
        file = json_object(place)
    found = [(file.key(index), file.read(index, object)) for index in range(len(file))]
    assert found == list(entries.items())


@given(entries=st.lists(values, min_size=1, max_size=3), share=st.floats(0, 1))
def test_a_file_that_was_cut_short_is_refused_whole(place, entries, share):
    whole = json.dumps(entries).encode()
    place.write_bytes(whole[: int(share * (len(whole) - 1))])
    with pytest.raises(ConfigError, match=r"file\.json.*(in the middle|empty)"):
        json_array(place)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"[1, 2}", "closes what was not opened"),
        (b"[1] [2]", "are these JSON lines"),
        (b"[1]\n\n7", "are these JSON lines"),
        (b'{"a": 1}', "expected JSON, an array"),
        (b" \n ", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b'["a]', "in the middle"),
        (b'["a\\"]', "in the middle"),
    ],
)
def test_what_is_no_array_is_refused_in_words(place, data, problem):
    place.write_bytes(data)
    for chunk in (1, 2, 100):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(json_spans, "_CHUNK", chunk)
            with pytest.raises(ConfigError, match=problem):
                json_array(place)


def test_blank_space_and_a_byte_order_mark_are_no_part_of_the_entries(place):
    place.write_bytes(b"\xef\xbb\xbf \r\n[ 1 ,\t2 ]\n ")
    assert [json_array(place).raw(index) for index in (0, 1)] == [b"1", b"2"]
    place.write_bytes(b"[ \n ]")
    assert len(json_array(place)) == 0


def test_memory_does_not_grow_with_the_entries_but_by_their_places(place):
    with place.open("w") as file:
        file.write("[")
        file.writelines(f'{{"id": {number}, "text": "{"x" * 1000}"}},' for number in range(20_000))
        file.write("{}]")
    tracemalloc.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_spans, "_CHUNK", 1 << 16)
        file = json_array(place)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(file) == 20_001
    assert peak < 3_000_000 < place.stat().st_size / 6


lines = st.lists(
    st.sampled_from(
        [b"", b" ", b"\t \x0b", b"{}", b" {} ", b"\xef\xbb\xbf{}", b"x\r", b"\r", b"\x0c"]
    ),
    max_size=6,
)


@given(
    lines=lines,
    ends=st.sampled_from([b"\n", b"\r\n"]),
    last=st.booleans(),
    mark=st.booleans(),
    chunk=st.integers(1, 9),
)
def test_lines_are_those_that_a_plain_loop_finds(place, lines, ends, last, mark, chunk):
    data = (b"\xef\xbb\xbf" if mark else b"") + ends.join(lines) + (ends if last else b"")
    place.write_bytes(data or b"\n")
    expected, at = [], 0
    for number, line in enumerate((data or b"\n").split(b"\n"), start=1):
        begin = at + (3 if at == 0 and line.startswith(b"\xef\xbb\xbf") else 0)
        words = data[begin : at + len(line)]
        if words.strip():
            expected.append((begin, begin + len(words.rstrip(b"\r\n")), number))
        at += len(line) + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_spans, "_CHUNK", chunk)
        found = json_spans.line_spans(place)
    assert list(zip(*found, strict=True)) == expected
