"""Files of the containers in the hands of the libraries they are made for.

Each library runs in a process of its own, offline; where one is not installed its test is skipped
and says so. `pip install 'genixer[dev]'` brings all three.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from genixer.data import Box, Origin, Sample, Turn
from genixer.formats import FORMATS
from genixer.store.images import ImageCatalog

IMAGES = Path(__file__).parents[1] / "fixtures" / "images"
LEFT, MIDDLE = Box(0.0, 0.0, 0.5, 1.0), Box(0.25, 0.25, 0.75, 0.75)


def samples():
    wide, square = (ImageCatalog(IMAGES).ref(name) for name in ("1.png", "2.png"))
    listed = Turn("user", "List."), Turn("assistant", "cup <box>, cat <box>", (LEFT, MIDDLE))
    asked = Turn("user", "What is it?"), Turn("assistant", "a cat")
    origin = Origin("x", "CC BY 4.0", generator="base")
    return [
        Sample.of("dense_caption", wide, listed, origin),
        Sample.of("common_vqa", square, asked, origin),
        Sample.of("md", square, (*asked, *asked), origin),
    ]


def written(name, tmp_path, **settings):
    kind = FORMATS.load(name)
    kind(kind.Settings(**settings)).write(samples(), tmp_path / "out", IMAGES)
    return tmp_path / "out"


def told(library, code, tmp_path, *words):
    """What `code`, run with `library` and `words`, prints as JSON."""
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed: pip install 'genixer[dev]'")
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        env={**os.environ, **quiet},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


LOAD = """
import json, sys
from datasets import load_dataset
rows = load_dataset(*sys.argv[1:2], split="train", **dict(word.split("=") for word in sys.argv[2:]))
print(json.dumps({
    "features": {name: repr(one) for name, one in rows.features.items()},
    "sizes": [one.size for one in rows["image"]],
    "said": [one[1]["content"] for one in rows["messages"]],
    "boxes": rows[0]["boxes"],
    "task": rows["task"][0],
}))
"""


def check_rows(found):
    assert found["features"]["image"].startswith("Image(")
    assert found["sizes"] == [[64, 48], [40, 40], [40, 40]]
    assert found["said"][1:] == ["a cat", "a cat"]
    assert found["said"][0] == "cup [0.000,0.000,0.500,1.000], cat [0.250,0.250,0.750,0.750]"
    assert found["boxes"] == [[0.0, 0.0, 0.5, 1.0], [0.25, 0.25, 0.75, 0.75]]
    assert found["task"] == "dense_caption"


def test_datasets_sees_a_column_of_images_in_parquet(tmp_path):
    out = written("parquet", tmp_path)
    check_rows(told("datasets", LOAD, tmp_path, "parquet", f"data_files={out}"))


def test_datasets_finds_images_by_their_paths_from_the_image_root(tmp_path):
    out = written("parquet", tmp_path, images="paths")
    code = f"import os; os.chdir({str(IMAGES)!r})\n{LOAD}"
    check_rows(told("datasets", code, tmp_path, "parquet", f"data_files={out}"))


def test_datasets_opens_a_dataset_folder_by_its_name(tmp_path):
    out = written("hf_dataset", tmp_path, rows_per_shard=2)
    check_rows(told("datasets", LOAD, tmp_path, out))


SAVED = """
import json, sys
from datasets import load_dataset
rows = load_dataset("parquet", data_files=sys.argv[1], split="train")
rows.select_columns(["image", "messages"]).to_parquet(sys.argv[2])
print(json.dumps(len(rows)))
"""


def test_what_datasets_saves_is_read_back(tmp_path):
    out = written("parquet", tmp_path)
    assert told("datasets", SAVED, tmp_path, out, tmp_path / "again") == 3
    found = list(FORMATS.load("parquet")().read(tmp_path / "again", IMAGES))
    assert [one.turns for one in found] == [one.turns for one in samples()]
    assert [one.origin for one in found] == [Origin("parquet")] * 3


# Without torch it reads the same, and does not spend nine tenths of its time on the import.
TARS = """
import json, sys
sys.modules["torch"] = None
import webdataset
read = list(webdataset.WebDataset(sys.argv[1], shardshuffle=False).decode("pil"))
print(json.dumps({
    "keys": [one["__key__"] for one in read],
    "said": [one["json"]["messages"][1]["content"] for one in read],
    "sizes": [one["png"].size for one in read],
}))
"""


def test_webdataset_reads_the_shards_in_order(tmp_path):
    out = written("webdataset", tmp_path, rows_per_shard=2, frame="pixel", decimals=0)
    found = told("webdataset", TARS, tmp_path, out / "shard-{000000..000001}.tar")
    assert found["keys"] == ["000000000", "000000001", "000000002"]
    assert found["said"] == ["cup [0,0,32,48], cat [16,12,48,36]", "a cat", "a cat"]
    assert found["sizes"] == [[64, 48], [40, 40], [40, 40]]


BOXES = """
import json, sys
from pycocotools.coco import COCO
coco = COCO(sys.argv[1])
(cat,) = coco.loadAnns(coco.getAnnIds(catIds=coco.getCatIds(catNms=["cat"])))
print(json.dumps([cat["bbox"], coco.loadImgs(cat["image_id"])[0]["file_name"]]))
"""


def test_pycocotools_finds_boxes_by_category(tmp_path):
    out = written("coco", tmp_path)
    assert told("pycocotools", BOXES, tmp_path, out) == [[16.0, 12.0, 32.0, 24.0], "1.png"]
