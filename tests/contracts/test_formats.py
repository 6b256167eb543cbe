"""What every format in the registry owes, plugins included."""

from pathlib import Path

import pytest

from genixer.data import Box, ImageRef, Origin, Quarantined, Sample, Turn
from genixer.errors import ConfigError
from genixer.formats import FORMATS
from genixer.marks import count_marks
from genixer.store.images import ImageCatalog

IMAGES = Path(__file__).parents[1] / "fixtures" / "images"
# Exact in three decimals of every frame, padded square included.
ON_GRID = Box(0.125, 0.0, 0.5, 1.0)
ORIGIN = Origin("genixer", "CC0", ("p1",), "base", "r1", "d1", "specific", 3, "", {"judge": 0.75})

# Formats that hold more than rows of text have laws of their own: test_containers.py.
CONTAINERS = {"coco", "csv", "hf_dataset", "parquet", "webdataset"}
names = pytest.mark.parametrize("name", sorted(set(FORMATS) - CONTAINERS))


def ask(task, *texts, boxes=(), path="1.png", origin=ORIGIN):
    image: ImageRef = ImageCatalog(IMAGES).ref(path)
    turns = [
        Turn("assistant" if at % 2 else "user", text, boxes if count_marks(text)[0] else ())
        for at, text in enumerate(texts)
    ]
    return Sample.of(task, image, tuple(turns), origin)


SAMPLES = [
    ask("common_vqa", "What is it?", "a cat"),
    ask("common_vqa", " spaces \n", "stay\n\n", path="2.png"),
    ask("adv_vqa", "Is there a cat?", "no", origin=Origin("pope", "MIT")),
    ask("mc_vqa", "What?\nA. a\nB. b", "B"),
    ask("md", "What?", "A cat: é 日本 \u2028.", "Old?", 'No, "new" \\ {x}.'),
    ask("md", "Only one?", "Yes."),
    ask("rec", "Where is it?", "<box>", boxes=(ON_GRID,)),
    ask("reg", "What is at <box>?", "a \\<box> cat", boxes=(ON_GRID,)),
    ask("dense_caption", "List.", "cat <box>, dog <box>", boxes=(ON_GRID, ON_GRID)),
]


def load(name):
    kind = FORMATS.load(name)
    return kind(kind.Settings())


@names
@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_what_is_written_is_read_back_whole(name, ending, tmp_path):
    out = tmp_path / "deep" / f"out.{ending}"
    counts = load(name).write(iter(SAMPLES), out, IMAGES)
    assert counts == {"written": len(SAMPLES)}
    assert list(load(name).read(out, IMAGES)) == SAMPLES


@names
def test_the_same_samples_are_the_same_bytes(name, tmp_path):
    files = []
    for folder in ("a", "b"):
        load(name).write(SAMPLES, tmp_path / folder / "out.json", IMAGES)
        files.append({p.name: p.read_bytes() for p in (tmp_path / folder).iterdir()})
    assert files[0] == files[1]
    assert str(tmp_path) not in b"".join(files[0].values()).decode()


@names
def test_sidecars_say_where_rows_come_from_and_whom_to_name(name, tmp_path):
    load(name).write(SAMPLES, tmp_path / "out.json", IMAGES)
    rows = (tmp_path / "out.json.provenance.jsonl").read_bytes().splitlines()
    assert len(rows) == len(SAMPLES)
    assert SAMPLES[0].id in rows[0].decode()
    assert (tmp_path / "out.json.attribution.txt").read_text().splitlines()[1:] == [
        "8 rows from genixer, written by the model base: CC0",
        "1 rows from pope: MIT",
    ]


@names
def test_what_cannot_be_carried_is_counted_and_not_written(name, tmp_path):
    hostile = [ask("common_vqa", "What is <image>?", "a cat"), *SAMPLES]
    out = tmp_path / "out.json"
    assert load(name).write(hostile, out, IMAGES) == {"written": len(SAMPLES), "image_mark": 1}
    assert list(load(name).read(out, IMAGES)) == SAMPLES


@names
@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_nothing_is_a_file_too(name, ending, tmp_path):
    out = tmp_path / f"out.{ending}"
    assert load(name).write([], out, IMAGES) == {"written": 0}
    if ending == "json":
        assert list(load(name).read(out, IMAGES)) == []


@names
def test_a_failure_half_way_leaves_the_old_files(name, tmp_path):
    out = tmp_path / "out.json"
    load(name).write(SAMPLES, out, IMAGES)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def breaking():
        yield SAMPLES[0]
        raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError, match="plug"):
        load(name).write(breaking(), out, IMAGES)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@names
@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1}', b"\xff\xfe\x00"])
def test_a_file_of_another_kind_is_a_config_error_that_names_it(name, content, tmp_path):
    for path in (tmp_path / "wrong.json", tmp_path / "wrong.jsonl"):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"wrong\.json"):
            list(load(name).read(path, IMAGES))


@names
def test_a_missing_image_is_quarantined_where_it_is_named(name, tmp_path):
    load(name).write(SAMPLES[:1], tmp_path / "out.json", IMAGES)
    (row,) = load(name).read(tmp_path / "out.json", tmp_path)
    assert isinstance(row, Quarantined)
    assert (row.where, row.reason) == ("out.json[0]", "missing_image")
