"""A checkpoint brings back every bit; a torn one is passed over; bad steps spoil nothing."""

import errno
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from genixer.data import ImageRef, Message, SftRow
from genixer.errors import BadLossError, StoreError
from genixer.models.base import load_preset
from genixer.models.llava import LoadedModel, create
from genixer.models.tokenizer import train_tokenizer
from genixer.training import checkpoint
from genixer.training.adapters import add_adapters
from genixer.training.batch import encode, group
from genixer.training.checkpoint import Checkpoints
from genixer.training.gradients import LossScale
from genixer.training.llava import LlavaLesson
from genixer.training.order import order_of
from genixer.training.parallel import Together
from genixer.training.run import train
from genixer.training.schedule import Schedule

SMALL = str(Path(__file__).parent.parent / "fixtures" / "models" / "small.yaml")
WORDS = train_tokenizer(["How many dogs are there? 2", "Is it red? no yes"] * 4, 800, 2)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number in range(4):
        noise = np.random.Generator(np.random.PCG64(number)).integers(0, 255, (24, 40, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
    return tmp_path


def by_image(model: LoadedModel) -> dict:
    found = []
    for number in range(12):
        ref = ImageRef(f"{number % 4}.png", 40, 24, str(number % 4)) if number % 5 else None
        messages = (Message("user", f"How many {number}?"), Message("assistant", "2"))
        row = SftRow(f"r{number}", "s", "common_vqa", "student", ref, messages,
                     frame="padded_square", decimals=2)  # fmt: skip
        found.append((ref, encode(row, model)))
    return group(found)


class Halt(Exception):  # noqa: N818
    """Stands for a kill."""


def go(pictures: Path, work: Path, schedule: Schedule, halt_at: int = 0) -> tuple[dict, list]:
    """Weights and log of a training that is halted, or goes on, in `work`."""
    model = create(load_preset(SMALL), WORDS, seed=1)
    lesson, lines = LlavaLesson(model, schedule, pictures), []
    if schedule.trainable == "lora":
        add_adapters(lesson, schedule, 5)
    order = order_of(by_image(model), schedule, 3, lesson.room())

    def note(line: dict[str, Any]) -> None:
        lines.append({k: line[k] for k in ("step", "loss", "tokens")})
        if line["step"] == halt_at:
            raise Halt

    checkpoints = Checkpoints(work, schedule.keep, Together())
    try:
        train(lesson, order, schedule, 3, note, checkpoints=checkpoints)
    except Halt:
        return {}, []
    return {n: t.clone() for n, t in model.model.state_dict().items()}, lines


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"precision": "fp16"},
        {"precision": "bf16", "accumulate": 2},
        {"optimiser": "muon", "lanes": 2, "tower_lr": 1e-3},
        {"trainable": "lora", "lora_rank": 2, "lora_dropout": 0.3},
        {"trainable": "projector"},
        {"order": "packed", "max_tokens": 64, "gradient_checkpointing": True},
        {"order": "grouped", "loaders": 2},
    ],
    ids=str,
)
def test_training_that_goes_on_ends_with_the_bits_of_one_go(pictures, tmp_path, how):
    schedule = Schedule(steps=9, images_per_step=4, lr=3e-3, save_every=3, **how)
    weights, lines = go(pictures, tmp_path / "one", schedule)
    # Halted before the first checkpoint, right after one, and between two.
    for halt in (2, 4, 8):
        go(pictures, tmp_path / "two", schedule, halt)
    again, more = go(pictures, tmp_path / "two", schedule)
    assert more == lines
    assert [name for name in weights if not torch.equal(weights[name], again[name])] == []


def saved(folder: Path, steps: int) -> Checkpoints:
    checkpoints = Checkpoints(folder, 2, Together())
    for step in range(1, steps + 1):
        checkpoints.save(step, {"a": torch.full((3,), float(step))}, {"note": step})
    return checkpoints


def test_only_the_newest_are_kept(tmp_path):
    assert saved(tmp_path, 5).latest().step == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000004", "step-00000005"]


