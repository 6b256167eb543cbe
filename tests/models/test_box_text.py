import pytest
from hypothesis import given
from hypothesis import strategies as st

from genixer.errors import CannotEncodeError
from genixer.models.box_text import read_boxes, write_boxes

SPELLINGS = ["brackets", "spaced_brackets", "box_marks", "location_tokens"]
numbers = st.integers(0, 1023).map(str)
box = st.tuples(numbers, numbers, numbers, numbers).map(",".join)
bracket = st.lists(box, min_size=1, max_size=3).map(lambda boxes: f"[{';'.join(boxes)}]")
words = st.text(st.characters(exclude_characters="[]"), max_size=12)
texts = st.lists(st.tuples(words, st.one_of(bracket, st.just("[0.5,0.5]"))), max_size=4).map(
    lambda parts: "".join(f"{word}-{mark}" for word, mark in parts)
)


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(text=texts, end=words)
def test_what_is_spelled_is_read(spelling: str, text: str, end: str) -> None:
    assert read_boxes(write_boxes(text + end, spelling), spelling) == text + end


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(text=st.text(max_size=40))
def test_words_without_a_box_stay_as_they_are(spelling: str, text: str) -> None:
    assert write_boxes(text, spelling) == read_boxes(text, spelling) == text


@pytest.mark.parametrize(
    ("spelling", "text"),
    [
        ("box_marks", "say <|box_start|>"),
        ("location_tokens", "say <loc0001>"),
        ("spaced_brackets", "say [1, 2, 3, 4]"),
    ],
)
def test_words_with_the_models_own_signs_are_refused(spelling: str, text: str) -> None:
    with pytest.raises(CannotEncodeError) as raised:
        write_boxes(text, spelling)
    assert raised.value.reason == "box_mark"


@pytest.mark.parametrize("spelling", SPELLINGS[1:])
def test_touching_boxes_of_two_phrases_are_refused(spelling: str) -> None:
    with pytest.raises(CannotEncodeError) as raised:
        write_boxes("both [1,2,3,4][5,6,7,8]", spelling)
    assert raised.value.reason == "touching_boxes"


@pytest.mark.parametrize(
    ("spelling", "text"),
    [
        ("box_marks", "<|box_start|>(1,2)<|box_end|>"),
        ("location_tokens", "<loc0001><loc0002><loc0003>"),
        ("spaced_brackets", "[1, 2, 3]"),
    ],
)
def test_what_is_no_box_is_left_for_the_codec_to_refuse(spelling: str, text: str) -> None:
    assert read_boxes(text, spelling) == text
