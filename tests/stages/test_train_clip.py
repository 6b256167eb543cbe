"""From regions to a region model that the filter can use."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genixer.data import Box, ImageRef, Origin, Sample, Turn
from genixer.errors import DataError
from genixer.filters.clip import ClipFilter, ClipSettings
from genixer.stages.train_clip import NamedRegions, TrainClipSettings, TrainClipStage

COLOURS = {"red thing": (220, 30, 30), "blue thing": (40, 60, 220), "green thing": (30, 170, 60)}
TINY = TrainClipSettings(steps=50, batch=32, lr=4e-3, side_px=32)


def world(folder: Path, count: int) -> list[Sample]:
    """Pictures with two coloured squares each, as REC, REG and dense captions."""
    rng = np.random.default_rng(7)
    samples = []
    for number in range(count):
        pixels = np.full((96, 96, 3), rng.integers(120, 255), np.uint8)
        names = rng.permutation(list(COLOURS))[:2].tolist()
        boxes = []
        for name, left in zip(names, (4, 52), strict=True):
            x, y, side = (
                int(rng.integers(*ends)) for ends in ((left, left + 12), (4, 60), (22, 30))
            )
            pixels[y : y + side, x : x + side] = COLOURS[name]
            boxes.append(Box(x / 96, y / 96, (x + side) / 96, (y + side) / 96))
        Image.fromarray(pixels).save(folder / f"{number}.png")
        ref = ImageRef(f"{number}.png", 96, 96, f"{number:04x}")
        turns = {
            "rec": (
                Turn("user", f"Where is the {names[0]}?"),
                Turn("assistant", "<box>", (boxes[0],)),
            ),
            "reg": (Turn("user", "What is at <box>?", (boxes[1],)), Turn("assistant", names[1])),
            "dense_caption": (
                Turn("user", "List all objects."),
                Turn("assistant", f"{names[0]} <box>, {names[1]} <box>", tuple(boxes)),
            ),
            "common_vqa": (Turn("user", "How many?"), Turn("assistant", "2")),
        }
        samples += [Sample.of(task, ref, pair, Origin("test")) for task, pair in turns.items()]
    return samples


def test_it_learns_to_tell_right_boxes_and_names_from_wrong_ones(run_stage, tmp_path: Path) -> None:
    samples = world(tmp_path, 40)
    step = run_stage(TrainClipStage(TINY), samples)
    scores = {one["metric"]: one for one in json.loads((step.files / "scores.json").read_bytes())}
    assert set(scores) == {
        "names_region",
        "accepts_right",
        "refuses_other_name",
        "refuses_misplaced",
    }
    assert min(one["value"] for one in scores.values()) >= 0.75
    one = ClipFilter(ClipSettings(model=str(step.files / "model")))
    rec = [sample for sample in samples if sample.task == "rec"][:8]
    right = one.judge(rec, tmp_path)
    swapped = [
        Sample.of("rec", a.image, (b.turns[0], a.turns[1]), a.origin)
        for a, b in zip(rec, rec[1:] + rec[:1], strict=True)
        if a.turns[0] != b.turns[0]
    ]
    wrong = one.judge(swapped, tmp_path)
    assert sum(verdict.keep for verdict in right) >= 7
    assert sum(verdict.keep for verdict in wrong) <= 1


def test_rows_without_a_region_are_rejected_and_expressions_lose_their_question(
    run_stage, tmp_path: Path
) -> None:
    step = run_stage(TrainClipStage(TrainClipSettings(steps=1, batch=4)), world(tmp_path, 6))
    assert {r.reason for r in step.rejects} == {"no_region"}
    assert len(step.kept) == 18
    names = {name for row in step.rows(NamedRegions) for name in row.names}
    assert names == {"red thing", "blue thing", "green thing"}


def test_the_same_seed_gives_the_same_bytes(run_stage, tmp_path: Path) -> None:
    samples = world(tmp_path, 6)
    settings = TrainClipSettings(steps=2, batch=8)
    one, two = (run_stage(TrainClipStage(settings), samples, name=name) for name in ("one", "two"))
    for path in ("model/model.safetensors", "model/config.json", "log.jsonl", "scores.json"):
        assert (one.files / path).read_bytes() == (two.files / path).read_bytes()
    other = run_stage(TrainClipStage(settings), samples, name="other", seed=8)
    assert (one.files / "log.jsonl").read_bytes() != (other.files / "log.jsonl").read_bytes()


def test_no_more_crops_are_cut_than_allowed(run_stage, tmp_path: Path, caplog) -> None:
    caplog.set_level("INFO")
    settings = TrainClipSettings(steps=2, batch=8, max_crops=16)
    run_stage(TrainClipStage(settings), world(tmp_path, 6))
    assert "training on 2 of 5 images" in caplog.text


def test_one_name_is_not_enough_except_for_a_trial(run_stage, tmp_path: Path) -> None:
    samples = [sample for sample in world(tmp_path, 1) if sample.task == "reg"]
    with pytest.raises(DataError, match="two names"):
        run_stage(TrainClipStage(TINY), samples)
    step = run_stage(TrainClipStage(TINY), [], name="trial", limit=10)
    assert (step.files / "model" / "model.safetensors").is_file()


def test_missing_images_are_left_out(run_stage, tmp_path: Path, caplog) -> None:
    samples = world(tmp_path, 6)
    (tmp_path / "3.png").unlink()
    settings = TrainClipSettings(steps=2, batch=8, least=1)
    run_stage(TrainClipStage(settings), samples)
    assert "1 images could not be read" in caplog.text
