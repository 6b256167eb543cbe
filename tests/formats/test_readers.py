"""Files as others write them, and their broken twins: what is read, and why the rest is not."""

import json
from pathlib import Path

import pytest

from genixer.data import Box, Point, Quarantined, Sample
from genixer.formats import FORMATS

FIXTURES = Path(__file__).parents[1] / "fixtures"
CAT = Box(0.125, 0.25, 0.5, 1.0)
LEFT, RIGHT, ALL = Box(0.0, 0.0, 0.5, 0.5), Box(0.5, 0.5, 1.0, 1.0), Box(0.0, 0.0, 1.0, 1.0)


def read(name, file, **values):
    reader = FORMATS.load(name)(FORMATS.settings(name, values))
    return list(reader.read(FIXTURES / "formats" / file, FIXTURES / "images"))


def said(sample):
    return [(turn.text, *turn.boxes, *turn.points) for turn in sample.turns]


WHERE = [("Where is the cat?",), ("<box>", CAT)]
GOOD = {
    "sharegpt": [WHERE, [("What is it?",), ("A cat.",), ("Old?",), ("No.",)]],
    "messages": [
        WHERE,
        [("What is it?",), ("A cat.",)],
        [("Old?",), ("no",)],
        [("What is it?",), ("A dog.",)],
    ],
    "axolotl": [WHERE],
    "llama_factory": [WHERE],
    "ms_swift": [
        WHERE,
        [("List.",), ("two cats <box><box>, a dog <box>.", LEFT, RIGHT, ALL)],
        [("What is at <point>?", Point(0.5, 0.5)), ("a nose",)],
        [("Find the sheep, please",), ("<box>", CAT)],
    ],
    "qwen_vl": [
        WHERE,
        [("List.",), ("two cats <box><box>, a dog <box>", LEFT, RIGHT, ALL)],
        [("Find the sheep here",), ("<box>", CAT)],
    ],
    "paligemma": [
        [
            ("detect cat",),
            ("<box> cat ; <box> dog", Box(128 / 1023, 256 / 1023, 512 / 1023, 1.0), ALL),
        ]
    ],
    "shikra": [[("What is at <point> beside <box><box>?", ALL, CAT, Point(0.5, 0.5)), ("A cat.",)]],
}


@pytest.mark.parametrize("name", sorted(GOOD))
def test_files_of_others_are_read(name):
    samples = read(name, f"{name}.jsonl", licence="MIT")
    assert [said(sample) for sample in samples] == GOOD[name]
    assert {(one.origin.source, one.origin.licence) for one in samples} == {(name, "MIT")}


def test_boxes_side_by_side_are_those_of_one_phrase():
    for name in ("ms_swift", "qwen_vl"):
        assert read(name, f"{name}.jsonl")[1].turns[1].groups == (2, 1)
    assert read("shikra", "shikra.jsonl")[0].turns[0].groups == (2,)


@pytest.mark.parametrize(("name", "row"), [("ms_swift", 3), ("qwen_vl", 2)])
def test_a_phrase_whose_end_would_be_lost_is_refused_when_strict(name, row):
    loose = read(name, f"{name}.jsonl", strict=True)
    assert [at for at, one in enumerate(loose) if isinstance(one, Quarantined)] == [row]
    assert (loose[row].where, loose[row].reason) == (f"{name}.jsonl:{row + 1}", "loose_ref")


BROKEN = {
    "sharegpt": [
        *("not_json", "several_images", "no_image", "path_escapes", "bad_turns", "box_inverted"),
        *("duplicate_id", "bad_entry", "image_mark"),
    ],
    "messages": [
        *("several_images", "several_texts", "unknown_part", "image_mark", "bad_turns", "no_image"),
        *("path_escapes", "bad_turns"),
    ],
    "axolotl": ["missing_image", "no_image"],
    "llama_factory": ["image_mark", "bad_entry", "no_image"],
    "ms_swift": [
        *("missing_object", "spare_object", "bad_box", "box_outside", "box_inverted"),
        *("point_outside", "missing_object", "other_image", "swift_mark", "swift_mark"),
        *("not_json", "bad_entry", "bad_entry"),
    ],
    "qwen_vl": [
        *("bad_box", "box_inverted", "box_outside", "bad_box", "no_image", "bad_box", "bad_box"),
        "no_image",
    ],
    "paligemma": ["bad_box", "box_inverted", "box_outside", "bad_box", "no_image", "bad_entry"],
    "shikra": [
        *("missing_object", "missing_object", "spare_object", "several_points", "point_outside"),
        *("missing_object", "box_outside", "shikra_mark", "missing_object"),
    ],
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_every_broken_row_is_quarantined_with_its_line_and_reason(name):
    first, *rest = read(name, f"{name}_broken.jsonl")
    assert isinstance(first, Sample), first
    assert [(row.where, row.reason) for row in rest] == [
        (f"{name}_broken.jsonl:{line}", reason) for line, reason in enumerate(BROKEN[name], start=2)
    ]


@pytest.mark.parametrize("name", sorted(GOOD))
@pytest.mark.parametrize(
    ("raw", "reason"),
    [(b"\xff", "not_utf8"), (b"\\ud800", "not_json"), (b"\\q", "not_json"), (b"\x01", "not_json")],
)
def test_bytes_that_are_no_text_spoil_their_row_alone(name, raw, reason, tmp_path):
    row = json.loads((FIXTURES / "formats" / f"{name}.jsonl").read_bytes().splitlines()[0])
    row.pop("id", None)
    line = json.dumps(row).encode()
    path = tmp_path / "a.jsonl"
    broken = line.replace(b"Where", b"W" + raw).replace(b"detect", b"d" + raw).replace(b"What", raw)
    path.write_bytes(line + b"\n" + broken + b"\n")
    found = FORMATS.load(name)().read(path, FIXTURES / "images")
    assert isinstance(next(found), Sample)
    second = next(found)
    assert (second.where, second.reason) == ("a.jsonl:2", reason)
