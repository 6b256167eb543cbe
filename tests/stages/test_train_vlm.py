"""Rows become weights of an image-text model, in stages as a config names them."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load_file
from tiny_vlms import FAMILIES, PRESETS, training_config
from transformers import AutoModelForImageTextToText

from genixer.data import Generation, ImageRef, Message, SftRow
from genixer.models.vlm import load_vlm
from genixer.pipeline.run import run
from genixer.stages.base import Estimate
from genixer.stages.generate import GenerateStage
from genixer.stages.requests import GenerateSettings
from genixer.stages.train_vlm import TrainVlmSettings, TrainVlmStage
from genixer.stages.training_stage import TrainedRow
from genixer.training.batch import group
from genixer.training.chat import VlmLesson, encode_chat
from genixer.training.order import order_of
from genixer.training.schedule import Schedule


@pytest.fixture(params=["qwen2_5_vl", "smolvlm", "paligemma"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    FAMILIES[request.param](tmp_path / request.param)
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 255, (24, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
    return tmp_path / request.param


def row(folder: Path, number: int, **more: object) -> SftRow:
    preset = load_vlm(str(folder), PRESETS[folder.name]).preset
    said = Message("user", f"How many are there in {number}?"), Message("assistant", "2")
    fields = {"frame": preset.frame, "decimals": preset.decimals, "source": "vqav2", **more}
    image = ImageRef(f"{number % 3}.png", 40, 24, str(number % 3))
    return SftRow(f"r{number}", f"s{number}", "common_vqa", "student", image, said, **fields)


def stage(folder: Path, **more: object) -> TrainVlmStage:
    given = {"model": str(folder), "preset": PRESETS[folder.name], "steps": 6, "lr": 3e-3}
    return TrainVlmStage(TrainVlmSettings(**{**given, "images_per_step": 2, **more}))


def test_trained_here_it_generates_without_a_word_about_its_preset(
    run_stage, folder: Path, tmp_path: Path
) -> None:
    rows = [row(folder, 0), row(folder, 1), row(folder, 2, frame="per_999"), row(folder, 3)]
    done = run_stage(stage(folder), rows, shard=2)
    assert [one.position for one in done.rows(TrainedRow)] == [0, 1, 3]
    assert [one.reason for one in done.rejects] == ["frame_mismatch"]
    log = [json.loads(line) for line in (done.files / "log.jsonl").read_bytes().splitlines()]
    assert log[-1]["step"] == 6
    assert log[-1]["loss"] < log[0]["loss"]
    assert json.loads((done.files / "seen.json").read_bytes())["rows"] == {"vqav2/common_vqa": 3}
    pool = tmp_path / "pool"
    pool.mkdir()
    (tmp_path / "0.png").rename(pool / "0.png")
    settings = {"images": str(pool), "model": "@this/model", "backend": "vlm", "max_new_tokens": 4}
    made = GenerateStage(GenerateSettings.model_validate(settings))
    written = run_stage(made, name="generate", images=pool)
    assert {row.generator for row in written.rows(Generation)} == {"@this/model"}


def test_same_rows_same_weights_and_another_seed_others(run_stage, folder: Path) -> None:
    rows = [row(folder, number) for number in range(4)]
    names = [("one", 7), ("two", 7), ("other", 8)]
    done = [run_stage(stage(folder, seed=seed), rows, name=name) for name, seed in names]
    one, two, other = ((d.files / "model" / "model.safetensors").read_bytes() for d in done)
    assert one == two != other


def test_adapters_are_written_beside_the_merged_model(run_stage, folder: Path) -> None:
    settings = {"trainable": "lora", "lora_rank": 2, "lora_alpha": 4.0}
    done = run_stage(stage(folder, **settings), [row(folder, number) for number in range(3)])
    assert (done.files / "adapter" / "adapter_model.safetensors").is_file()
    merged = AutoModelForImageTextToText.from_pretrained(
        done.files / "model", local_files_only=True
    )
    before = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True)
    assert merged.state_dict().keys() == before.state_dict().keys()
    changed = {
        name for name, value in merged.state_dict().items()
        if not value.equal(before.state_dict()[name])
    }  # fmt: skip
    assert changed


def test_options_of_other_models_are_refused() -> None:
    for wrong in (
        {"order": "packed"},
        {"spread": 1.0},
        {"cells": 0.5},
        {"question_weight": 0.1},
        {"images_per_step": 3, "processes": 2},
    ):
        with pytest.raises(ValidationError):
            TrainVlmSettings(model="any", **wrong)


def test_weights_and_preset_file_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    FAMILIES["smolvlm"](tmp_path / "smol")
    preset = tmp_path / "mine.yaml"
    preset.write_text("name: mine\n", encoding="utf-8")
    made = TrainVlmStage(TrainVlmSettings(model=str(tmp_path / "smol"), preset=str(preset)))
    assert made.external() == [tmp_path / "smol", preset]


def trained(folder: Path, out: Path, **how: object) -> tuple[list[dict], dict]:
    """Log and weights of a training of the model, images and rows in `folder`."""
    config = yaml.safe_load((folder / "toy.yaml").read_text())
    config["steps"]["train_vlm"]["with"] |= how
    (out.parent / f"{out.name}.yaml").write_text(yaml.safe_dump(config))
    done = run(out.parent / f"{out.name}.yaml", out=out, workers=0)
    files = done.folder / "train_vlm" / "files"
    log = [json.loads(line) for line in (files / "log.jsonl").read_bytes().splitlines()]
    return log, load_file(files / "model" / "model.safetensors")


COMMON = {"steps": 6, "images_per_step": 4, "lr": 0.003, "tower_lr": 0.0003, "save_every": 0}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2_vl", "qwen3_vl", "smolvlm", "paligemma", "llava"])
@pytest.mark.parametrize(
    "how",
    [
        {"processes": 2},
        {"processes": 2, "parallel": "zero2"},
        {"processes": 2, "parallel": "fsdp", "accumulate": 2, "gradient_checkpointing": True},
        {"lanes": 2},
    ],
    ids=str,
)
def test_however_a_step_is_cut_its_loss_is_that_of_one_process(
    tmp_path: Path, family: str, how: dict[str, object]
) -> None:
    training_config(tmp_path, family, **COMMON)
    log, weights = trained(tmp_path, tmp_path / "one")
    cut_log, cut_weights = trained(tmp_path, tmp_path / "cut", **how)
    assert [line["tokens"] for line in cut_log] == [line["tokens"] for line in log]
    for line, cut in zip(log, cut_log, strict=True):
        assert cut["loss"] == pytest.approx(line["loss"], rel=1e-5, abs=3e-4)
    assert weights.keys() == cut_weights.keys()


@pytest.mark.slow
def test_adapters_of_weights_that_are_cut_are_written_whole(tmp_path: Path) -> None:
    training_config(tmp_path, "qwen2_vl", **{**COMMON, "tower_lr": 0.0})
    how = {"trainable": "lora", "lora_rank": 2, "lora_dropout": 0.0}
    _, one = trained(tmp_path, tmp_path / "one", **how)
    _, cut = trained(tmp_path, tmp_path / "cut", **how, processes=2, parallel="zero3")
    assert one.keys() == cut.keys()
    assert max(float((one[n] - cut[n]).abs().max()) for n in one) < 2e-3
    adapter = tmp_path / "cut" / "train_vlm" / "files" / "adapter"
    assert (adapter / "adapter_model.safetensors").is_file()


def test_in_groups_every_row_comes_once_an_epoch_beside_rows_of_its_length(tmp_path: Path) -> None:
    FAMILIES["qwen2_vl"](tmp_path / "qwen2_vl")
    model = load_vlm(str(tmp_path / "qwen2_vl"), "qwen2_vl")
    lesson = VlmLesson(model, tmp_path)
    conversations = []
    for number in range(24):
        image = ImageRef(f"{number}.png", 28 * (2 + number % 5), 56, "") if number % 4 else None
        said = Message("user", "Well? " * (number % 3)), Message("assistant", "Yes")
        told = SftRow(f"r{number}", "", "common_vqa", "student", image, said, frame="per_1000",
                      decimals=0)  # fmt: skip
        conversations.append((image, encode_chat(told, model)))
    schedule = Schedule(order="grouped", epochs=1, images_per_step=4, conversations_per_image=1)
    order = order_of(group(conversations), schedule, 3, lesson.room())
    batches = list(order.batches(0))
    rows = [one.row_id for batch in batches for (visit,) in batch for one in visit.conversations]
    assert sorted(rows) == sorted(f"r{number}" for number in range(24))
    for batch in batches:
        assert len({visit.image is None for (visit,) in batch}) == 1
    room = lesson.room()
    lengths = [[room.length(v.image, v.conversations) for (v,) in batch] for batch in batches]
    padded = sum(max(one) * len(one) for one in lengths)
    assert sum(map(sum, lengths)) / padded > 0.85
    seen, said = conversations[1]
    look = model.look(Image.new("RGB", (seen.width, seen.height)))
    assert room.length(seen, [said]) == len(model.insert(said.ids.tolist(), look))


def test_plan_tells_what_the_training_will_take_without_loading_weights(tmp_path: Path) -> None:
    config = training_config(tmp_path, "smolvlm", epochs=2, tokens_per_second=1000)
    (tmp_path / "smolvlm" / "model.safetensors").write_bytes(b"")
    made = TrainVlmStage(
        TrainVlmSettings(**yaml.safe_load(config.read_text())["steps"]["train_vlm"]["with"])
    )
    found = made.estimate({"rows": [Estimate(kept=12)]})
    assert "2 steps of 8 rows" in found.notes[0]
    assert "M parameters" in found.notes[0]
    assert "GiB (weights" in found.notes[1]
    assert "hours at 1,000 tokens a second" in found.notes[2]
    unknown = TrainVlmStage(TrainVlmSettings(model="@step/model")).estimate({"rows": []})
    assert unknown.notes[0].startswith("unknown steps, tokens, memory and hours")
