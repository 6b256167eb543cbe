"""What the trainers' own readers make of our files; skipped where a trainer is not installed.

They do not live together: `make loaders` gives each an environment of its own.
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import pytest

from genixer.data import Box, Origin, Sample, Turn
from genixer.formats import FORMATS
from genixer.store.images import ImageCatalog

IMAGES = Path(__file__).parents[1] / "fixtures" / "images"
IMAGE = ImageCatalog(IMAGES).ref("1.png")
BOX = Box(0.125, 0.25, 0.5, 1.0)
SAMPLES = [
    Sample.of("md", IMAGE, (Turn("user", "A?"), Turn("assistant", "b", ())) * 2, Origin("x")),
    Sample.of(
        "rec", IMAGE, (Turn("user", "Where?"), Turn("assistant", "<box>", (BOX,))), Origin("x")
    ),
    Sample.of(
        "dense_caption",
        IMAGE,
        (Turn("user", "List."), Turn("assistant", "cat <box>, dog <box>", (BOX, BOX))),
        Origin("x"),
    ),
]

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]


def written(name, tmp_path, **values):
    out = tmp_path / "set.jsonl"
    FORMATS.load(name)(FORMATS.settings(name, values)).write(SAMPLES, out, IMAGES)
    return out


def loaded(path, tmp_path):
    datasets = pytest.importorskip("datasets")
    return datasets.load_dataset(
        "json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )


def test_trl_fills_the_images_into_the_parts(tmp_path):
    trl = pytest.importorskip("trl.data_utils")
    datasets = pytest.importorskip("datasets")
    rows = loaded(written("messages", tmp_path, image_prefix=str(IMAGES)), tmp_path)
    rows = rows.cast_column("images", datasets.Sequence(datasets.Image()))
    assert len(rows) == 3
    messages = trl.prepare_multimodal_messages(rows[1]["messages"], images=rows[1]["images"])
    image, text = messages[0]["content"]
    assert image["image"].size == (64, 48)
    assert text["text"] == "Where?"
    assert messages[1]["content"][0]["text"] == "[0.125,0.250,0.500,1.000]"


def test_axolotl_finds_the_image_of_every_row(tmp_path):
    strategies = pytest.importorskip("axolotl.processing_strategies")
    from transformers.image_utils import load_image

    rows = loaded(written("axolotl", tmp_path, image_prefix=str(IMAGES)), tmp_path)
    strategy = strategies.ProcessingStrategy(SimpleNamespace(tokenizer=None))
    found = strategy(list(rows))
    assert [len(one["messages"]) for one in found] == [4, 2, 2]
    image, text = found[1]["messages"][0]["content"]
    assert load_image(image["path"]).size == (64, 48)
    assert text == {"type": "text", "text": "Where?"}


def test_llamafactory_finds_the_dataset_by_its_entry(tmp_path, monkeypatch):
    if importlib.util.find_spec("torchaudio") is None:
        # It is imported for sound alone, and its wheels fit one build of torch only.
        empty = importlib.util.module_from_spec(ModuleSpec("torchaudio", None))
        monkeypatch.setitem(sys.modules, "torchaudio", empty)
    parser = pytest.importorskip("llamafactory.data.parser")
    loader = pytest.importorskip("llamafactory.data.loader")
    plugin = pytest.importorskip("llamafactory.data.mm_plugin")
    written("llama_factory", tmp_path)
    (found,) = parser.get_dataset_list(["set"], str(tmp_path))
    model = SimpleNamespace(cache_dir=str(tmp_path / "cache"), hf_hub_token=None)
    data = SimpleNamespace(
        dataset_dir=str(tmp_path),
        media_dir=str(IMAGES),
        streaming=False,
        preprocessing_num_workers=None,
        overwrite_cache=True,
        max_samples=None,
    )
    rows = loader._load_single_dataset(found, model, data, SimpleNamespace(local_process_index=0))
    assert [len(row["_prompt"]) + len(row["_response"]) for row in rows] == [4, 2, 2]
    assert rows[1]["_images"] == [str(IMAGES / "1.png")]
    assert rows[1]["_response"][0]["content"] == "[0.125,0.250,0.500,1.000]"
    for row in rows:
        said = [*row["_prompt"], *row["_response"]]
        assert sum(one["content"].count(plugin.IMAGE_PLACEHOLDER) for one in said) == 1


def test_ms_swift_scales_the_boxes_for_its_models(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "cache"))
    swift = pytest.importorskip("swift.dataset")
    base = pytest.importorskip("swift.template.base")
    for frame in ("pixel", "unit"):
        rows, _ = swift.load_dataset(str(written("ms_swift", tmp_path, frame=frame)))
        assert [len(row["messages"]) for row in rows] == [4, 2, 2]
        assert [len((row["objects"] or {}).get("bbox", ())) for row in rows] == [0, 1, 2]
        assert rows[2]["objects"]["ref"] == ["cat", "dog"]
        assert rows[2]["messages"][1]["content"] == "<ref-object><bbox>, <ref-object><bbox>"
        objects = {**rows[2]["objects"], "width": [64], "height": [48]}
        inputs = SimpleNamespace(objects=objects, images=[])
        base.Template.normalize_bbox(SimpleNamespace(norm_bbox="norm1000"), inputs)
        assert objects["bbox"] == [[125, 250, 500, 1000]] * 2
