import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genixer.sources.pickles import PickleError, read_pickle

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abc"), inner, max_size=3)
        | st.lists(inner, max_size=4).map(tuple)
    ),
    max_leaves=20,
)


@given(value=values, protocol=st.integers(0, 5))
def test_plain_data_comes_back_from_every_protocol(value, protocol):
    assert read_pickle(pickle.dumps(value, protocol)) == value


@given(value=values)
def test_what_lists_share_comes_back_shared(value):
    shared = [value]
    back = read_pickle(pickle.dumps([shared, shared, [shared]], 2))
    assert back[0] is back[1] is back[2][0]


@given(data=st.binary(max_size=40))
def test_any_bytes_are_data_or_a_pickle_error(data):
    try:
        read_pickle(b"\x80\x02" + data + b".")
    except PickleError:
        return


def test_strings_of_python_2_are_text_and_keep_bytes_that_are_none():
    protocol_2 = b"\x80\x02]q\x01(U\x03catq\x02T\x04\x00\x00\x00d\xc3\xb6gU\x01\xffh\x02e."
    assert read_pickle(protocol_2) == ["cat", "d\u00f6g", "\udcff", "cat"]
    protocol_0 = b"(lp0\nS'it\\'s'\np1\naS\"x\\xff\"\naV\\u00e9\nag1\naI01\naL7L\naF0.5\na."
    assert read_pickle(protocol_0) == ["it's", "x\udcff", "\u00e9", "it's", True, 7, 0.5]


class Evil:
    def __reduce__(self):
        return print, ("owned",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_calls_something_is_refused_and_calls_nothing(protocol, capsys):
    with pytest.raises(PickleError, match="not plain data"):
        read_pickle(pickle.dumps([{"ref_id": 1}, Evil()], protocol))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", r"opcode b'c' at byte 0"),
        (b"(S'true'\nios\nsystem\n.", "opcode b'i'"),
        (b"(cos\nsystem\nS'true'\no.", "opcode b'c'"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "opcode b'.x93'"),
        (b"\x82\x01.", "opcode b'.x82'"),
        (b"Pid\n.", "opcode b'P'"),
        (b"\x80\x02]}b.", "opcode b'b'"),
        (b"\x80\x05C\x01a.", "opcode b'C'"),
        (b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00.", "opcode b'.x96'"),
        (b"X\xff\xff\xff\x7fabc.", "cut short"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "cut short"),
        (b"\x8b\xff\xff\xff\x7f.", "a number of"),
        (b"\x8b\xff\xff\xff\xff.", "a number of -1"),
        (b"I" + b"9" * 5000 + b"\n.", "a number of 5000 digits"),
        (b"(" * 200 + b".", "open marks"),
        (b"]" * 200_000 + b".", "values wait"),
        (b"]", "cut short"),
        (b"]]", "cut short"),
        (b".", "broken"),
        (b"]].", "broken"),
        (b"e.", "broken"),
        (b"I7", "broken"),
        (b"Ix\n.", "broken"),
        (b"h\x07.", "broken"),
        (b"Scat\n.", "without quotes"),
        (b"}]]s.", "keys are not text"),
        (b"}(U\x01au.", "keys are not text"),
        (b"]]]s.", "no dict"),
        (b"I7\nI7\na.", "no list"),
    ],
)
def test_what_is_not_plain_data_is_refused_with_its_place(data, message):
    with pytest.raises(PickleError, match=message):
        read_pickle(data)
