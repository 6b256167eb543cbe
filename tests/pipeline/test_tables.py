import msgspec

from genixer.data import (
    Completion,
    Generation,
    ImageRef,
    Origin,
    Request,
    Sample,
    Sampling,
    Turn,
    encode_row,
)
from genixer.pipeline.tables import compact_row, text_table

CAT = ImageRef("cat.png", 64, 64, "ab12")


def shown(row: object) -> str:
    return compact_row(msgspec.json.decode(encode_row(row)))


def test_a_sample_reads_as_task_question_answer() -> None:
    turns = (Turn("user", "What is\nit?"), Turn("assistant", "cat"))
    sample = Sample.of("common_vqa", CAT, turns, Origin("vqav2"))
    assert shown(sample) == f"{sample.id[:8]}  common_vqa | What is / it? | cat"


def test_a_generation_reads_as_prompt_and_text() -> None:
    request = Request.of(CAT, "rec", "specific", 0, "Ask.", Sampling())
    row = Generation("1234567890", request, Completion(request.id, "Here.", (), (), "stop"))
    assert shown(row) == "12345678  rec | Ask. | Here."


def test_rows_are_cut_to_the_width() -> None:
    assert compact_row({"id": "a", "text": "x" * 500}, width=20) == "a         " + "x" * 7 + "..."


def test_rows_without_words_are_shown_whole() -> None:
    assert compact_row({"id": "a", "n": 3}) == '{"id": "a", "n": 3}'


def test_columns_line_up() -> None:
    assert text_table(["a", "bb"], [["ccc", "1"]], right=[1]) == "a    bb\nccc   1"
