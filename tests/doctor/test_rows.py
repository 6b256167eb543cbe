"""Entries, ids, boxes and rows of ours, each by itself."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from genixer.data import Box, ImageRef, Message, Origin, Sample, SftRow, Turn, encode_row
from genixer.doctor import entries
from genixer.doctor.audit import audit
from genixer.doctor.boxes import FrameTally, box_fault, brackets
from genixer.doctor.entries import EntryStream
from genixer.doctor.named import ImageTable
from genixer.doctor.rows import Ids
from genixer.errors import ConfigError
from genixer.frames import FRAMES
from genixer.store.images import ImageCatalog
from genixer.tasks.base import Canvas
from genixer.tasks.grammar import UnreadableError, looks_like_box, read_turn

IMAGES = Path(__file__).parents[1] / "fixtures" / "images"
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def split(path: Path, content: bytes, block: int = 1 << 20) -> tuple[list[bytes], dict]:
    path.write_bytes(content)
    stream = EntryStream([path])
    before, entries._BLOCK = entries._BLOCK, block
    try:
        return [raw for _, raw in stream], stream.broken
    finally:
        entries._BLOCK = before


@given(st.lists(values, max_size=6), st.sampled_from([None, 1]), st.booleans(), st.integers(1, 40))
@example(['a "quoted" [ { ,', {"\\": "]"}], None, False, 1)
@settings(max_examples=200)
def test_a_list_is_split_where_json_says_whatever_is_in_it(
    tmp_path_factory, rows, indent, ascii_only, block
):
    path = tmp_path_factory.mktemp("split") / "a.json"
    content = json.dumps(rows, indent=indent, ensure_ascii=ascii_only)
    content = content.encode("utf-8", "surrogatepass")
    found, broken = split(path, b"\xef\xbb\xbf" + content, block)
    assert [json.loads(raw.decode("utf-8", "surrogatepass")) for raw in found] == rows
    assert broken == {}


@pytest.mark.parametrize(
    ("content", "kept", "why"),
    [
        (b'[{"a":1},{"b', 1, "entry 1 does not end"),
        (b'[{"a":1},{"b":"', 1, "entry 1 does not end"),
        (b'[{"a":1},', 1, "entry 1 does not end"),
        (b'[{"a":1}', 0, "entry 0 does not end"),
        (b'[{"a":1}]]', 1, "there is text after the list"),
        (b'[{"a":1}] \n', 1, ""),
        (b'[{"a":1}},{"b":2}]', 2, ""),
        (b'[{"a":1},,{"b":2}]', 3, ""),
        (b"[ ]", 0, ""),
    ],
)
@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_a_broken_list_gives_what_can_be_told_apart(content, kept, why, block, tmp_path):
    found, broken = split(tmp_path / "a.json", content, block)
    assert len(found) == kept
    assert list(broken.values()) == [why] * bool(why)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_an_entry_without_end_does_not_fill_the_memory(name, tmp_path, monkeypatch):
    monkeypatch.setattr(entries, "_LONGEST", 100)
    content = b'{"a": "' + b"x" * 500
    found, broken = split(tmp_path / name, (b"[" if name == "a.json" else b"") + content, 10)
    assert found == []
    assert "does not end" in broken[tmp_path / name]


def test_lines_are_numbered_as_an_editor_does(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf{}\r\n\n{}\n")
    stream = EntryStream([path, path])
    assert [stream.where(number) for number, _ in stream] == ["a.jsonl:1", "a.jsonl:3"] * 2


@given(st.lists(st.integers(0, 30) | st.integers(0, 30).map(str), max_size=60))
def test_repeated_ids_are_those_a_set_finds(many):
    ids, seen, expected = Ids(), {}, []
    for number, id in enumerate(many):
        ids.add(number, id)
        if str(id) in seen:
            expected.append((number, seen[str(id)]))
        seen.setdefault(str(id), number)
    assert ids.repeated() == expected
    assert ids.mixed == ({type(id) for id in many} == {int, str})
    assert all(ids.has(str(id)) for id in many)
    assert not ids.has("x")


@given(st.lists(st.sampled_from("abcdef"), max_size=40))
def test_each_named_image_comes_once_in_order_with_its_rows(paths):
    with ImageTable() as table:
        for number, path in enumerate(paths):
            table.add(path, number)
        assert table.settle() == len(set(paths))
        found = [(one.path, one.rows, one.first) for one in table]
        for one in table:
            table.note(one.slot, ord(one.path), 1)
        assert all(table.size(path) == (ord(path), 1) for path in paths)
        assert table.size("x") == (0, 0)
    assert found == [(path, paths.count(path), paths.index(path)) for path in dict.fromkeys(paths)]


hostile = st.text("[]0123456789.,;-+eE x")


@given(hostile | st.text())
def test_a_bracket_is_looked_at_exactly_where_a_reader_sees_one(text):
    assert bool(brackets(text)) == looks_like_box(text)


@given(
    st.sampled_from(sorted(FRAMES)),
    st.integers(0, 3),
    st.lists(st.floats(-2, 3) | st.integers(0, 1200), min_size=4, max_size=4),
)
@settings(max_examples=300)
def test_whatever_bracket_a_reader_refuses_is_a_fault(frame, decimals, numbers):
    canvas = Canvas(frame, decimals, 400, 300)
    bracket = f"[{','.join(f'{value:.{decimals}f}' for value in numbers)}]"
    fault = box_fault(bracket, canvas)
    try:
        read_turn("user", bracket, canvas)
    except UnreadableError:
        assert fault is not None
    else:
        assert fault is None or fault[0] == "frame_contradicted"


@pytest.mark.parametrize(
    ("bracket", "canvas", "name"),
    [
        ("[0.1,0.2,0.3,0.4]", Canvas("unit", 1), None),
        ("[0.1,0.2,0.3,1.3]", Canvas("unit", 1), "box_outside"),
        ("[0.1,0.2,0.3,2.3]", Canvas("unit", 1), "frame_contradicted"),
        ("[0.9,0.2,0.3,0.4]", Canvas("unit", 1), "box_inverted"),
        ("[0.1,0.2,nan,0.4]", Canvas("unit", 1), None),
        ("[0.1,0.2,0.3,1e999]", Canvas("unit", 1), "bad_box"),
        ("[10,20,900,40]", Canvas("pixel", 0, 400, 300), "frame_contradicted"),
        ("[10,20,500,40]", Canvas("pixel", 0, 400, 300), "box_outside"),
        ("[0.1,0.2,0.3,0.4]", Canvas("pixel", 1, 400, 300), "frame_contradicted"),
        ("[0.1,0.2,0.3,0.4]", Canvas("per_1000", 0), "frame_contradicted"),
        ("[0,0,1,1]", Canvas("per_1000", 0), None),
        ("[1000,1000,1000,1000]", Canvas("per_999", 0), None),
        ("[1002,1000,1003,1000]", Canvas("per_999", 0), "box_outside"),
        ("[1, 2]", Canvas("per_999", 0), "bad_box"),
    ],
)
def test_a_box_is_called_by_what_is_wrong_with_it(bracket, canvas, name):
    found = [box_fault(one, canvas) for one in brackets(bracket)] or [None]
    assert [one and one[0] for one in found] == [name]


def test_few_boxes_or_boxes_that_use_the_frame_are_not_doubted():
    tally = FrameTally("unit")
    for _ in range(49):
        tally.add([(0.2, 0.2, 0.8, 0.8)], 200, 100)
    assert tally.finding("a") is None
    tally.add([(0.2, 0.25, 0.8, 0.75)], 200, 100)
    assert tally.finding("a") is None
    for _ in range(49):
        tally.add([(0.2, 0.3, 0.8, 0.7)], 200, 100)
    assert tally.finding("a") is None
    calm = FrameTally("unit")
    for _ in range(50):
        calm.add([(0.2, 0.3, 0.8, 0.7)], 200, 100)
    assert "none of 50 boxes leaves the part that padded_square has" in calm.finding("a").detail
    counted = FrameTally("per_1000")
    for _ in range(8):
        counted.add([(0.2, 0.3, 0.8, 0.7)], 200, 100)
    assert "8 of 8 boxes do not fit; all fit unit, padded_square" in counted.finding("a").detail


def shards(folder: Path, *rows: object) -> Path:
    folder.mkdir()
    for at, some in enumerate((rows[:2], rows[2:])):
        lines = [one if isinstance(one, bytes) else encode_row(one) for one in some]
        (folder / f"part-{at:05d}.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    return folder


def sample(path: str = "1.png", answer: str = "cat", **ref: object) -> Sample:
    image = ImageCatalog(IMAGES).ref("1.png")
    image = ImageRef(path, image.width, image.height, str(ref.get("sha256", image.sha256)))
    turns = (
        Turn("user", "Where?"),
        Turn("assistant", f"{answer} <box>", (Box(0.0, 0.0, 0.5, 0.5),)),
    )
    return Sample.of("rec", image, turns, Origin("x"))


def test_shards_of_ours_are_read_as_they_are(tmp_path):
    good = sample()
    outside = encode_row(sample(answer="dog")).replace(b"0.5,0.5]", b"0.5,1.5]")
    pixels = encode_row(sample(answer="cow")).replace(b"0.5,0.5]", b"50.0,80.0]")
    turned = encode_row(sample(answer="hen")).replace(b"[0.0,0.0,0.5,0.5]", b"[0.9,0.0,0.5,0.5]")
    three = encode_row(sample(answer="owl")).replace(b"[0.0,0.0,0.5,0.5]", b"[0.9,0.0,0.5]")
    unmarked = encode_row(sample(answer="pig")).replace(b" <box>", b"")
    folder = shards(tmp_path / "s", good, outside, pixels, turned, three, good, unmarked, b"{")
    report = audit(folder, images=IMAGES)
    assert [(one.name, one.where) for one in report.findings] == [
        ("box_outside", "part-00000.jsonl:2"),
        ("frame_contradicted", "part-00001.jsonl:1"),
        ("box_inverted", "part-00001.jsonl:2"),
        ("bad_box", "part-00001.jsonl:3"),
        ("bad_entry", "part-00001.jsonl:5"),
        ("not_json", "part-00001.jsonl:6"),
        ("duplicate_id", "part-00001.jsonl:4"),
    ]
    assert report.rows == 8
    with pytest.raises(ConfigError, match="rows of a run say themselves"):
        audit(folder, images=IMAGES, frame="unit")


def test_training_rows_say_themselves_how_coordinates_stand(tmp_path):
    def sft(id: str, text: str, decimals: int = 2) -> SftRow:
        said = (Message("user", "Where?"), Message("assistant", text))
        image = sample().image
        return SftRow(id, "s", "rec", "student", image, said, frame="unit", decimals=decimals)

    rows = (
        sft("a", "[0.10,0.20,0.30,0.40]"),
        sft("b", "[0.1,0.2,0.3,0.4]"),
        sft("c", "[0.1,0.2,0.3,0.4]", 1),
    )
    report = audit(shards(tmp_path / "s", *rows), images=IMAGES)
    assert [(one.name, one.where) for one in report.findings] == [("bad_box", "part-00000.jsonl:2")]


def test_a_renamed_image_of_ours_is_proposed_even_when_rows_use_it(tmp_path):
    rows = sample("gone.png", "a"), sample("1.png", "b"), sample("2.png", "c", sha256="0" * 64)
    folder = shards(tmp_path / "s", *rows, sample("lost.png", "d", sha256="1" * 64))
    (tmp_path / "photos").mkdir()
    for name in ("1.png", "2.png"):
        (tmp_path / "photos" / name).write_bytes((IMAGES / name).read_bytes())
    report = audit(folder, images=tmp_path / "photos")
    assert [(one.name, one.where, one.proposal) for one in report.findings] == [
        ("renamed_image", "gone.png", "1.png"),
        ("missing_image", "lost.png", ""),
    ]


def test_a_file_of_the_same_name_elsewhere_is_spoken_of_but_not_proposed(tmp_path):
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "a.JPEG").write_bytes((IMAGES / "1.png").read_bytes())
    (tmp_path / "b.png").symlink_to(IMAGES / "1.png")
    said = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "cat"}]
    rows = [
        {"id": at, "image": path, "conversations": said}
        for at, path in enumerate(("a.jpg", "x/b.png"))
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    first, second = audit(tmp_path / "a.json").findings
    assert (first.name, first.proposal) == ("missing_image", "")
    assert "moved/a.JPEG has the same name, and no row uses it" in first.detail
    assert "same name" not in second.detail
