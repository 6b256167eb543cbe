"""Cells show what lies over their centres, and are told its name and its corners."""

import pytest
import torch

from genixer.data import Box, ImageRef
from genixer.models.base import load_preset
from genixer.models.llava import LoadedModel, create
from genixer.models.tokenizer import train_tokenizer
from genixer.training.cells import cells_of, covered_by
from genixer.training.spread import spread_of

WORDS = train_tokenizer(["the red book and the dog [0.10,0.20,0.30,0.40]"] * 4, 800, 2)
SQUARE, WIDE = ImageRef("a.png", 100, 100, "a"), ImageRef("b.png", 100, 50, "b")


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    tiny = load_preset("tiny")
    shape = {
        "image_side_px": 64,
        "image_tokens": 16,
        "vision": {"image_size": 64, "widths": [4, 4, 4, 4], "hidden_size": 8},
        "text": {**tiny.text, "hidden_size": 12, "intermediate_size": 12, "num_hidden_layers": 1},
    }
    return create(tiny.model_copy(update=shape), WORDS, 1)


def test_a_cell_shows_what_lies_over_its_centre(model):
    regions = [("dog", Box(0.0, 0.0, 0.5, 0.25)), ("red book", Box(0.7, 0.6, 1.0, 1.0))]
    assert covered_by(model, SQUARE, regions).view(4, 4).tolist() == [
        [0, 0, -1, -1],
        [-1, -1, -1, -1],
        [-1, -1, -1, 1],
        [-1, -1, -1, 1],
    ]


def test_cells_are_those_of_the_padded_square(model):
    everything = [("dog", Box(0.0, 0.0, 1.0, 1.0))]
    assert covered_by(model, WIDE, everything).view(4, 4).tolist() == [
        [-1] * 4,
        [0] * 4,
        [0] * 4,
        [-1] * 4,
    ]


def test_half_a_cell_is_its_name_and_half_its_corners(model):
    box = Box(0.1, 0.2, 0.3, 0.4)
    cells = cells_of(model, [(SQUARE, ()), (SQUARE, [("red book", box), ("dog", box)])])
    assert cells.region.shape == (2, 16)
    assert sorted(set(cells.region.flatten().tolist())) == [-1, 1]
    assert torch.allclose(cells.weights.sum(1), torch.ones(2))
    for ids, weights, name in zip(cells.ids, cells.weights, ("red book", "dog"), strict=True):
        words = model.encode_text(name)
        said = model.tokenizer.convert_ids_to_tokens(ids[weights > 0].tolist())
        assert said[len(words) :] == ["[0.10,", "0.20,", "0.30,", "0.40]"]
        assert ids[: len(words)].tolist() == words
        assert float(weights[: len(words)].sum()) == pytest.approx(0.5)


def test_loss_is_least_for_what_is_shown(model):
    cells = cells_of(model, [(SQUARE, [("dog", Box(0.0, 0.0, 0.5, 0.5))])])
    spread = spread_of(model, 0.0)
    number = int((cells.region >= 0).sum())
    told = torch.full((number, len(model.tokenizer)), -20.0)
    told[:, cells.ids[0][cells.weights[0] > 0]] = cells.weights[0][cells.weights[0] > 0].log()
    best = float(cells.loss(told, spread))
    even = float(cells.loss(torch.zeros_like(told), spread))
    least = -float(torch.xlogy(cells.weights, cells.weights).sum()) * number
    assert best == pytest.approx(least, rel=1e-3)
    assert even > 2 * best


def test_pictures_without_regions_have_no_cells(model):
    assert cells_of(model, [(SQUARE, ())]) is None
