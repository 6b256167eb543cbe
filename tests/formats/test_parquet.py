import json
import sys
from pathlib import Path

import pytest

from genixer.data import Box, Origin, Quarantined, Sample, Turn
from genixer.errors import ConfigError
from genixer.formats.hf_card import hub_licences
from genixer.formats.hf_dataset import HfDatasetFormat, HfDatasetSettings
from genixer.formats.parquet import ParquetFormat, ParquetSettings
from genixer.store.images import ImageCatalog

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'genixer[data]'")
pq = pytest.importorskip("pyarrow.parquet")

IMAGES = Path(__file__).parents[1] / "fixtures" / "images"
PNG = (IMAGES / "1.png").read_bytes()
SAID = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "a cat"}]
WHERE = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "[0.1,0.2,0.3,0.4]"}]  # fmt: skip  # noqa: E501
NAN = float("nan")


MIT = Origin("x", "MIT")


def sample(number, origin=MIT):
    ref = ImageCatalog(IMAGES).ref("1.png")
    turns = Turn("user", "?"), Turn("assistant", str(number))
    return Sample.of("common_vqa", ref, turns, origin)


def table(path, *rows, **kinds):
    """A file whose rows have these fields; a first good row gives the types."""
    names = {name for row in rows for name in row}
    columns = {name: [row.get(name) for row in rows] for name in sorted(names)}
    arrays = {name: pa.array(column, kinds.get(name)) for name, column in columns.items()}
    pq.write_table(pa.table(arrays), path)
    return path


def read(path, images=IMAGES, **settings):
    return list(ParquetFormat(ParquetSettings(**settings)).read(path, images))


def test_row_groups_close_at_their_rows_or_their_bytes(tmp_path, monkeypatch):
    many = [sample(number) for number in range(7)]
    ParquetFormat(ParquetSettings(rows_per_group=3)).write(many, tmp_path / "a", IMAGES)
    file = pq.ParquetFile(tmp_path / "a")
    assert [file.metadata.row_group(n).num_rows for n in range(3)] == [3, 3, 1]
    monkeypatch.setattr("genixer.formats.parquet._GROUP_BYTES", 2 * len(PNG))
    ParquetFormat().write(many, tmp_path / "b", IMAGES)
    assert pq.ParquetFile(tmp_path / "b").num_row_groups == 4
    assert read(tmp_path / "a") == read(tmp_path / "b") == many


def test_paths_leave_the_images_where_they_are(tmp_path):
    one = sample(1)
    ParquetFormat(ParquetSettings(images="paths")).write([one], tmp_path / "a", tmp_path)
    (cell,) = pq.read_table(tmp_path / "a")["image"].to_pylist()
    assert cell == {"bytes": None, "path": "1.png"}
    assert read(tmp_path / "a") == [one]
    assert [row.reason for row in read(tmp_path / "a", tmp_path)] == ["missing_image"]


def test_a_table_of_others_needs_conversations_and_images_alone(tmp_path):
    path = table(
        tmp_path / "a",
        {"messages": SAID, "image": PNG, "id": 7},
        {"messages": WHERE, "image": PNG, "id": 8},
    )
    one, two = read(path, tmp_path / "new", decimals=1, frame="unit")
    assert (one.task, one.origin) == ("common_vqa", Origin("parquet"))
    assert two.turns[1].boxes == (Box(0.1, 0.2, 0.3, 0.4),)
    # Bytes without a name get one by their content: one file for both.
    assert one.image == two.image
    assert [file.name for file in (tmp_path / "new").iterdir()] == [one.image.path]
    assert one.image.path == f"{one.image.sha256[:32]}.png"


def good(**fields):
    return {"messages": SAID, "image": {"bytes": PNG, "path": "1.png"}, **fields}


BOXED = good(messages=WHERE, decimals=1, boxes=[[0.1, 0.2, 0.3, 0.4]])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (good(image={"bytes": None, "path": None}), "no_image"),
        (good(image={"bytes": None, "path": "../1.png"}), "path_escapes"),
        (good(image={"bytes": None, "path": "gone.png"}), "missing_image"),
        (good(image={"bytes": PNG, "path": "/1.png"}), "path_escapes"),
        (good(image={"bytes": PNG, "path": "2.png"}), "image_differs"),
        (good(image={"bytes": PNG[:70], "path": "9.png"}), "corrupt_image"),
        (good(image={"bytes": b"", "path": "9.png"}), "empty_image"),
        (good(image={"bytes": b"", "path": None}), "not_an_image"),
        (good(image={"bytes": (IMAGES / "4.png").read_bytes(), "path": "4.png"}), "image_bomb"),
        (good(sha256="0", width=64, height=48), "image_differs"),
        (good(messages=None), "bad_entry"),
        (good(messages=[]), "bad_turns"),
        (good(messages=[{"role": "user", "content": None}]), "bad_entry"),
        (good(messages=[{"role": "system", "content": "x"}]), "bad_entry"),
        (good(width=-1), "bad_entry"),
        (good(origin="{"), "not_json"),
        (good(origin='{"source": "x", "seed": "1%s"}' % ("0" * 400)), "bad_entry"),
        ({**BOXED, "boxes": [[NAN, 0.2, 0.3, 0.4]]}, "bad_box"),
        ({**BOXED, "boxes": [[0.1, 0.2, 0.3]]}, "bad_entry"),
        ({**BOXED, "boxes": [[0.1, 0.2, 0.3, float("inf")]]}, "bad_box"),
        ({**BOXED, "points": [[NAN, 0.1]]}, "bad_box"),
        ({**BOXED, "frame": "banana"}, "bad_entry"),
    ],
)
def test_a_row_that_breaks_a_rule_is_quarantined_and_the_next_is_read(row, reason, tmp_path):
    found, fine = read(table(tmp_path / "a", row, BOXED))
    assert isinstance(found, Quarantined)
    assert (found.where, found.reason) == ("a[0]", reason)
    assert fine.turns[1].boxes == (Box(0.1, 0.2, 0.3, 0.4),)
    assert "messages" in json.loads(found.raw) or row["messages"] is None


