import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genixer.data import Box, Origin, Quarantined, Sample, Turn
from genixer.errors import ConfigError
from genixer.formats.csv_table import COLUMNS, CsvFormat, CsvSettings, neutral, original
from genixer.store.images import ImageCatalog

FIXTURES = Path(__file__).parents[1] / "fixtures"
IMAGES = FIXTURES / "images"
TABLE, BROKEN = (FIXTURES / "formats" / name for name in ("table.csv", "table_broken.csv"))
WIDE = ImageCatalog(IMAGES).ref("1.png")
DANGEROUS = tuple("=+-@\t\r")

cells = st.text(st.sampled_from("=+-@\t\r\n'\"a,; ＝"), max_size=5) | st.text(max_size=20)  # noqa: RUF001


X = Origin("x")


def sample(*texts, origin=X):
    turns = [Turn("assistant" if at % 2 else "user", text) for at, text in enumerate(texts)]
    return Sample.of("common_vqa", WIDE, tuple(turns), origin)


def grid(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file, strict=True))


@given(cells)
def test_no_cell_begins_a_formula_and_every_cell_comes_back(cell):
    assert not neutral(cell).startswith(DANGEROUS)
    assert original(neutral(cell)) == cell


@given(cells, cells)
def test_hostile_words_leave_no_formula_in_the_file_and_come_back(tmp_path_factory, one, two):
    out = tmp_path_factory.mktemp("csv") / "out.csv"
    hostile = sample(one, two, two, one, origin=Origin(one, two, generator=two))
    if CsvFormat().write([hostile], out, IMAGES) != {"written": 1}:
        return  # a look-alike of a box
    assert list(CsvFormat().read(out, IMAGES)) == [hostile]
    assert not [cell for row in grid(out) for cell in row if cell.startswith(DANGEROUS)]


def test_a_row_is_a_sample_and_excel_is_told_that_it_is_utf8(tmp_path):
    box = Box(0.125, 0.25, 0.5, 1.0)
    turns = Turn("user", "Where?"), Turn("assistant", "<box>", (box,))
    more = *turns, Turn("user", "Sure?"), Turn("assistant", "-yes")
    samples = [Sample.of("md", WIDE, more, Origin("x", "MIT")), sample("=1", "日本")]
    CsvFormat(CsvSettings(decimals=2)).write(samples, tmp_path / "a.csv", IMAGES)
    data = (tmp_path / "a.csv").read_bytes()
    assert data.startswith(b'\xef\xbb\xbf"id","task","image","question","answer","more",')
    assert data.count(b"\r\n") == 3
    header, one, two = grid(tmp_path / "a.csv")
    assert tuple(header) == COLUMNS
    first = dict(zip(header, one, strict=True))
    assert (first["question"], first["answer"]) == ("Where?", "[0.12,0.25,0.50,1.00]")
    assert first["boxes"] == "[[0.125,0.25,0.5,1.0]]"
    assert (first["licence"], first["origin"], first["frame"]) == ("MIT", "", "unit")
    assert dict(zip(header, two, strict=True))["question"] == "'=1"
    plain = CsvFormat(CsvSettings(bom=False))
    plain.write(samples, tmp_path / "b.csv", IMAGES)
    assert (tmp_path / "b.csv").read_bytes().startswith(b'"id"')
    assert list(plain.read(tmp_path / "a.csv", IMAGES)) == samples


def test_a_cell_that_spreadsheets_would_cut_off_is_counted(tmp_path):
    two = [sample("?", "x" * 32_768), sample("?", "x" * 32_767)]
    counts = CsvFormat().write(two, tmp_path / "a", IMAGES)
    assert counts == {"written": 1, "cell_too_long": 1}


def test_a_table_of_others_needs_three_columns(tmp_path):
    found = list(CsvFormat().read(TABLE, IMAGES))
    assert [one.turns[1].text for one in found] == ["a cat", "=1+1", "two\nlines", "<box>"]
    assert {one.origin.source for one in found} == {"csv"}
    assert found[3].task == "rec"


def test_every_fault_of_a_broken_table_is_told_by_its_line():
    found = list(CsvFormat().read(BROKEN, IMAGES))
    told = [
        (one.where, one.reason) if isinstance(one, Quarantined) else one.turns[1].text
        for one in found
    ]
    assert told == [
        "fine",
        ("table_broken.csv:3", "bad_columns"),
        ("table_broken.csv:4", "not_utf8"),
        ("table_broken.csv:5", "not_utf8"),
        ("table_broken.csv:6", "path_escapes"),
        ("table_broken.csv:7", "image_bomb"),
        ("table_broken.csv:8", "missing_image"),
        ("table_broken.csv:9", "not_json"),
        ("table_broken.csv:10", "bad_entry"),
        ("table_broken.csv:11", "boxes_differ"),
        ("table_broken.csv:12", "bad_csv"),
        "fine",
        ("table_broken.csv:15", "bad_csv"),
    ]
    assert found[2].raw.startswith("base64:")


def test_a_quote_without_end_cannot_fill_the_memory(tmp_path):
    path = tmp_path / "a.csv"
    with path.open("wb") as file:
        file.write(b'image,question,answer\r\n1.png,?,"')
        for _ in range(64):
            file.write(b"x" * (1 << 20))
    found = list(CsvFormat().read(path, IMAGES))
    assert found
    assert {one.reason for one in found} <= {"bad_csv", "bad_columns"}


@pytest.mark.parametrize("content", [b"a,b\r\n", b'"image', b"image;question;answer\r\n"])
def test_a_table_without_its_header_is_a_config_error(content, tmp_path):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.csv"):
        list(CsvFormat().read(tmp_path / "a.csv", IMAGES))


@pytest.mark.parametrize("path", [TABLE, BROKEN])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_parts_of_a_file_of_others_are_its_rows_faults_included(path, size):
    whole, kind = list(CsvFormat().read(path, IMAGES)), CsvFormat()
    assert kind.count(path) == len(whole)
    for at in reversed(range(0, len(whole) + size, size)):
        assert list(kind.part(path, IMAGES, at, size)) == whole[at : at + size]


def test_a_row_in_the_middle_is_found_behind_words_of_many_lines(tmp_path):
    samples = [sample("one\ntwo\r\nthree", f"line\n{at}", origin=Origin("日本")) for at in range(9)]
    kind = CsvFormat()
    kind.write(samples, tmp_path / "a.csv", IMAGES)
    assert kind.count(tmp_path / "a.csv") == 9
    assert list(kind.part(tmp_path / "a.csv", IMAGES, 4, 3)) == samples[4:7]
