import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genixer.data import Box, Origin, Quarantined, Sample, Turn
from genixer.formats.llava import LlavaFormat, LlavaSettings
from genixer.frames import FRAMES
from genixer.store.images import ImageCatalog
from genixer.tasks.base import Canvas
from genixer.tasks.grammar import snap

IMAGES = Path(__file__).parents[1] / "fixtures" / "images"
WIDE = ImageCatalog(IMAGES).ref("1.png")


def rec(box):
    turns = Turn("user", "Where is it?"), Turn("assistant", "<box>", (box,))
    return Sample.of("rec", WIDE, turns, Origin("refcoco"))


def write(path, *rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def said(*texts, **fields):
    turns = [{"from": "gpt" if n % 2 else "human", "value": t} for n, t in enumerate(texts)]
    return {"id": 1, "image": "1.png", "conversations": turns, **fields}


def test_the_file_is_what_llava_reads(tmp_path):
    out = tmp_path / "out.json"
    LlavaFormat().write([rec(Box(0.0, 0.0, 0.5, 1.0))], out, IMAGES)
    (row,) = json.loads(out.read_text())
    assert row["image"] == "1.png"
    # 64 x 48 px stands 8 px below the top of its square.
    assert row["conversations"] == [
        {"from": "human", "value": "<image>\nWhere is it?"},
        {"from": "gpt", "value": "[0.000,0.125,0.500,0.875]"},
    ]


@given(
    st.sampled_from(sorted(FRAMES)),
    st.integers(0, 4),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_boxes_on_the_grid_come_back_exactly_in_every_frame(tmp_path_factory, frame, decimals, at):
    xs, ys = sorted(at[:2]), sorted(at[2:])
    canvas = Canvas(frame, decimals, WIDE.width, WIDE.height)
    sample = rec(snap(Box(xs[0], ys[0], xs[1], ys[1]), canvas))
    out = tmp_path_factory.mktemp("llava") / "out.jsonl"
    llava = LlavaFormat(LlavaSettings(frame=frame, decimals=decimals))
    llava.write([sample], out, IMAGES)
    assert list(llava.read(out, IMAGES)) == [sample]


@pytest.mark.parametrize(
    ("first", "text"),
    [
        ("<image>\nWhat?", "What?"),
        ("What?\n<image>", "What?"),
        ("<image>What?", "What?"),
        ("What?", "What?"),
    ],
)
def test_the_mark_may_stand_at_either_end(first, text, tmp_path):
    (sample,) = LlavaFormat().read(write(tmp_path / "a.jsonl", said(first, "cat")), IMAGES)
    assert sample.turns[0].text == text


def test_without_a_sidecar_the_form_tells_the_task(tmp_path):
    rows = [
        said("<image>\nIs there a cat?", "no", id=1),
        said("<image>\nWhere?", "[0.000,0.200,0.100,0.300]", id=2),
        said("<image>\nWhat?", "cat", "Old?", "no", id="3"),
    ]
    found = list(LlavaFormat().read(write(tmp_path / "a.jsonl", *rows), IMAGES))
    assert [sample.task for sample in found] == ["adv_vqa", "rec", "md"]
    assert {sample.origin.source for sample in found} == {"llava"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (said("<image>\nWhat?", "cat", image=None), "no_image"),
        (said("<image>\nWhat?"), "bad_turns"),
        (said(), "bad_turns"),
        (said("<image>\nWhat <image>?", "cat"), "image_mark"),
        (said("<image>\nWhere?", "[0.1234, 0.2, 0.3, 0.4]"), "bad_box"),
        (said("<image>\nWhere?", "[0.000,0.000,0.100,0.300]"), "box_outside"),
        (said("<image>\nWhat?", 7), "bad_entry"),
        (said("<image>\nWhat?", "cat", image="4.png"), "image_bomb"),
    ],
)
def test_an_entry_that_breaks_a_rule_is_quarantined_with_its_line(row, reason, tmp_path):
    path = write(tmp_path / "a.jsonl", said("<image>\nFine?", "yes", id=0), row, said("x", id=0))
    _, found, again = LlavaFormat().read(path, IMAGES)
    assert isinstance(found, Quarantined)
    assert (found.where, found.reason) == ("a.jsonl:2", reason)
    assert (again.where, again.reason) == ("a.jsonl:3", "duplicate_id")


def test_turns_that_do_not_alternate_and_points_are_counted(tmp_path):
    ask, say = Turn("user", "what?"), Turn("assistant", "cat")
    odd = [
        Sample.of("md", WIDE, turns, Origin("x"))
        for turns in ((say, ask), (ask,), (), (ask, Turn("assistant", "see [0.1,0.2]")))
    ]
    counts = LlavaFormat().write(odd, tmp_path / "a.json", IMAGES)
    assert counts == {"written": 0, "not_pairs": 3, "box_look_alike": 1}


def test_boxes_as_llavas_own_files_have_them_are_read(tmp_path):
    """Spaces after commas, no last zeros: the way Python prints a list of rounded numbers."""
    path = tmp_path / "in.jsonl"
    write(path, said("<image>\nWhere is it?", "[0.28, 0.34, 0.4, 0.71]"))
    ours = write(tmp_path / "ours.jsonl", said("<image>\nWhere is it?", "[0.28,0.34,0.40,0.71]"))
    kind = LlavaFormat(LlavaSettings(decimals=2))
    (loose,), (strict,) = (list(kind.read(one, IMAGES)) for one in (path, ours))
    assert isinstance(loose, Sample)
    assert loose.turns == strict.turns
    assert loose.task == "rec"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("the values are [1, 2, 3, 4]", "bad_box"),
        ("the values are [1.5, 2.5, 3.5, 4.5]", "box_outside"),
        ("the values are [0.4, 0.3, 0.2, 0.1]", "box_inverted"),
        ("the values are [3, 4]", "bad_point"),
    ],
)
def test_numbers_that_can_be_no_box_cost_the_row_with_a_reason(tmp_path, text, reason):
    path = write(tmp_path / "in.jsonl", said("<image>\nWhat?", text))
    (row,) = LlavaFormat().read(path, IMAGES)
    assert isinstance(row, Quarantined)
    assert row.reason == reason
    assert text[text.index("[") + 1] in row.detail


def test_numbers_that_can_be_a_box_are_one_unless_the_settings_say_no(tmp_path):
    text = "the values are [0.1, 0.2, 0.3, 0.4]"
    path = write(tmp_path / "in.jsonl", said("<image>\nWhat?", text))
    (row,) = LlavaFormat(LlavaSettings(frame="unit")).read(path, IMAGES)
    assert row.turns[1] == Turn("assistant", "the values are <box>", (Box(0.1, 0.2, 0.3, 0.4),))
    (row,) = LlavaFormat(LlavaSettings(python_lists=False)).read(path, IMAGES)
    assert isinstance(row, Quarantined)


@pytest.mark.parametrize("text", ["[0.281, 0.34, 0.4, 0.71]", "[1, 2]", "[0.1, 0.2, 0.3]"])
def test_a_list_that_is_no_box_of_these_decimals_is_still_refused(tmp_path, text):
    path = write(tmp_path / "in.jsonl", said("<image>\nWhat?", text))
    (row,) = LlavaFormat(LlavaSettings(decimals=2)).read(path, IMAGES)
    assert isinstance(row, Quarantined)
