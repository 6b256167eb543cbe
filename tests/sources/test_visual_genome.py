import json
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from genixer.data import Box, Quarantined, Turn
from genixer.errors import ConfigError
from genixer.sources.visual_genome import VgObjects, VgRegions

FIXTURES = Path(__file__).parents[1] / "fixtures"
SOURCES = FIXTURES / "sources"


def regions(**settings):
    base = {
        "images": FIXTURES / "images",
        "regions": SOURCES / "region_descriptions.json",
        "image_patterns": ("{image_id}.png",),
    }
    return VgRegions(VgRegions.Settings(**{**base, **settings}))


def objects(**settings):
    base = {
        "images": FIXTURES / "images",
        "objects": SOURCES / "vg_objects.json",
        "image_patterns": ("{image_id}.png",),
    }
    return VgObjects(VgObjects.Settings(**{**base, **settings}))


def write(tmp_path, entries):
    path = tmp_path / "entries.json"
    path.write_text(json.dumps(entries))
    return path


def test_a_region_is_asked_both_ways_with_its_box_as_a_share_of_the_image():
    rec, reg, *rest = regions().read()
    assert "the clock is green" in rec.turns[0].text
    assert rec.turns[1] == Turn("assistant", "<box>", (Box(0.5, 0.5, 0.75, 0.75),))
    assert reg.turns[0].boxes == rec.turns[1].boxes
    assert reg.turns[1].text == "the clock is green"
    assert len(rest) == 4


def test_tasks_and_ids_choose_the_rows(tmp_path):
    ids = tmp_path / "val.txt"
    ids.write_text("2\n\n7\n")
    (only,) = regions(tasks=("reg",), image_ids=ids).read()
    assert only.turns[1].text == "a small dog"
    assert regions(image_ids=ids).files() == [SOURCES / "region_descriptions.json", ids]
    assert [row.task for row in objects(image_ids=ids).read()] == ["dense_caption"]


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff"])
def test_ids_that_cannot_be_read_are_a_config_error(tmp_path, content):
    ids = tmp_path / "val.txt"
    ids.write_bytes(content)
    with pytest.raises(ConfigError, match=r"val\.txt"):
        regions(image_ids=ids).count()
    with pytest.raises(ConfigError, match=r"gone\.txt.*No such file"):
        regions(image_ids=tmp_path / "gone.txt").count()


def test_an_image_is_found_in_either_folder_and_the_first_wins(tmp_path):
    for folder, name in (("VG_100K", "1.jpg"), ("VG_100K_2", "2.jpg"), ("VG_100K_2", "1.jpg")):
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        shutil.copy(FIXTURES / "images" / f"{name[0]}.png", path)
    rows = list(VgRegions(VgRegions.Settings(images=tmp_path, regions=regions().files()[0])).read())
    assert [row.image.path for row in rows[::2]] == [
        "VG_100K/1.jpg",
        "VG_100K/1.jpg",
        "VG_100K_2/2.jpg",
    ]


def test_a_missing_image_is_named_by_the_first_folder_and_a_corrupt_one_by_its_own(tmp_path):
    path = tmp_path / "VG_100K" / "2.jpg"
    path.parent.mkdir()
    path.write_bytes(b"\xff\xd8\xffno image")
    source = VgRegions(VgRegions.Settings(images=tmp_path, regions=regions().files()[0]))
    found = [(row.reason, row.detail) for row in source.read()][::2]
    assert found == [
        ("missing_image", "VG_100K/1.jpg"),
        ("missing_image", "VG_100K/1.jpg"),
        ("corrupt_image", "VG_100K/2.jpg"),
    ]


def test_a_resized_copy_is_found_out_by_the_sizes_of_the_release():
    rows = list(regions(image_data=SOURCES / "vg_image_data.json").read())
    assert [row.reason for row in rows if isinstance(row, Quarantined)] == [
        "image_size_differs"
    ] * 2
    assert "annotated as 80x80" in rows[-1].detail


def test_an_image_that_the_sizes_do_not_know_is_counted(tmp_path):
    sizes = write(tmp_path, [{"image_id": 2, "width": 40, "height": 40}])
    rows = list(regions(image_data=sizes, tasks=("rec",)).read())
    assert [getattr(row, "reason", "") for row in rows] == ["unknown_image"] * 2 + [""]


def test_entries_may_call_their_id_as_the_documentation_does(tmp_path):
    entries = json.loads((SOURCES / "region_descriptions.json").read_text())
    other = [{"image_id": entry["id"], "regions": entry["regions"]} for entry in entries]
    assert list(regions(regions=write(tmp_path, other)).read()) == list(regions().read())


def test_a_file_without_ids_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="no entry has a 'image_id'"):
        regions(regions=write(tmp_path, [{"regions": []}])).count()


def test_objects_are_listed_and_only_unmistakable_ones_are_asked_for():
    rows = list(objects(tasks=("dense_caption", "rec", "reg")).read())
    assert [row.task for row in rows] == ["dense_caption", "rec", "reg"] * 2
    assert rows[0].turns[1].text == "dog <box>, man <box>, dog <box>"
    assert rows[2].turns[1].text == "man"
    assert [row.task for row in objects().read()] == ["dense_caption"] * 2


def test_one_bad_region_costs_one_region_and_its_bytes_are_kept_alone():
    source = regions(regions=SOURCES / "region_descriptions_broken.json", tasks=("rec",))
    bad = next(row for row in source.read() if isinstance(row, Quarantined))
    assert bad.where == "region_descriptions_broken.json[0].regions[0]"
    assert json.loads(bad.raw)["phrase"] == "far out"


@pytest.mark.parametrize("patterns", [(), ("1.png",), ("{image_id}.png", "x")])
def test_patterns_that_cannot_name_images_are_refused_early(patterns):
    with pytest.raises(ValidationError, match="image_patterns"):
        regions(image_patterns=patterns)
