"""Several processes train as one does: same losses, whole weights, one error."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from genixer.errors import BadLossError
from genixer.pipeline.one_stage import run_stage

SMALL = str(Path(__file__).parent.parent / "fixtures" / "models" / "small.yaml")
COMMON = {
    "model": f"new:{SMALL}",
    "steps": 6,
    "images_per_step": 4,
    "lr": 0.003,
    "tower_lr": 0.0003,
    "save_every": 0,
}


def trained(rows: Path, out: Path, **how: object) -> tuple[list[dict], dict]:
    """Log and weights of a training on `rows`."""
    result = run_stage("train", out, {**COMMON, **how}, sources={"rows": [rows]}, workers=0)
    files = result.folder / "train" / "files"
    log = [json.loads(line) for line in (files / "log.jsonl").read_bytes().splitlines()]
    return log, load_file(files / "model" / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        {"processes": 2},
        {"processes": 2, "accumulate": 2},
        {"processes": 2, "parallel": "fsdp"},
        {"processes": 2, "parallel": "zero2"},
        {"processes": 2, "parallel": "fsdp", "accumulate": 2, "gradient_checkpointing": True},
        {"accumulate": 4, "gradient_checkpointing": True},
        {"lanes": 2},
    ],
    ids=str,
)
def test_however_a_step_is_cut_its_loss_is_that_of_one_process(training_rows, tmp_path, how):
    log, weights = trained(training_rows, tmp_path / "one")
    cut_log, cut_weights = trained(training_rows, tmp_path / "cut", **how)
    assert [line["tokens"] for line in cut_log] == [line["tokens"] for line in log]
    for line, cut in zip(log, cut_log, strict=True):
        assert cut["loss"] == pytest.approx(line["loss"], rel=1e-5, abs=1.01e-4)
    assert weights.keys() == cut_weights.keys()
    worst = max(float((weights[n] - cut_weights[n]).abs().max()) for n in weights)
    # AdamW turns a gradient near 0 into a whole step: rounding alone moves some weights that far.
    assert worst < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "zero3"])
def test_a_process_may_have_no_image_or_no_row_at_all(training_rows, tmp_path, parallel):
    path = tmp_path / "rows.jsonl"
    lines = b"".join(p.read_bytes() for p in sorted(training_rows.glob("part-*"))).splitlines()
    rows = [json.loads(line) for line in lines[:11]]
    for number, row in enumerate(rows):
        row["image"] = row["image"] if number < 3 else None
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    how = {**COMMON, "rows_files": [str(path)], "images": str(training_rows.parent / "world/files")}
    how |= {"order": "grouped", "epochs": 2, "conversations_per_image": 1}
    logs = []
    for name, more in (("one", {}), ("two", {"processes": 2, "parallel": parallel})):
        files = (
            run_stage("train", tmp_path / name, {**how, **more}, workers=0).folder / "train/files"
        )
        logs.append([json.loads(line) for line in (files / "log.jsonl").read_bytes().splitlines()])
    assert [line["tokens"] for line in logs[0]] == [line["tokens"] for line in logs[1]]
    for one, two in zip(*logs, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], abs=1.01e-4)


@pytest.mark.slow
def test_adapters_of_cut_weights_are_written_whole(training_rows, tmp_path):
    how = {"trainable": "lora", "lora_rank": 4, "lora_dropout": 0.0, "tower_lr": 0.0}
    log, weights = trained(training_rows, tmp_path / "one", **how)
    cut_log, cut = trained(training_rows, tmp_path / "cut", processes=2, parallel="fsdp", **how)
    assert cut_log[-1]["loss"] == pytest.approx(log[-1]["loss"], abs=1.01e-4)
    assert max(float((weights[n] - cut[n]).abs().max()) for n in weights) < 2e-3
    adapter = tmp_path / "cut/train/files/adapter/adapter_model.safetensors"
    assert all("lora" in name or "projector" in name for name in load_file(adapter))


@pytest.mark.slow
def test_an_error_in_one_process_ends_all_with_its_words(training_rows, tmp_path):
    with pytest.raises(BadLossError, match=r"step \d+: loss is nan; rows of the batch: \w+"):
        trained(training_rows, tmp_path / "bad", processes=2, lr=1e30, steps=9)
