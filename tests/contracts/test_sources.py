"""What every source owes, on a small file of its real layout and on a broken twin of it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from genixer.data import Quarantined, Sample, encode_row
from genixer.errors import ConfigError
from genixer.sources import SOURCES
from genixer.store.images import open_image
from genixer.store.shards import raw_bytes
from genixer.tasks import TASKS, load_task
from genixer.tasks.base import Canvas

FIXTURES = Path(__file__).parents[1] / "fixtures"
FILES = {
    "vqav2": {"questions": "vqav2_questions.json", "annotations": "vqav2_annotations.json"},
    "gqa": {"questions": "gqa.json"},
    "tallyqa": {"questions": "tallyqa.json"},
    "textvqa": {"questions": "textvqa.json"},
    "ocrvqa": {"dataset": "ocrvqa.json"},
    "scienceqa": {"problems": "scienceqa_problems.json", "splits": "scienceqa_splits.json"},
    "pope": {"questions": "pope.jsonl"},
    "aokvqa": {"questions": "aokvqa.json"},
    "llava_instruct": {"conversations": "llava_instruct.json"},
    "refcoco": {"refs": "refs.json", "instances": "instances.json"},
    "coco_instances": {"instances": "instances.json"},
    "coco_captions": {"captions": "captions.json"},
}
EXTRA = {
    "vqav2": {"image_pattern": "{image_id}.png"},
    "gqa": {"image_pattern": "{image_id}.png"},
    "textvqa": {"image_pattern": "{image_id}.png"},
    "ocrvqa": {"image_pattern": "{image_id}{suffix}"},
    "aokvqa": {"image_pattern": "{image_id}.png"},
}
FIRST_FAULTS = ["", "missing_image", "corrupt_image", "image_bomb", "bad_entry"]
FIRST_FAULTS += ["duplicate_id", "empty_text"]
EXPECTED = {
    "vqav2": [
        *FIRST_FAULTS,
        "no_annotation",
        "duplicate_annotation",
        "bad_annotation",
        "image_id_differs",
        "",
    ],
    "gqa": [
        *FIRST_FAULTS,
        "no_answer",
        "path_escapes",
        "not_utf8",
        "not_json",
        "bad_entry",
        "not_json",
        "not_json",
        "",
    ],
    "tallyqa": [
        "",
        "missing_image",
        "corrupt_image",
        "path_escapes",
        "duplicate_id",
        "bad_answer",
        "bad_answer",
        "not_json",
        "bad_entry",
        "bad_entry",
        "not_utf8",
        "not_json",
        "empty_text",
        "",
    ],
    "textvqa": [
        "",
        "missing_image",
        "corrupt_image",
        "path_escapes",
        "duplicate_id",
        "no_answer",
        "no_answer",
        "no_answer",
        "bad_entry",
        "bad_entry",
        "bad_entry",
        "not_json",
        "not_utf8",
        "not_json",
        "empty_text",
        "",
    ],
    "ocrvqa": [
        "",
        "empty_text",
        "missing_image",
        "missing_image",
        "corrupt_image",
        "duplicate_id",
        "answers_differ",
        "answers_differ",
        "bad_entry",
        "path_escapes",
        "not_utf8",
        "not_json",
        "bad_entry",
        "not_json",
        "",
    ],
    "scienceqa": [
        "",
        "no_image",
        "missing_image",
        "bad_choices",
        "bad_choices",
        "empty_text",
        "bad_entry",
        "duplicate_problem",
        "path_escapes",
        "not_utf8",
        "not_json",
        "bad_choices",
        "not_json",
        "empty_text",
        "duplicate_id",
        "unknown_problem",
        "bad_entry",
        "",
        "duplicate_id",
    ],
    "pope": [
        "",
        "not_json",
        "not_utf8",
        "bad_label",
        "duplicate_id",
        "path_escapes",
        "not_json",
        "",
    ],
    "aokvqa": [
        "",
        "bad_choices",
        "bad_choices",
        "bad_choices",
        "duplicate_id",
        "empty_text",
        "missing_image",
        "bad_entry",
        "bad_entry",
        "",
    ],
    "llava_instruct": [
        "",
        "bad_turns",
        "no_image",
        "image_mark",
        "bad_turns",
        "bad_turns",
        "duplicate_id",
        "empty_text",
        "corrupt_image",
        "bad_entry",
        "",
    ],
    "refcoco": [""] * 2
    + ["box_outside_image"] * 2
    + ["empty_box"] * 2
    + ["unknown_category"] * 2
    + ["image_size_differs"] * 2
    + ["corrupt_image"] * 2
    + ["missing_image"] * 2
    + ["unknown_annotation"] * 4
    + ["image_id_differs"] * 2
    + ["duplicate_id", "bad_entry", "empty_text"]
    + ["empty_text"] * 2
    + [""] * 2,
    "coco_captions": [
        "",
        "missing_image",
        "corrupt_image",
        "path_escapes",
        "image_bomb",
        "unknown_image",
        "unknown_image",
        "duplicate_id",
        "empty_text",
        "bad_entry",
        "bad_entry",
        "not_json",
        "not_json",
        "not_utf8",
        "",
    ],
    "coco_instances": [
        "box_outside_image",
        "image_size_differs",
        "corrupt_image",
        "missing_image",
        "bad_entry",
        "duplicate_id",
        "no_objects",
        "bad_annotation",
    ],
}

for _name, _one in yaml.safe_load((FIXTURES / "sources" / "grounding.yaml").read_text()).items():
    FILES[_name], EXTRA[_name] = _one["files"], _one.get("settings", {})
    EXPECTED[_name] = [
        "" if reason == "kept" else reason for reason, rows in _one["broken"] for _ in range(rows)
    ]

names = pytest.mark.parametrize("name", sorted(SOURCES))


def build(name, broken=False, images=FIXTURES / "images", **changes):
    files = {
        key: FIXTURES / "sources" / (Path(file).stem + "_broken" * broken + Path(file).suffix)
        for key, file in FILES[name].items()
    }
    kind = SOURCES.load(name)
    return kind(kind.Settings(images=images, **{**files, **EXTRA.get(name, {}), **changes}))


def inside(path: Path) -> list[Path]:
    """The file, or those of the folder."""
    return sorted(path.iterdir()) if path.is_dir() else [path]


def test_every_source_has_a_fixture_here():
    assert set(FILES) == set(EXPECTED) == set(SOURCES)


@names
def test_good_file_gives_samples_only_with_ids_that_stay(name):
    rows = list(build(name).read())
    assert rows
    assert all(isinstance(row, Sample) for row in rows)
    assert rows == list(build(name).read())
    assert len({row.id for row in rows}) == len(rows)
    assert build(name).count() == len(rows)


@names
def test_samples_name_a_task_an_image_that_opens_and_their_licence(name):
    source = build(name)
    assert source.name == name
    assert set(source.tasks) <= set(TASKS)
    assert SOURCES[name].licence == source.licence
    for row in source.read():
        assert row.task in source.tasks
        assert open_image(FIXTURES / "images", row.image.path).size == (
            row.image.width,
            row.image.height,
        )
        assert (row.origin.source, row.origin.licence) == (name, source.licence)


@pytest.mark.parametrize("name", [n for n in sorted(SOURCES) if SOURCES[n].capability])
def test_samples_with_places_are_carried_by_the_codec_of_their_task(name):
    for row in build(name).read():
        canvas = Canvas("unit", 3, row.image.width, row.image.height)
        task = load_task(row.task)
        text = task.encode(row.turns, canvas)
        assert task.encode(task.decode(text, canvas), canvas) == text


@names
def test_licence_of_a_copy_can_be_stated(name):
    rows = build(name, licence="CC BY-SA 4.0").read()
    assert {row.origin.licence for row in rows} == {"CC BY-SA 4.0"}


@names
def test_broken_twin_loses_nothing_and_says_where_and_why(name):
    source = build(name, broken=True)
    rows = list(source.read())
    assert [row.reason if isinstance(row, Quarantined) else "" for row in rows] == EXPECTED[name]
    assert source.count() == len(rows)
    files = [file for path in source.files() for file in inside(path)]
    data = b"".join(file.read_bytes() for file in files)
    for row in rows:
        if isinstance(row, Quarantined):
            file, place = row.where.rstrip("]").replace("[", ":").rsplit(":", 1)
            assert file.split(":")[0] in {path.name for path in files}
            assert place.isdigit()
            assert raw_bytes(row.raw) in data
            assert str(FIXTURES) not in encode_row(row).decode()


@names
def test_a_link_out_of_the_image_root_is_not_followed(name, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(FIXTURES / "images", images)
    for image in list(images.rglob("*.png")):
        image.rename(tmp_path / "outside.png")
        image.symlink_to(tmp_path / "outside.png")
    rows = list(build(name, images=images).read())
    assert {row.reason for row in rows} == {"path_escapes"}


@names
@pytest.mark.parametrize("broken", [False, True])
def test_any_slice_is_the_same_slice_of_the_whole(name, broken):
    whole = list(build(name, broken).read())
    for size in (1, 3):
        source = build(name, broken)
        slices = [list(source.read(at, size)) for at in range(0, len(whole), size)]
        assert [row for part in slices for row in part] == whole
    assert list(build(name, broken).read(len(whole))) == []


@names
def test_boxes_are_not_empty(name):
    for row in build(name).read():
        for turn in row.turns:
            for box in turn.boxes:
                assert box.area > 0


@names
@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2", b'{"other": []}', b"\xff\xfe\x00", b"7"])
def test_a_file_of_another_kind_is_a_config_error_that_names_it(name, content, tmp_path):
    wrong = tmp_path / "wrong.file"
    wrong.write_bytes(content)
    for key in FILES[name]:
        with pytest.raises(ConfigError, match=r"wrong\.file"):
            list(build(name, **{key: wrong}).read())


@names
def test_a_missing_file_is_a_config_error_that_names_it(name, tmp_path):
    for key in FILES[name]:
        with pytest.raises(ConfigError, match=r"gone\.json.*No such file"):
            list(build(name, **{key: tmp_path / "gone.json"}).read())


@names
def test_an_unknown_setting_is_refused(name):
    with pytest.raises(ValidationError, match="colour"):
        build(name, colour="red")


@names
def test_opens_nothing_before_it_is_read(name, tmp_path):
    build(name, images=tmp_path / "nowhere", **dict.fromkeys(FILES[name], tmp_path / "nowhere"))


HOSTILE = ("NaN", "9" * 400, '"../../\\u0000"')
JSON_FILES = [
    (name, key)
    for name, files in sorted(FILES.items())
    for key, file in files.items()
    if Path(file).suffix in (".json", ".jsonl")
]


def places(value: Any) -> Iterator[list[tuple[Any, Any]]]:
    """Every place of a JSON value as the containers on the way and the keys in them."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2])
    for key, one in list(inner):
        yield [(value, key)]
        if isinstance(one, dict | list):
            yield from ([(value, key), *rest] for rest in places(one))


@pytest.mark.parametrize(("name", "key"), JSON_FILES)
def test_a_hostile_value_anywhere_costs_rows_but_no_crash(
    name: str, key: str, tmp_path: Path
) -> None:
    path = FIXTURES / "sources" / FILES[name][key]
    lines = path.suffix == ".jsonl"
    text = path.read_text()
    entries = [json.loads(line) for line in text.splitlines() if line] if lines else None
    whole = json.loads(text) if entries is None else entries
    for way in list(places(whole)):
        holder, at = way[-1]
        before, holder[at] = holder[at], "@hostile@"
        spoilt = "\n".join(map(json.dumps, whole)) if lines else json.dumps(whole)
        holder[at] = before
        for value in HOSTILE:
            file = tmp_path / path.name
            file.write_text(spoilt.replace('"@hostile@"', value))
            try:
                source = build(name, **{key: file})
                rows = list(source.read())
            except ConfigError:
                continue  # no entry is left of this layout
            assert source.count() == len(rows)
            assert all(map(encode_row, rows))
