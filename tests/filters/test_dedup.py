"""What counts as the same sample."""

from hypothesis import given
from hypothesis import strategies as st

from genixer.data import Box, ImageRef, Origin, Point, Sample, Turn
from genixer.filters.dedup import duplicate_key, normalised

CAT = ImageRef("cat.png", 9, 9, "ab")


def sample(question: str, answer: str = "yes", image: ImageRef = CAT, x: float = 0.1) -> Sample:
    boxes = (Box(x, 0.1, 0.5, 0.5),) * question.count("<box>")
    turns = Turn("user", question, boxes), Turn("assistant", answer)
    return Sample.of("common_vqa", image, turns, Origin("test"))


def test_case_space_and_punctuation_do_not_count() -> None:
    assert duplicate_key(sample("Is it  New ?")) == duplicate_key(sample("is it new"))


def test_another_word_image_or_box_counts() -> None:
    keys = {
        duplicate_key(sample("Is it new?")),
        duplicate_key(sample("Is it old?")),
        duplicate_key(sample("Is it new?", image=ImageRef("cat.png", 9, 9, "cd"))),
        duplicate_key(sample("What is <box>?")),
        duplicate_key(sample("What is <box>?", x=0.2)),
    }
    assert len(keys) == 5


def test_the_place_of_a_point_counts_to_a_hundredth() -> None:
    def at(x: float) -> bytes:
        turns = Turn("user", "What? <point>", points=(Point(x, 0.5),)), Turn("assistant", "a")
        return duplicate_key(Sample.of("point_qa", CAT, turns, Origin("test")))

    assert at(0.1) == at(0.101) != at(0.2)


def test_a_file_name_does_not_count() -> None:
    other = ImageRef("copy.png", 9, 9, "ab")
    assert duplicate_key(sample("New?", image=other)) == duplicate_key(sample("New?"))


def test_answers_count_only_for_content() -> None:
    one, two = sample("Is it new?", "yes"), sample("Is it new?", "no")
    assert duplicate_key(one) == duplicate_key(two)
    assert duplicate_key(one, "content") != duplicate_key(two, "content")


@given(st.text())
def test_normalising_twice_is_normalising_once(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)
