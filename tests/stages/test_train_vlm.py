"""Rows become weights of an image-text model, in stages as a config names them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from tiny_vlms import FAMILIES, PRESETS
from transformers import AutoModelForImageTextToText

from genixer.data import Generation, ImageRef, Message, SftRow
from genixer.models.vlm import load_vlm
from genixer.stages.generate import GenerateSettings, GenerateStage
from genixer.stages.train_vlm import TrainVlmSettings, TrainVlmStage
from genixer.stages.training_stage import TrainedRow


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


def test_two_processes_train_as_one_does(run_stage, tmp_path: Path) -> None:
    folder = tmp_path / "smolvlm"
    FAMILIES["smolvlm"](folder)
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 255, (24, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
    rows = [row(folder, number) for number in range(4)]
    losses = []
    for processes in (1, 2):
        done = run_stage(stage(folder, processes=processes), rows, name=f"on{processes}")
        log = (done.files / "log.jsonl").read_bytes().splitlines()
        losses.append([json.loads(line)["loss"] for line in log])
    assert losses[0] == pytest.approx(losses[1], abs=2e-4)