@pytest.mark.parametrize("name", ["rank-0.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["torn", "gone", "flipped"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, name, damage):
    checkpoints = saved(tmp_path, 3)
    path = tmp_path / "step-00000003" / name
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "torn":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.write_bytes(bytes([data[0] ^ 64]) + data[1:])
    found = checkpoints.latest()
    assert (found.step, found.tensors["a"].tolist()) == (2, [2.0] * 3)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    checkpoints = saved(tmp_path, 2)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(StoreError, match="at least 12 bytes are needed"):
        checkpoints.save(3, {"a": torch.zeros(3)}, {})
    assert checkpoints.latest().step == 2


def test_another_number_of_processes_is_refused(tmp_path):
    checkpoints = saved(tmp_path, 1)
    checkpoints._together.world = 2
    checkpoints._together.gather = lambda one: [one]
    with pytest.raises(StoreError, match="written by 1 processes, now there are 2"):
        checkpoints.latest()


def test_another_number_of_processes_is_refused_by_one_without_a_file(tmp_path):
    """With weights cut among four where two wrote, half of the processes find no file of theirs."""
    checkpoints = saved(tmp_path, 1)
    checkpoints._together.world, checkpoints._file = 4, "rank-3.safetensors"
    checkpoints._together.gather = lambda one: [one]
    with pytest.raises(StoreError, match="written by 1 processes, now there are 4"):
        checkpoints.latest()


def test_a_bad_step_names_every_row_of_its_batch(pictures, tmp_path, monkeypatch):
    usual = LlavaLesson.loss
    monkeypatch.setattr(
        LlavaLesson, "loss", lambda self, batch: (usual(self, batch)[0] * float("nan"), 1.0)
    )
    schedule = Schedule(epochs=1, order="grouped", images_per_step=12)
    with pytest.raises(BadLossError) as caught:
        go(pictures, tmp_path / "work", schedule)
    named = set(re.findall(r"r\d+", str(caught.value)))
    assert len(named) > 8
    assert "..." not in str(caught.value)


def test_half_precision_that_overflows_at_every_step_stops(pictures, tmp_path, monkeypatch):
    usual = LlavaLesson.loss

    def worse(self, batch):
        total, weight = usual(self, batch)
        return total + (self.network.lm_head.weight.sum() * 0).sqrt(), weight

    monkeypatch.setattr(LlavaLesson, "loss", worse)
    with pytest.raises(BadLossError, match="gradients overflow whatever the loss is scaled by"):
        go(pictures, tmp_path / "work", Schedule(steps=80, images_per_step=2, precision="fp16"))


@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_a_bad_step_stops_before_the_weights_and_keeps_the_last_checkpoint(
    pictures, tmp_path, monkeypatch, bad
):
    schedule = Schedule(steps=9, images_per_step=4, save_every=2)
    usual, calls = LlavaLesson.loss, []

    def worse(self, batch):
        calls.append({n: p.detach().clone() for n, p in self.network.named_parameters()})
        self.seen = batch.row_ids
        total, weight = usual(self, batch)
        if len(calls) != 6:
            return total, weight
        if bad == "loss":
            return total * float("nan"), weight
        # A root has no slope at 0.
        return total + (self.network.lm_head.weight.sum() * 0).sqrt(), weight

    monkeypatch.setattr(LlavaLesson, "loss", worse)
    with pytest.raises(BadLossError, match=r"step 6: .* nan; rows of the batch: r\d+") as caught:
        go(pictures, tmp_path / "work", schedule)
    assert "the weights did not move" in str(caught.value)
    found = Checkpoints(tmp_path / "work", 2, Together()).latest()
    assert found.step == 4
    monkeypatch.setattr(LlavaLesson, "loss", usual)
    weights, _ = go(pictures, tmp_path / "work", schedule)
    expected, _ = go(pictures, tmp_path / "other", schedule)
    assert all(torch.equal(weights[name], expected[name]) for name in weights)


def test_loss_scale_halves_on_overflow_and_doubles_after_patience():
    scale = LossScale(8.0)
    assert not scale.bears(float("nan"))
    assert scale.value == 4.0
    assert all(scale.bears(1.0) for _ in range(LossScale.patience))
    assert (scale.value, scale.good) == (8.0, 0)


def test_batches_made_ahead_change_nothing(pictures, tmp_path):
    weights = [
        go(pictures, tmp_path / str(loaders), Schedule(steps=6, images_per_step=4, loaders=loaders))
        for loaders in (0, 3)
    ]
    assert weights[0][1] == weights[1][1]
    assert all(torch.equal(weights[0][0][name], weights[1][0][name]) for name in weights[0][0])
