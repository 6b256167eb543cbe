"""What all formats of conversations share: sidecars found again, prefixes, parts, the task."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from genixer.data import Box, Origin, Quarantined, Sample, Turn
from genixer.errors import CannotEncodeError, ConfigError
from genixer.formats.llama_factory import LlamaFactoryFormat, LlamaFactorySettings
from genixer.formats.llava import LlavaFormat, LlavaSettings
from genixer.formats.marked import names_of_list, take_apart
from genixer.formats.messages import MessagesFormat, MessagesSettings
from genixer.formats.paligemma import PaliGemmaFormat
from genixer.formats.qwen_vl import QwenVlFormat, QwenVlSettings
from genixer.formats.sharegpt import ShareGptFormat
from genixer.store.images import ImageCatalog

IMAGES = Path(__file__).parents[1] / "fixtures" / "images"
IMAGE = ImageCatalog(IMAGES).ref("1.png")
BOX = Box(0.0, 0.0, 0.5, 1.0)


def talk(number, **origin):
    turns = Turn("user", f"What is {number}?"), Turn("assistant", "a cat")
    return Sample.of("common_vqa", IMAGE, turns, Origin(f"set{number}", "MIT", **origin))


@pytest.fixture
def export(tmp_path):
    """Ten rows and their sidecar."""
    out = tmp_path / "a.jsonl"
    LlavaFormat().write([talk(number) for number in range(10)], out, IMAGES)
    return out


def test_provenance_is_found_again_in_shuffled_and_thinned_files(export):
    lines = export.read_text().splitlines()
    export.write_text("\n".join([*lines[7:2:-1], lines[9]]))
    found = list(LlavaFormat().read(export, IMAGES))
    assert [one.origin.source for one in found] == ["set7", "set6", "set5", "set4", "set3", "set9"]


def test_a_damaged_line_of_the_sidecar_costs_its_row_alone(export):
    sidecar = export.with_name("a.jsonl.provenance.jsonl")
    lines = sidecar.read_bytes().splitlines()
    sidecar.write_bytes(b"\n".join([*lines[:4], lines[4][:-9], *lines[5:]]))
    found = list(LlavaFormat().read(export, IMAGES))
    assert [at for at, one in enumerate(found) if isinstance(one, Quarantined)] == [4]
    assert found[4].reason == "bad_provenance"
    assert found[4].detail.startswith("a.jsonl.provenance.jsonl:5: not_json")


def test_rows_unknown_to_the_sidecar_are_those_of_the_format(export):
    rows = [json.loads(line) for line in export.read_text().splitlines()]
    rows[0]["id"] = "another"
    del rows[1]["id"]
    export.write_text("\n".join(map(json.dumps, rows)))
    found = list(LlavaFormat(LlavaSettings(licence="CC0", task="md")).read(export, IMAGES))
    assert [one.origin for one in found[:2]] == [Origin("llava", "CC0")] * 2
    assert [one.task for one in found] == ["md", "md", *["common_vqa"] * 8]


def test_parts_of_a_file_are_the_whole_of_it(export):
    reader = LlavaFormat()
    assert reader.count(export) == 10
    parts = [row for first in (0, 4, 8) for row in reader.part(export, IMAGES, first, 4)]
    assert parts == list(LlavaFormat().read(export, IMAGES))


def test_a_file_that_changed_is_looked_through_again(export):
    reader = LlavaFormat()
    assert reader.count(export) == 10
    export.write_text("\n".join(export.read_text().splitlines()[:3]))
    assert reader.count(export) == 3


def test_image_paths_get_a_prefix_and_lose_it(tmp_path):
    far = LlavaFormat(LlavaSettings(image_prefix="/someone/pictures/"))
    out = tmp_path / "a.json"
    far.write([talk(1)], out, IMAGES)
    assert json.loads(out.read_text())[0]["image"] == "/someone/pictures/1.png"
    assert list(far.read(out, IMAGES)) == [talk(1)]
    (row,) = LlavaFormat().read(out, IMAGES)
    assert row.reason == "path_escapes"
    (row,) = LlavaFormat(LlavaSettings(image_prefix="elsewhere")).read(out, IMAGES)
    assert row.reason == "other_folder"


def test_a_task_that_nobody_knows_is_a_wrong_setting():
    with pytest.raises(ValidationError, match="did you mean reg, rec"):
        LlavaSettings(task="rek")


def test_openai_parts_hold_the_path(tmp_path):
    out = tmp_path / "a.jsonl"
    openai = MessagesFormat(MessagesSettings(parts="openai"))
    openai.write([talk(1)], out, IMAGES)
    part = {"type": "image_url", "image_url": {"url": "1.png"}}
    row = json.loads(out.read_text())
    assert row["messages"][0]["content"][0] == part
    assert "images" not in row
    assert list(openai.read(out, IMAGES)) == [talk(1)]


def test_entries_of_other_datasets_stay_in_dataset_info(tmp_path):
    info = tmp_path / "dataset_info.json"
    info.write_text('{"mine": {"file_name": "mine.json"}}')
    LlamaFactoryFormat().write([talk(1)], tmp_path / "a.json", IMAGES)
    LlamaFactoryFormat(LlamaFactorySettings(dataset="b")).write([], tmp_path / "c.json", IMAGES)
    found = json.loads(info.read_text())
    assert {name: one["file_name"] for name, one in found.items()} == {
        "mine": "mine.json",
        "a": "a.json",
        "b": "c.json",
    }
    with pytest.raises(ConfigError, match=r"'mine' is the dataset of mine\.json"):
        LlamaFactoryFormat().write([], tmp_path / "mine.jsonl", IMAGES)
    assert not (tmp_path / "mine.jsonl").exists()
    info.write_text("[]")
    with pytest.raises(ConfigError, match="not the list of datasets"):
        LlamaFactoryFormat().write([], tmp_path / "a.json", IMAGES)


def test_the_second_generation_of_qwen_has_other_signs(tmp_path):
    turns = Turn("user", "List."), Turn("assistant", "cat <box>, dog <box>", (BOX, BOX))
    sample = Sample.of("dense_caption", IMAGE, turns, Origin("x"))
    qwen = QwenVlFormat(QwenVlSettings(signs="qwen2_vl", frame="per_999"))
    out = tmp_path / "a.jsonl"
    assert qwen.write([sample], out, IMAGES).rounding.moved == 2
    ref = "<|object_ref_start|>{}<|object_ref_end|><|box_start|>(0,0),(500,999)<|box_end|>"
    answer = json.loads(out.read_text())["conversations"][1]["value"]
    assert answer == f"{ref.format('cat')}, {ref.format('dog')}"


@pytest.mark.parametrize(
    ("format", "sample", "reason"),
    [
        (QwenVlFormat, ("A <|im_end|>?", "b"), "qwen_mark"),
        (PaliGemmaFormat, ("A <loc0001>?", "b"), "location_mark"),
        (ShareGptFormat, ("A <audio>?", "b"), "media_mark"),
        (LlamaFactoryFormat, ("A <video>?", "b"), "media_mark"),
        (LlamaFactoryFormat, ("A?", "b", "c?"), "not_pairs"),
    ],
)
def test_signs_of_a_format_are_not_words_in_it(format, sample, reason, tmp_path):
    turns = tuple(Turn(("user", "assistant")[at % 2], text) for at, text in enumerate(sample))
    odd = Sample.of("md", IMAGE, turns, Origin("x"))
    done = format().write([odd], tmp_path / "a.jsonl", IMAGES)
    assert done == {"written": 0, reason: 1}


@pytest.mark.parametrize(
    ("text", "boxes", "groups", "reason"),
    [
        ("<box>", 1, (1,), "needless_groups"),
        ("<box> <box>", 2, (2,), "group_not_adjacent"),
        ("<box><box>", 2, (), "touching_boxes"),
        ("<box><box><box>", 3, (2, 1), "touching_boxes"),
    ],
)
def test_groups_that_touching_cannot_tell_are_refused(text, boxes, groups, reason):
    turn = Turn("assistant", text, (BOX,) * boxes, (), groups)
    with pytest.raises(CannotEncodeError, match=reason):
        take_apart(turn, touching=True)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cat <box>", ["cat"]),
        ("cat <box>, old dog <box>.", ["cat", "old dog"]),
        ("cat <box> and dog <box>", None),
        ("<box>", None),
        ("cat<box>", None),
        ("cat <box>, <box>", None),
        (", cat <box>", None),
        ("cat <box>!", None),
        ("no boxes", None),
    ],
)
def test_a_list_is_names_with_a_box_each(text, names):
    turn = Turn("assistant", text, (BOX,) * text.count("<box>"))
    assert names_of_list(*take_apart(turn, touching=True)) == names


def test_an_entry_that_names_no_file_is_not_replaced(tmp_path):
    info = tmp_path / "dataset_info.json"
    info.write_text('{"a": {"hf_hub_url": "someone/a"}}')
    with pytest.raises(ConfigError, match=r"'a' is the dataset of someone/a"):
        LlamaFactoryFormat().write([talk(1)], tmp_path / "a.json", IMAGES)
    assert json.loads(info.read_text()) == {"a": {"hf_hub_url": "someone/a"}}
    assert not (tmp_path / "a.json").exists()
