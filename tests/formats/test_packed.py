"""The law of every container: what was packed and put down as JSON comes back equal."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from genixer.data import Box, ImageRef, Origin, Point, Sample, Turn, encode_row, escape_marks
from genixer.errors import CannotEncodeError
from genixer.formats.packed import PackedRow, PackedSettings, pack, place, unpack
from genixer.frames import FRAMES
from genixer.store.entries import EntryError
from genixer.store.entry_files import decode_entry

IMAGE = ImageRef("a.png", 640, 427, "0" * 64)

words = st.text(max_size=8) | st.sampled_from(
    ["[", "]", "0.1,", "{x}", "\\", "<box>", "Question: ", "\u2028", "[1]", ";", "\n"]
)
edges = st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted)
boxes = st.tuples(edges, edges).map(lambda e: Box(e[0][0], e[1][0], e[0][1], e[1][1]))


@st.composite
def turns(draw, role):
    text, found = escape_marks(draw(words)), []
    for box in draw(st.lists(boxes, max_size=3)):
        text += " <box>" + escape_marks(draw(words))
        found.append(box)
    return Turn(role, text, tuple(found))


pairs = st.lists(st.tuples(turns("user"), turns("assistant")), min_size=1, max_size=3)


@given(pairs, st.sampled_from(sorted(FRAMES)), st.integers(0, 6))
def test_what_was_packed_comes_back_equal_whatever_the_frame(pairs, frame, decimals):
    said = tuple(turn for pair in pairs for turn in pair)
    scores = {"judge": 1e-300, "clip": 0.1 + 0.2}
    one = Sample.of("md", IMAGE, said, Origin("x", seed=2**70, scores=scores))
    try:
        row = pack(one, PackedSettings(frame=frame, decimals=decimals))
    except CannotEncodeError as error:
        refused = error.reason
        event(refused)
    else:
        refused = ""
    if refused:
        assert refused == "box_look_alike"
        return
    again = decode_entry(encode_row(row), PackedRow)
    assert again.stated == IMAGE
    # The row says itself how it is to be read: settings of another frame change nothing.
    assert unpack(again, IMAGE, PackedSettings(frame="per_999", decimals=0), "y") == one


X = Origin("x")


def sample(*said, origin=X):
    return Sample.of("md", IMAGE, said, origin)


ASK, SAY = Turn("user", "?"), Turn("assistant", "!")


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (sample(SAY, ASK), "not_pairs"),
        (sample(ASK), "not_pairs"),
        (sample(), "not_pairs"),
        (sample(Turn("user", "<image>"), SAY), "image_mark"),
        (sample(Turn("user", "[1,2]"), SAY), "box_look_alike"),
        (sample(ASK, SAY, origin=Origin("x", scores={"a": float("inf")})), "bad_score"),
    ],
)
def test_what_cannot_be_packed_has_a_reason(one, reason):
    with pytest.raises(CannotEncodeError) as refused:
        pack(one, PackedSettings())
    assert refused.value.reason == reason


def test_points_come_back_exactly_or_are_refused():
    one = sample(Turn("user", "What is at <point>?", (), (Point(1 / 3, 0.5),)), SAY)
    with suppress(CannotEncodeError):  # until the grammar writes them
        assert unpack(pack(one, PackedSettings()), IMAGE, PackedSettings(), "x") == one


def test_a_place_fits_in_a_row_whatever_a_file_was_called():
    assert place("é\udce9") == "é\\udce9"
    assert len(place("x" * 999)) == 200


def test_a_path_that_climbs_is_told_before_the_image_is_looked_at():
    row = msgspec.structs.replace(pack(sample(ASK, SAY), PackedSettings()), image="../a.png")
    with pytest.raises(EntryError, match="path_escapes"):
        _ = row.stated
