"""How the region model is taught: which names compete, what is varied, what is examined."""

import numpy as np
import pytest
import torch

from genixer.models.clip import NOTHING, ClipConfig, RegionClip, compatible
from genixer.training.clip import (
    ClipSchedule,
    _loss,
    _other_ground,
    _turned,
    examine,
    train_clip,
    vocabulary,
)
from genixer.training.crops import Crops

NAMES = ("blue book", "book", "dog", "red book")
CONFIG = ClipConfig(side_px=32, words=("blue", "book", "dog", "red"), names=NAMES)
SHADES = {"dog": (200, 150, 90), "red book": (220, 30, 30), "blue book": (30, 40, 220)}


def crops(count: int) -> Crops:
    """Squares of one colour for a name, stripes for nothing."""
    rng = np.random.default_rng(5)
    pixels, labels = [], []
    for number in range(count):
        name = list(SHADES)[number % 3]
        good = np.full((3, 32, 32), 120, np.uint8)
        good[:, 6:26, 6:26] = np.array(SHADES[name])[:, None, None]
        bad = good.copy()
        bad[:, :, 12:] = 120
        for one, label in ((good, NAMES.index(name) + 1), (bad, 0)):
            pixels.append(one + rng.integers(0, 20, one.shape, dtype=np.uint8))
            labels.append(label)
    return Crops(torch.from_numpy(np.stack(pixels)), torch.tensor(labels), 0)


@pytest.fixture
def model() -> RegionClip:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return RegionClip(CONFIG).train()


def test_rare_names_and_those_beyond_the_limit_are_not_learned() -> None:
    often = {"red book": 5, "dog": 9, "owl": 1, "cup": 3, "": 8}
    assert vocabulary(often, least=2, most=2) == (("book", "dog", "red"), ("dog", "red book"))


def loss(model: RegionClip, labels: list[int], shared: bool = True) -> float:
    names = [NOTHING, *NAMES]
    both = torch.tensor([[shared and compatible(a, b) and a != b for b in names] for a in names])
    pixels = torch.rand(len(labels), 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 255
    return float(_loss(model, pixels, torch.tensor(labels), names, both).detach())


def test_names_that_can_both_be_right_do_not_count_against_each_other(model: RegionClip) -> None:
    red_book, book = NAMES.index("red book") + 1, NAMES.index("book") + 1
    labels = [red_book, book, 0, 0]
    assert loss(model, labels) < loss(model, labels, shared=False)


def test_crops_of_one_name_are_all_right_for_it(model: RegionClip) -> None:
    names = [NOTHING, *NAMES]
    pixels = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 255
    none = torch.zeros(5, 5, dtype=torch.bool)
    with torch.no_grad():
        found = _loss(model, pixels, torch.tensor([3, 3, 3]), names, none)
        logits = model.embed_crops(pixels) @ model.embed_names(names).T * model.scale.exp()
    # From name to crop there is no wrong crop to tell them from: only the other way counts.
    assert float(found) == pytest.approx(float(-logits.log_softmax(-1)[:, 3].mean()), abs=1e-4)


def test_repainting_touches_only_what_looks_like_the_rim() -> None:
    values = torch.full((64, 3, 32, 32), 120.0)
    values[:, 0, 10:22, 10:22] = 255.0
    found = _other_ground(values, torch.Generator().manual_seed(4))
    assert (found[:, :, 10:22, 10:22] == values[:, :, 10:22, 10:22]).all()
    repainted = (found[:, :, 0, 0] != 120.0).any(1).float().mean()
    assert 0.4 < repainted < 0.8


def test_turning_keeps_the_middle() -> None:
    values = torch.zeros(8, 3, 33, 33)
    values[:, :, 14:19, 14:19] = 200.0
    found = _turned(values, torch.Generator().manual_seed(4))
    assert (found[:, :, 16, 16] > 199.0).all()
    assert found.shape == values.shape


def test_it_learns_what_it_is_examined_in() -> None:
    lines: list[dict] = []
    schedule = ClipSchedule(steps=30, batch=24, lr=5e-3)
    trained = train_clip(crops(30), CONFIG, schedule, 7, lines.append)
    assert lines[-1]["loss"] < lines[0]["loss"]
    found = examine(trained, crops(9), 7)
    assert found["names_region"][1] == found["refuses_misplaced"][1] == 9
    assert sum(right for right, _ in found.values()) >= 30


def test_without_crops_the_weights_are_random_and_nothing_is_logged() -> None:
    none = Crops(torch.empty(0, 3, 32, 32, dtype=torch.uint8), torch.empty(0, dtype=torch.long), 0)
    lines: list[dict] = []
    train_clip(none, CONFIG, ClipSchedule(steps=3), 7, lines.append)
    assert lines == []