@pytest.mark.parametrize("text", [b"\xff", b"\xed\xa0\x80"])
def test_text_that_is_not_utf8_costs_its_own_row_alone(text, tmp_path):
    said = pa.array([[{"role": b"user", "content": b"?"}, {"role": b"assistant", "content": one}]
                     for one in (b"a", text, b"b")])  # fmt: skip
    kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    pq.write_table(pa.table({"messages": said.view(kind), "image": [PNG] * 3}), tmp_path / "a")
    one, two, three = read(tmp_path / "a", tmp_path / "new")
    assert (one.turns[1].text, three.turns[1].text) == ("a", "b")
    assert (two.where, two.reason) == ("a[1]", "not_utf8")


def test_a_file_cut_anywhere_is_refused_whole(tmp_path):
    ParquetFormat().write([sample(n) for n in range(3)], tmp_path / "a", IMAGES)
    data = (tmp_path / "a").read_bytes()
    for cut in range(0, len(data), 97):
        (tmp_path / "cut").write_bytes(data[:cut])
        with pytest.raises(ConfigError, match="cut"):
            read(tmp_path / "cut")


def test_a_damaged_row_group_costs_its_own_rows_alone(tmp_path):
    many = [sample(number) for number in range(9)]
    ParquetFormat(ParquetSettings(rows_per_group=3)).write(many, tmp_path / "a", IMAGES)
    column = pq.ParquetFile(tmp_path / "a").metadata.row_group(1).column(0)
    data = bytearray((tmp_path / "a").read_bytes())
    middle = column.data_page_offset + column.total_compressed_size // 2
    data[middle] ^= 0xFF
    (tmp_path / "a").write_bytes(data)
    found = read(tmp_path / "a")
    assert found[:3] + found[6:] == many[:3] + many[6:]
    assert [(one.where, one.reason) for one in found[3:6]] == [
        (f"a[{n}]", "damaged_rows") for n in (3, 4, 5)
    ]


@pytest.mark.parametrize("missing", ["messages", "image"])
def test_a_table_without_a_needed_column_says_which_it_has(missing, tmp_path):
    row = {name: value for name, value in good(task="md").items() if name != missing}
    with pytest.raises(ConfigError, match=rf"no column '{missing}' in it \(it has .*task\)"):
        read(table(tmp_path / "a", row))


def test_without_pyarrow_the_way_out_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for kind in (ParquetFormat, HfDatasetFormat):
        with pytest.raises(ConfigError, match=r"pip install 'genixer\[data\]'"):
            kind().write([sample(1)], tmp_path / "deep" / "out", IMAGES)
    assert not (tmp_path / "deep").exists()


def test_a_dataset_folder_is_cut_in_files_that_know_how_many_they_are(tmp_path):
    many = [sample(number) for number in range(5)]
    HfDatasetFormat(HfDatasetSettings(rows_per_shard=2)).write(many, tmp_path / "a", IMAGES)
    names = sorted(one.name for one in (tmp_path / "a" / "data").iterdir())
    assert names == [f"train-0000{n}-of-00003.parquet" for n in range(3)]
    found = HfDatasetFormat().read(tmp_path / "a", IMAGES)
    assert list(found) == many


def test_the_card_has_licences_sizes_configs_and_whom_to_name(tmp_path):
    yaml = pytest.importorskip("yaml")
    many = [
        sample(0, Origin("vqav2", "CC BY 4.0")),
        sample(1, Origin("own|er", "ask <b>us</b>", generator="base")),
    ]
    title = HfDatasetSettings(title="Cats\n# and dogs")
    HfDatasetFormat(title).write(many, tmp_path / "a", IMAGES)
    _, header, text = (tmp_path / "a" / "README.md").read_text().split("---\n", 2)
    known = yaml.safe_load(header)
    assert known["license"] == ["cc-by-4.0", "other"]
    assert known["size_categories"] == ["n<1K"]
    assert known["tags"] == ["genixer", "synthetic"]
    (config,) = known["configs"]
    assert config["data_files"] == [{"split": "train", "path": "data/train-*"}]
    (split,) = known["dataset_info"]["splits"]
    size = (tmp_path / "a" / "data" / "train-00000-of-00001.parquet").stat().st_size
    assert (split["num_examples"], split["num_bytes"]) == (2, size)
    for part in (
        "# Cats and dogs",
        "| common_vqa | 2 |",
        "| vqav2 | CC BY 4.0 | not stated | 1 |",
        "| own er | ask b us /b | base | 1 |",
    ):
        assert part in text


def test_one_licence_is_a_word_and_none_is_other():
    assert hub_licences({"Apache-2.0"}) == ["apache-2.0"]
    assert hub_licences(set()) == hub_licences({""}) == ["other"]


def test_a_folder_without_tables_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="no folder with Parquet files"):
        list(HfDatasetFormat().read(tmp_path, IMAGES))
