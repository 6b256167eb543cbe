"""The recipes that train: each is planned as it is shipped, and run for three steps at toy size."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from genixer.config import load_config, shipped_configs
from genixer.models.base import load_preset
from genixer.pipeline.api import plan
from genixer.pipeline.run import run

RECIPES = {
    "train_genixer_l": ("generator", "tiny_llava", 5_688),
    "llava_projector_915k": ("projector", "tiny_llava", 3_575),
    "llava_sft_665k_8k": ("student", "tiny_llava", 5_258),
    "train_genixer_s_stage1": ("generator", "tiny_shikra", 43_550),
    "train_genixer_s_stage2": ("generator", "tiny_shikra", 25_818),
    "train_genixer_s_stage1_lora": ("generator", "tiny_shikra", 43_550),
    "train_genixer_s_stage2_lora": ("generator", "tiny_shikra", 25_818),
    "shikra_stage0": ("student", "tiny_shikra", 44_498),
    "shikra_stage1": ("student", "tiny_shikra", 30_682),
    "shikra_stage2": ("student", "tiny_shikra", 15_328),
}
"""Step that trains, a toy of its layout, steps that plan tells."""


def test_every_shipped_config_that_trains_at_scale_is_listed():
    known = {name for name in shipped_configs() if name.startswith(("train_", "llava_", "shikra_"))}
    assert known == set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_plan_tells_steps_memory_and_hours_without_data_or_weights(name: str, tmp_path: Path):
    step, _, steps = RECIPES[name]
    report = plan(name, out=tmp_path / "run")
    notes = {one.name: one.notes for one in report.steps}[step]
    assert notes[0].startswith(f"{steps:,} steps of ")
    assert "GiB (weights" in notes[1]
    assert "on each device (8 in all)" in notes[1]
    assert " hours at " in notes[2]
    assert report.missing


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_for_three_steps_at_toy_size(name: str, tmp_path: Path):
    step, preset, _ = RECIPES[name]
    config = tmp_path / "toy.yaml"
    config.write_text(yaml.safe_dump(toy(name, step, preset)), encoding="utf-8")
    run(config, out=tmp_path / "run", limit=30, workers=0)
    files = tmp_path / "run-limit-30" / step / "files"
    log = [json.loads(line) for line in (files / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2, 3]
    assert all(math.isfinite(line["loss"]) for line in log)
    assert (files / "model" / "model.safetensors").is_file()
    assert (files / "adapter").is_dir() == name.endswith("_lora")


def toy(name: str, step: str, preset: str) -> dict[str, Any]:
    """The recipe on the embedded world instead of the datasets, and on one process.

    All else, order, parts of a step, what learns and purposes, is the recipe's; coordinates are
    written as the toy reads them.
    """
    recipe, smoke = load_config(name).raw(), load_config("smoke").raw()
    steps = recipe["steps"]
    lessons = next(one for one in steps if steps[one]["stage"] == "instruct")
    training = steps[step]
    with_ = training["with"]
    with_ |= {"model": f"new:{preset}", "preset": "", "processes": 1, "parallel": "ddp"}
    with_ |= {"precision": "fp32", "images_per_step": with_["accumulate"], "save_every": 2}
    with_ |= {"track": []}
    reads = load_preset(preset)
    frames = {**steps[lessons]["with"], "frame": reads.frame, "decimals": reads.decimals}
    chosen = {
        "world": smoke["steps"]["world"],
        "collect": smoke["steps"]["collect"],
        lessons: {**steps[lessons], "from": ["collect"], "with": frames},
        step: {**training, "from": [lessons]},
    }
    return {"name": name, "seed": recipe["seed"], "images": "@world", "workers": 1, "steps": chosen}
