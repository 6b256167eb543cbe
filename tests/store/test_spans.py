import io
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from genixer.store import spans
from genixer.store.spans import SpansError, array_spans, line_spans

values = st.recursive(
    st.none() | st.integers() | st.text() | st.sampled_from(['"', "\\", "],[", '\\"', "{", "é,"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


def cut(data: bytes, key: str = "") -> list[bytes]:
    found = array_spans(io.BytesIO(data), key)
    return [data[a:b].strip() for a, b in zip(found.starts, found.ends, strict=True)]


@pytest.fixture(autouse=True, params=[1, 3, 1 << 20])
def chunk(request, monkeypatch):
    monkeypatch.setattr(spans, "_CHUNK", request.param)


@given(array=st.lists(values, max_size=5), indent=st.none() | st.integers(0, 2), raw=st.booleans())
@example(array=["\\"], indent=None, raw=False)
def test_entries_of_an_array_are_what_a_json_reader_finds(array, indent, raw):
    data = json.dumps(array, indent=indent, ensure_ascii=raw).encode("utf-8", "surrogatepass")
    assert [json.loads(piece) for piece in cut(data)] == array


@given(whole=st.dictionaries(st.text(), values, max_size=3), array=st.lists(values, max_size=4))
def test_the_array_is_found_by_its_key_wherever_it_stands(whole, array):
    for order in ({"k": array, **whole}, {**whole, "k": array}):
        order["k"] = array
        data = b"\xef\xbb\xbf " + json.dumps(order, indent=1).encode()
        assert [json.loads(piece) for piece in cut(data, "k")] == array


@pytest.mark.parametrize(
    ("data", "key", "message"),
    [
        (b"[1, 2", "", "inside a bracket"),
        (b'[1, "2]', "", "inside a string"),
        (b"[1}", "", "another kind"),
        (b"[1] 2", "", "more follows"),
        (b"[1][2]", "", "more follows"),
        (b"]", "", "more follows"),
        (b"7", "", "no brackets"),
        (b"x [1]", "", "starts with"),
        (b"{}", "", "starts with"),
        (b"[1]", "k", "starts with"),
        (b'{"k": {"a": [1]}}', "k", "not an array"),
        (b'{"k": 3, "a": [1]}', "k", "no 'k' in it"),
        (b'{"\xff": [1], 7: [2], [3]}', "k", "no 'k' in it"),
        (b'{"k": [1], "a": [', "k", "inside a bracket"),
    ],
)
def test_what_is_no_such_array_is_refused_with_a_reason(data, key, message):
    with pytest.raises(SpansError, match=message):
        cut(data, key)


def test_a_broken_entry_is_an_entry():
    assert cut(b'[1, , {"a": NaN}, \xff x, [}]') == [b"1", b"", b'{"a": NaN}', b"\xff x", b"[}"]
    assert cut(b"[ \n ]") == []


def test_blank_lines_are_no_entries_but_are_counted():
    found = line_spans(io.BytesIO(b"\xef\xbb\xbf1\r\n \t\n2"))
    assert (list(found.starts), list(found.ends), list(found.lines)) == ([3, 9], [4, 10], [1, 3])
