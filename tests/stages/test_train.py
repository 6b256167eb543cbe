"""Rows become weights, refused rows have a reason, and the same rows give the same weights."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from genixer.data import Box, ImageRef, Message, Origin, Sample, SftRow, Turn, encode_row
from genixer.errors import ConfigError
from genixer.models.llava import load
from genixer.stages.train import TrainSettings, TrainStage
from genixer.stages.training_stage import TrainedRow

SMALL = str(Path(__file__).parent.parent / "fixtures" / "models" / "small.yaml")


def image(number: int) -> ImageRef:
    return ImageRef(f"{number}.png", 40, 24, str(number))


def row(number: int, **more) -> SftRow:
    messages = (Message("user", f"How many are there in {number}?"), Message("assistant", "2"))
    settings = {"frame": "padded_square", "decimals": 2, "source": "vqav2", **more}
    picture = settings.pop("image", image(number % 3))
    return SftRow(
        f"r{number}", f"s{number}", "common_vqa", "student", picture, messages, **settings
    )


def caption(number: int) -> Sample:
    turns = (Turn("user", "List."), Turn("assistant", "dog <box>", (Box(0.0, 0.0, 0.5, 1.0),)))
    return Sample.of("dense_caption", image(number), turns, Origin("x"))


def stage(**more) -> TrainStage:
    settings = {"model": f"new:{SMALL}", "steps": 6, "images_per_step": 2, **more}
    return TrainStage(TrainSettings(**settings))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number in range(3):
        noise = np.random.Generator(np.random.PCG64(number)).integers(0, 255, (24, 40, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
    return tmp_path


def test_kept_rows_are_trained_on_and_refused_ones_are_named(run_stage, pictures):
    rows = [row(0), row(1), row(2, frame="unit"), row(3)]
    done = run_stage(stage(), rows, shard=2)
    assert [one.position for one in done.rows(TrainedRow)] == [0, 1, 3]
    assert [one.reason for one in done.rejects] == ["frame_mismatch"]
    seen = json.loads((done.files / "seen.json").read_bytes())
    assert seen["rows"] == {"vqav2/common_vqa": 3}
    log = [json.loads(line) for line in (done.files / "log.jsonl").read_bytes().splitlines()]
    assert log[-1]["step"] == 6
    assert "tokens_per_second" not in log[-1]


def test_the_model_has_a_card(run_stage, pictures):
    done = run_stage(stage(trainable="lora", lora_rank=2, lr=0.5), [row(0), row(1)])
    for name, library in (("model", "transformers"), ("adapter", "peft")):
        card = (done.files / name / "README.md").read_text()
        assert f"library_name: {library}" in card
        assert "| vqav2/common_vqa | 2 |" in card
        assert "- `lr: 0.5`" in card


def test_same_rows_same_weights_and_another_seed_others(run_stage, pictures):
    revisions = [
        load(str(run_stage(stage(seed=s), [row(0), row(1)], name=n).files / "model")).revision
        for n, s in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert revisions[0] == revisions[1] != revisions[2]


def test_training_goes_on_from_the_weights_of_another_step(run_stage, pictures):
    run_stage(stage(), [row(0), row(1)], name="first")
    second = TrainStage(TrainSettings(model="@first/model", steps=2, images_per_step=2))
    done = run_stage(second, [row(0), row(1)], name="second")
    first, then = (load(str(f / "model")) for f in (pictures / "first/files", done.files))
    assert first.tokenizer.get_vocab() == then.tokenizer.get_vocab()
    assert first.revision != then.revision


def test_dense_captions_teach_the_tower_first(run_stage, memory_step, pictures):
    roles = {"rows": [memory_step([row(0), row(1)])], "regions": [memory_step([caption(0)])]}
    done = run_stage(stage(tower_steps=3), roles)
    log = [json.loads(line) for line in (done.files / "log.jsonl").read_bytes().splitlines()]
    assert [line["step"] for line in log if line.get("phase") == "tower"] == [1, 2, 3]


def test_words_may_come_from_other_rows(run_stage, memory_step, pictures):
    words = [SftRow("w", "w", "rec", "student", image(0), (Message("user", "zebra " * 9),))]
    roles = {"rows": [memory_step([row(0)])], "words": [memory_step(words)]}
    model = load(str(run_stage(stage(), roles).files / "model"))
    assert len(model.encode_text(" zebra")) == 1


def test_half_precision_halves_the_file(run_stage, pictures):
    sizes = [
        (run_stage(stage(save_as=kind), [row(0)], name=kind).files / "model/model.safetensors")
        .stat()
        .st_size
        for kind in ("float32", "float16")
    ]
    assert sizes[1] < 0.6 * sizes[0]


def test_a_limited_run_trains_a_few_steps(run_stage, pictures):
    done = run_stage(stage(steps=500), [row(0)], limit=1)
    assert json.loads((done.files / "log.jsonl").read_bytes().splitlines()[-1])["step"] == 3


def test_shipped_weights_are_part_of_the_fingerprint():
    assert [p.name for p in TrainStage(TrainSettings(model="start")).external()] == ["start"]
    assert stage().external() == []


def test_wrong_settings_are_refused():
    with pytest.raises(ValidationError, match="stepz"):
        TrainSettings(stepz=3)


def test_rows_come_from_files_too_and_broken_lines_are_put_aside(run_stage, pictures):
    lines = [encode_row(row(0)), b'{"id": 7}', encode_row(row(1, image=None)), encode_row(row(2))]
    path = pictures / "rows.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    done = run_stage(stage(rows_files=(str(path),)), {}, shard=3)
    assert [one.position for one in done.rows(TrainedRow)] == [0, 2, 3]
    (broken,) = done.quarantines
    assert (broken.where, broken.reason) == (f"{path}:2", "bad_row")
    assert json.loads((done.files / "seen.json").read_bytes())["images"] == 3
    assert path in stage(rows_files=(str(path),)).external()


def test_logs_go_where_they_are_asked_to_and_no_part_of_the_result(run_stage, pictures):
    pytest.importorskip("tensorboard")
    done = run_stage(stage(track=("jsonl", "tensorboard")), [row(0), row(1)])
    logs = pictures / "this" / "logs"
    live = [json.loads(line) for line in (logs / "log.jsonl").read_bytes().splitlines()]
    assert all(line["tokens_per_second"] > 0 and line["memory_mb"] > 0 for line in live)
    assert [line["step"] for line in live] == [1, 2, 3, 4, 5, 6]
    assert list(logs.rglob("events.out.tfevents*"))
    plain = run_stage(stage(), [row(0), row(1)], name="plain")
    assert (plain.files / "log.jsonl").read_bytes() == (done.files / "log.jsonl").read_bytes()


def test_a_tracker_that_is_not_installed_says_how(run_stage, pictures):
    with pytest.raises(ConfigError, match="pip install wandb"):
        run_stage(stage(track=("wandb",)), [row(0)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"processes": 3, "images_per_step": 8}, "a multiple of 3"),
        ({"parallel": "fsdp", "processes": 2, "lanes": 2}, "lanes are for parallel: ddp"),
        ({"parallel": "fsdp", "processes": 2, "optimiser": "muon"}, "whole matrices"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        TrainSettings(**settings)
