"""Two processes find the losses and gradients that one finds, unrounded."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from told_losses import SMALL, tell

from genixer.errors import GenixerError, IncompleteError
from genixer.training.launch import launch

STEPS = {"steps": 8, "images_per_step": 4, "lr": 1e-3, "tower_lr": 1e-3, "save_every": 0}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 255, (24, 40, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    return folder


def told(
    pictures: Path, processes: int, parallel: str, preset: str = SMALL, **more: Any
) -> list[dict[str, Any]]:
    schedule = {**STEPS, **more}
    job = {
        "preset": preset,
        "pictures": str(pictures),
        "schedule": schedule,
        "parallel": parallel,
    }
    lines: list[dict[str, Any]] = []
    if processes == 1:
        tell(job, lines.append)
    else:
        launch("told_losses:tell", job, processes, 1, lines.append, pictures)
    return lines


@pytest.mark.parametrize(
    ("parallel", "more"),
    [
        ("ddp", {}),
        ("ddp", {"accumulate": 2, "order": "packed", "epochs": 4}),
        ("zero2", {}),
        ("zero3", {"accumulate": 2}),
        # A stock tower has weights that no image reaches, and two of the rows have no image.
        ("zero3", {"preset": "tiny_llava"}),
    ],
)
def test_losses_of_two_processes_are_those_of_one(pictures: Path, parallel: str, more: dict):
    one = told(pictures, 1, "ddp", **more | {"accumulate": 1})
    two = told(pictures, 2, parallel, **more)
    assert [line["tokens"] for line in two] == [line["tokens"] for line in one]
    assert [line["loss"] for line in two] == pytest.approx(
        [line["loss"] for line in one], abs=1e-5, rel=0
    )
    assert len(one) >= 8
    assert abs(one[-1]["loss"] - one[0]["loss"]) > 0.01
    first, cut = one[0]["gradients"], two[0]["gradients"]
    assert first.keys() == cut.keys()
    for name, gradient in first.items():
        np.testing.assert_allclose(cut[name], gradient, atol=1e-5, rtol=0)
    assert max(float(abs(gradient).max()) for gradient in first.values()) > 0.1


def test_what_happened_to_a_process_is_told_and_not_that_others_lost_it(pictures: Path):
    with pytest.raises(GenixerError, match=r"process 1: .*disk on fire"):
        launch("told_losses:fail_in_the_second", "disk on fire", 2, 1, print, pictures)
    with pytest.raises(IncompleteError, match="process 1 of 2: it was killed by SIGKILL"):
        launch("told_losses:fail_in_the_second", "", 2, 1, print, pictures)
