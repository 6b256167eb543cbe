"""Pools become pictures and annotation files; the truth is what was drawn."""

import hashlib
import json

from PIL import Image

from genixer.sources.scenes import Scene
from genixer.stages.scenes import ScenesSettings, ScenesStage

POOLS = {
    "labelled": {"images": 5, "backgrounds": ["sky"], "vqa_per_image": 3},
    "plain": {"images": 3, "backgrounds": ["wood"], "annotated": False},
}


def stage() -> ScenesStage:
    return ScenesStage(ScenesSettings(pools=POOLS))


def test_rows_are_the_truth_about_the_files(run_stage):
    done = run_stage(stage(), {}, shard=2)
    scenes = list(done.rows(Scene))
    assert [scene.pool for scene in scenes] == ["labelled"] * 5 + ["plain"] * 3
    assert {scene.licence for scene in scenes} == {"CC BY-SA 4.0 (OpenMoji)"}
    for scene in scenes:
        data = (done.files / scene.image).read_bytes()
        assert hashlib.sha256(data).hexdigest() == scene.sha256
        with Image.open(done.files / scene.image) as picture:
            assert picture.size == (scene.width, scene.height)


def test_only_annotated_pools_have_annotation_files(run_stage):
    done = run_stage(stage(), {})
    assert (done.files / "labelled" / "annotations" / "refs.json").is_file()
    assert not (done.files / "plain" / "annotations").exists()
    questions = json.loads((done.files / "labelled/annotations/vqav2_questions.json").read_bytes())
    assert len(questions["questions"]) <= 15


def test_shards_do_not_matter(run_stage):
    assert run_stage(stage(), {}, name="a", shard=1).kept == run_stage(stage(), {}, name="b").kept


def test_a_limited_run_draws_from_every_pool(run_stage):
    done = run_stage(stage(), {}, limit=4)
    assert [scene.pool for scene in done.rows(Scene)] == ["labelled"] * 2 + ["plain"] * 2


def test_the_estimate_counts_pictures():
    assert stage().estimate({}).kept == 8
