"""The region filter's verdicts, with a model that scores by name."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genixer.data import Box, ImageRef, Origin, Sample, Turn
from genixer.filters.clip import ClipFilter, ClipSettings
from genixer.models.clip import ClipConfig

SCORES = {"cat": 0.9, "dog": 0.2, "owl": float("nan")}
BOX = Box(0.1, 0.1, 0.6, 0.6)


class NameModel:
    """Knows three names and gives each one score."""

    config = ClipConfig()

    def __init__(self) -> None:
        self.calls = 0

    def knows(self, text: str) -> str:
        return next((name for name in SCORES if name in text), "")

    def probabilities(self, crops: np.ndarray, names: Sequence[str]) -> list[float]:
        assert crops.shape == (len(names), 3, 48, 48)
        self.calls += 1
        return [SCORES[name] for name in names]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    return tmp_path


def rec(name: str, path: str = "a.png") -> Sample:
    turns = Turn("user", f"Where is the {name}?"), Turn("assistant", "<box>", (BOX,))
    return Sample.of("rec", ImageRef(path, 60, 40, "ab"), turns, Origin("test"))


def caption(*names: str) -> Sample:
    text = ", ".join(f"{name} <box>" for name in names)
    turns = Turn("user", "List all."), Turn("assistant", text, (BOX,) * len(names))
    return Sample.of("dense_caption", ImageRef("a.png", 60, 40, "ab"), turns, Origin("test"))


def judge(images: Path, *samples: Sample, **settings: object) -> list[tuple[str, float | None]]:
    one = ClipFilter(ClipSettings(model="any", **settings), NameModel())
    return [(verdict.reason, verdict.score) for verdict in one.judge(samples, images)]


def test_scores_decide(images: Path) -> None:
    assert judge(images, rec("cat"), rec("dog")) == [("", 0.9), ("region_unlike_words", 0.2)]
    assert judge(images, rec("dog"), keep_above=0.1) == [("", 0.2)]


def test_the_worst_box_of_a_sample_counts(images: Path) -> None:
    assert judge(images, caption("cat", "dog")) == [("region_unlike_words", 0.2)]


def test_rows_without_a_box_pass_without_a_score(images: Path) -> None:
    turns = Turn("user", "What is it?"), Turn("assistant", "a dog")
    plain = Sample.of("common_vqa", ImageRef("gone.png", 6, 4, "ab"), turns, Origin("test"))
    assert judge(images, plain) == [("", None)]


def test_words_it_never_saw_are_refused_unless_told_otherwise(images: Path) -> None:
    assert judge(images, rec("zebra")) == [("words_unknown", None)]
    assert judge(images, caption("cat", "zebra")) == [("words_unknown", None)]
    assert judge(images, rec("zebra"), keep_unknown=True) == [("", None)]


def test_an_unreadable_image_and_nan_never_pass(images: Path) -> None:
    found = judge(images, rec("cat", "gone.png"), rec("owl"), rec("cat"), keep_above=0.0)
    assert found == [("clip_failed", None), ("clip_failed", None), ("", 0.9)]


def test_a_block_is_one_call(images: Path) -> None:
    model = NameModel()
    ClipFilter(ClipSettings(model="any"), model).judge([rec("cat")] * 5, images)
    assert model.calls == 1


def test_an_empty_block_needs_no_model(images: Path) -> None:
    assert ClipFilter(ClipSettings(model="no such model")).judge([], images) == []
