"""What every format owes whose file holds more than rows of text: coordinates exact, images too."""

from pathlib import Path

import pytest

from genixer.data import Box, Origin, Quarantined, Sample, Turn
from genixer.errors import ConfigError, LossError
from genixer.formats import FORMATS
from genixer.formats.base import Divisible
from genixer.marks import count_marks
from genixer.store.images import ImageCatalog

IMAGES = Path(__file__).parents[1] / "fixtures" / "images"
ODD = Box(0.1, 1 / 3, 0.1 + 0.2, 0.7)
"""Exact in no decimals of any frame, and in no pixels."""
ORIGIN = Origin(
    "genixer", "CC0", ("p1",), "base", "r1", "d1", "specific", 3, "count", {"judge": 0.75}
)

CONTAINERS = {
    "coco": {"written": 5, "no_boxes": 7},
    "csv": {"written": 12},
    "hf_dataset": {"written": 12},
    "parquet": {"written": 12},
    "webdataset": {"written": 12},
}
"""What each says of `SAMPLES`."""
HOLD_IMAGES = ("hf_dataset", "parquet", "webdataset")

names = pytest.mark.parametrize("name", sorted(CONTAINERS))


def ask(task, *texts, boxes=(), groups=(), path="1.png", origin=ORIGIN):
    turns = []
    for at, text in enumerate(texts):
        marks = count_marks(text)[0]
        role = "assistant" if at % 2 else "user"
        turns.append(Turn(role, text, boxes[:marks], (), groups if marks else ()))
        boxes = boxes[marks:]
    return Sample.of(task, ImageCatalog(IMAGES).ref(path), tuple(turns), origin)


SAMPLES = [
    ask("common_vqa", "What is it?", "=HYPERLINK(1)"),
    ask("common_vqa", " spaces \n", "stay\n\n", path="2.png"),
    ask("adv_vqa", "Is there a cat?", "no", origin=Origin("pope", "MIT")),
    ask("mc_vqa", "What?\r\nA. a\nB. b", "B"),
    ask("md", "What?", "A cat: é 日本 \u2028 \0.", "Old?", 'No, "new", \\ {x};'),
    ask("md", "'Only' one?", "'@Yes."),
    ask("common_vqa", "", ""),
    ask("rec", "Where is it?", "<box>", boxes=(ODD,)),
    ask("reg", "What is at <box>?", "a \\<box> cat", boxes=(ODD,)),
    ask("dense_caption", "List.", "cat <box>, dog <box>", boxes=(ODD, Box(0.0, 0.0, 1.0, 1.0))),
    ask("rec", "Where are they?", "<box><box>", boxes=(ODD, Box(0.5, 0.5, 0.5, 0.5)), groups=(2,)),
    ask("rec", "Where is it?", "<box>", boxes=(ODD,)),
]


def load(name, **settings):
    kind = FORMATS.load(name)
    return kind(kind.Settings(**settings))


def carried(name):
    return [s for s in SAMPLES if name != "coco" or any(turn.boxes for turn in s.turns)]


