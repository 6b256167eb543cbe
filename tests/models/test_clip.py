"""The region model: crops, names, scores, files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from genixer.data import Box
from genixer.errors import ConfigError
from genixer.models.clip import NOTHING, ClipConfig, RegionClip, compatible, crop, load, seen_words

CONFIG = ClipConfig(
    words=("blue", "book", "dog", "red"), names=("blue book", "book", "dog", "red book")
)


@pytest.fixture
def model() -> RegionClip:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return RegionClip(CONFIG).eval()


def crops(count: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (count, 3, 48, 48), dtype=np.uint8)


def test_words_a_crop_cannot_show_are_left_out() -> None:
    assert seen_words("the left dog, in front of the red book") == ("book", "dog", "red")


@given(
    st.sampled_from(["book", "red book", "dog", NOTHING]),
    st.sampled_from(["book", "red book", "blue book"]),
)
def test_being_right_together_goes_both_ways(one: str, other: str) -> None:
    assert compatible(one, other) == compatible(other, one)


def test_nothing_is_never_right_together_with_a_name() -> None:
    assert not compatible(NOTHING, "book")


def test_the_box_fills_the_same_part_of_every_crop() -> None:
    image = Image.new("RGB", (200, 100), (10, 10, 10))
    image.paste((250, 0, 0), (40, 20, 80, 80))
    pixels = crop(image, Box(0.2, 0.2, 0.4, 0.8), 48, 0.25)
    red = pixels[0] > 130
    # A quarter of the box on each side: the box is the middle two thirds, pixels 8 to 40.
    assert (np.flatnonzero(red.any(0))[[0, -1]] == [8, 39]).all()
    assert (np.flatnonzero(red.any(1))[[0, -1]] == [8, 39]).all()


def test_a_crop_beyond_the_picture_is_black_there() -> None:
    image = Image.new("RGB", (20, 20), (255, 255, 255))
    pixels = crop(image, Box(0.0, 0.0, 0.5, 0.5), 48, 0.5)
    assert pixels[:, 2, :].max() == 0
    assert pixels[:, 24, 24].min() == 255


@given(
    st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0),
    st.integers(1, 40), st.integers(1, 40),
)  # fmt: skip
def test_any_box_of_any_image_can_be_cut(
    a: float, b: float, c: float, d: float, width: int, height: int
) -> None:
    box = Box(min(a, b), min(c, d), max(a, b), max(c, d))
    assert crop(Image.new("RGB", (width, height)), box, 48, 0.25).shape == (3, 48, 48)


def test_scores_are_probabilities(model: RegionClip) -> None:
    scores = model.probabilities(crops(4), ["dog", "book", "red book", "blue book"])
    assert all(0.0 <= score <= 1.0 for score in scores)


def test_names_that_can_both_be_right_do_not_compete(model: RegionClip) -> None:
    pixels, names = crops(1), [NOTHING, *CONFIG.names]
    with torch.no_grad():
        vectors = model.embed_crops(torch.from_numpy(pixels).float()) @ model.embed_names(names).T
        weight = dict(zip(names, (vectors[0] * model.scale.exp()).exp().tolist(), strict=True))
    rivals = {
        "book": ("book", "dog", NOTHING),
        "red book": ("red book", "blue book", "dog", NOTHING),
        "dog": names,
    }
    for name, many in rivals.items():
        expected = weight[name] / sum(weight[one] for one in many)
        assert model.probabilities(pixels, [name])[0] == pytest.approx(expected, rel=1e-4)


def test_a_score_does_not_depend_on_the_others_in_the_call(model: RegionClip) -> None:
    pixels, names = crops(3), ["dog", "book", "red book"]
    together = model.probabilities(pixels, names)
    alone = [model.probabilities(pixels[i : i + 1], names[i : i + 1])[0] for i in range(3)]
    assert together == pytest.approx(alone, abs=1e-5)


def test_no_crops_have_no_scores(model: RegionClip) -> None:
    assert model.probabilities(crops(0), []) == []


def test_only_known_words_are_left_of_an_expression(model: RegionClip) -> None:
    assert model.knows("The shiny red book on the left") == "book red"
    assert model.knows("a zebra") == ""


def test_a_saved_model_comes_back_the_same(model: RegionClip, tmp_path: Path) -> None:
    model.save(tmp_path / "clip")
    again = load(str(tmp_path / "clip"))
    assert again.config == CONFIG
    assert again.probabilities(crops(2), ["dog", "book"]) == model.probabilities(
        crops(2), ["dog", "book"]
    )


def test_a_folder_with_another_kind_of_model_is_refused(model: RegionClip, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model at"):
        load(str(tmp_path))
    model.save(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(ConfigError, match="holds no region model"):
        load(str(tmp_path))


def test_it_is_small() -> None:
    assert sum(p.numel() for p in RegionClip(CONFIG).parameters()) < 400_000
