import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genixer.errors import ConfigError
from genixer.formats.json_slices import mapped_arrays

values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


def arrays(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(text, encoding="utf-8")
    return mapped_arrays(path)


@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), values, max_size=5),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_arrays_are_what_json_says_they_are(tmp_path_factory, value, indent, ascii_only):
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    found = arrays(tmp_path_factory, text)
    wanted = {key: one for key, one in value.items() if isinstance(one, list)}
    read = {key: [json.loads(one.raw(at)) for at in range(len(one))] for key, one in found.items()}
    assert read == wanted


@given(values.filter(lambda value: isinstance(value, list | dict)), st.data())
def test_a_cut_file_is_never_taken_for_a_whole_one(tmp_path_factory, value, data):
    text = json.dumps({"a": [value], "b": 1})
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(ConfigError, match=r"a\.json"):
        arrays(tmp_path_factory, text[:cut])


@pytest.mark.parametrize(
    "text",
    ["[]", '{"a" 1}', '{"a": [1 2]}', '{"a": [1]} x', "{a: 1}", '{"a": ]}', '{"a": [}]}'],
)
def test_what_is_no_object_is_refused_with_the_byte(text, tmp_path_factory):
    with pytest.raises(ConfigError, match=r"expected one JSON object; .*byte \d+"):
        arrays(tmp_path_factory, text)


def test_a_byte_order_mark_and_deep_nesting_are_no_trouble(tmp_path_factory):
    deep = "[" * 100_000 + "]" * 100_000
    found = arrays(tmp_path_factory, f'\ufeff{{"a": [{deep}, 1]}}')
    assert [len(found["a"].raw(at)) for at in (0, 1)] == [200_000, 1]
    assert found["a"].place(1) == "a.json:a[1]"