def files_below(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@names
def test_what_is_written_is_read_back_whole_and_the_rest_is_counted(name, tmp_path):
    counts = load(name).write(iter(SAMPLES), tmp_path / "deep" / "out", IMAGES)
    assert counts == CONTAINERS[name]
    assert list(load(name).read(tmp_path / "deep" / "out", IMAGES)) == carried(name)


@names
def test_the_same_samples_are_the_same_bytes_and_name_no_folder(name, tmp_path):
    for folder in ("a", "b"):
        load(name).write(SAMPLES, tmp_path / folder / "out", IMAGES)
    assert files_below(tmp_path / "a") == files_below(tmp_path / "b")
    assert str(tmp_path).encode() not in b"".join(files_below(tmp_path / "a").values())


@names
def test_sidecars_say_where_rows_come_from_and_whom_to_name(name, tmp_path):
    load(name).write(SAMPLES, tmp_path / "out", IMAGES)
    rows = (tmp_path / "out.provenance.jsonl").read_bytes().splitlines()
    assert len(rows) == CONTAINERS[name]["written"]
    said = (tmp_path / "out.attribution.txt").read_text().splitlines()
    assert "rows from genixer, written by the model base: CC0" in said[1]


@names
def test_what_cannot_be_carried_is_counted_or_refused_when_strict(name, tmp_path):
    marked = ask("reg", "What <image> is at <box>?", "a cat", boxes=(ODD,))
    counts = load(name).write([marked, *SAMPLES], tmp_path / "out", IMAGES)
    assert counts == {"image_mark": 1, **CONTAINERS[name]}
    with pytest.raises(LossError, match="1 of 1 rows cannot be carried"):
        load(name, strict=True).write([marked], tmp_path / "strict", IMAGES)
    assert not (tmp_path / "strict").exists()


@names
def test_nothing_is_a_file_too(name, tmp_path):
    assert load(name).write([], tmp_path / "out", IMAGES) == {"written": 0}
    assert list(load(name).read(tmp_path / "out", IMAGES)) == []


@names
def test_a_failure_half_way_leaves_the_old_files(name, tmp_path):
    load(name).write(SAMPLES, tmp_path / "out", IMAGES)
    before = files_below(tmp_path)

    def breaking():
        yield SAMPLES[-1]
        raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError, match="plug"):
        load(name).write(breaking(), tmp_path / "out", IMAGES)
    assert files_below(tmp_path) == before


@names
def test_a_second_export_replaces_the_first_whole(name, tmp_path):
    load(name).write(SAMPLES, tmp_path / "out", IMAGES)
    load(name).write(SAMPLES[-2:], tmp_path / "out", IMAGES)
    load(name).write(SAMPLES[-2:], tmp_path / "fresh" / "out", IMAGES)
    left = {path: data for path, data in files_below(tmp_path).items() if "fresh" not in path}
    assert left == files_below(tmp_path / "fresh")


@names
@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1}', b"\xff\xfe\x00", None])
def test_a_file_of_another_kind_is_a_config_error_that_names_it(name, content, tmp_path):
    if content is not None:
        (tmp_path / "wrong").write_bytes(content)
    with pytest.raises(ConfigError, match="wrong"):
        list(load(name).read(tmp_path / "wrong", IMAGES))


@names
def test_images_come_along_or_are_missed_where_they_are_named(name, tmp_path):
    one = SAMPLES[-1]
    load(name).write([one], tmp_path / "out", IMAGES)
    (found,) = load(name).read(tmp_path / "out", tmp_path / "elsewhere")
    if name in HOLD_IMAGES:
        assert found == one
        copy = tmp_path / "elsewhere" / "1.png"
        assert copy.read_bytes() == (IMAGES / "1.png").read_bytes()
    else:
        assert isinstance(found, Quarantined)
        assert found.reason == "missing_image"
        assert found.where.startswith("out")


@names
def test_the_image_must_be_the_one_the_row_was_written_about(name, tmp_path):
    load(name).write([SAMPLES[-1]], tmp_path / "out", IMAGES)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "1.png").write_bytes((IMAGES / "2.png").read_bytes())
    (found,) = load(name).read(tmp_path / "out", elsewhere)
    assert isinstance(found, Quarantined)
    assert found.reason == "image_differs"
    assert (elsewhere / "1.png").read_bytes() == (IMAGES / "2.png").read_bytes()


@names
def test_parts_are_what_reading_gives_at_once(name, tmp_path):
    settings = {"webdataset": {"rows_per_shard": 5}, "parquet": {"rows_per_group": 5}}
    settings["hf_dataset"] = {"rows_per_shard": 5, "rows_per_group": 2}
    kind = load(name, **settings.get(name, {}))
    rows = kind.write(SAMPLES, tmp_path / "out", IMAGES)["written"]
    assert isinstance(kind, Divisible)
    whole = list(kind.read(tmp_path / "out", IMAGES))
    assert kind.count(tmp_path / "out") == len(whole) == rows > 3
    for size in (1, 3, 7, 99):
        parts = [list(kind.part(tmp_path / "out", IMAGES, at, size)) for at in range(0, 12, size)]
        assert [row for part in parts for row in part] == whole
        sizes = [max(0, min(size, rows - at * size)) for at in range(len(parts))]
        assert [len(part) for part in parts] == sizes
