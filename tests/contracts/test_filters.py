"""What every filter owes: one verdict a sample, declared reasons, scores that are numbers."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from genixer.data import Box, ImageRef, Origin, Sample, Turn, escape_marks
from genixer.errors import ConfigError
from genixer.filters import FILTERS
from genixer.filters.leak_index import LeakIndexBuilder
from genixer.models.clip import ClipConfig, RegionClip

SETTINGS: dict[str, dict[str, object]] = {
    "rules": {},
    "judge": {"model": "any", "backend": "scripted"},
    "clip": {"model": "@clip"},
    "decontaminate": {"index": "@benchmarks.leaks"},
}
names = pytest.mark.parametrize("name", sorted(FILTERS))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    pixels = np.random.default_rng(3).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    with torch.random.fork_rng():
        torch.manual_seed(5)
        RegionClip(ClipConfig(words=("cat", "dog"), names=("cat", "dog"))).save(folder / "clip")
    (folder / "benchmarks.leaks").write_bytes(LeakIndexBuilder(13, 3).build())
    return folder


def build(name: str, images: Path):
    values = {
        key: str(images / value[1:]) if str(value).startswith("@") else value
        for key, value in SETTINGS[name].items()
    }
    return FILTERS.load(name)(FILTERS.settings(name, values))


def sample(question: str, answer: str, path: str = "a.png", box: Box | None = None) -> Sample:
    boxes = () if box is None else (box,)
    turns = Turn("user", question), Turn("assistant", "<box>" if boxes else answer, boxes)
    return Sample.of(
        "rec" if boxes else "common_vqa", ImageRef(path, 60, 40, "ab"), turns, Origin("t")
    )


words = st.text(min_size=1, max_size=30).map(escape_marks)
boxes = st.none() | st.builds(
    lambda x, y, w, h: Box(x, y, x + w, y + h), *[st.floats(0.0, 0.5)] * 4
)
samples = st.builds(sample, words, words, st.sampled_from(["a.png", "gone.png"]), boxes)


def test_every_filter_is_tried_here() -> None:
    assert set(SETTINGS) == set(FILTERS)


@names
def test_it_is_what_its_entry_says(name: str) -> None:
    kind = FILTERS.load(name)
    assert kind.name == name
    assert kind.reasons
    assert all(reason == reason.lower() and " " not in reason for reason in kind.reasons)
    assert kind.__doc__
    assert "score" in kind.__doc__.lower(), "the range of the score is documented"


@names
def test_every_sample_gets_a_verdict_with_a_declared_reason(name: str, images: Path) -> None:
    one = build(name, images)

    @settings(max_examples=25, suppress_health_check=list(HealthCheck))
    @given(st.lists(samples, max_size=6))
    def check(block: list[Sample]) -> None:
        verdicts = one.judge(block, images)
        assert len(verdicts) == len(block)
        for verdict in verdicts:
            assert verdict.keep == (verdict.reason == "")
            assert verdict.keep or verdict.reason in one.reasons
            assert verdict.score is None or 0.0 <= verdict.score <= 1.0

    check()


@names
def test_the_same_block_gives_the_same_verdicts(name: str, images: Path) -> None:
    block = [
        sample("Where is the cat?", "", box=Box(0.1, 0.1, 0.6, 0.7)),
        sample("What is it?", "a dog"),
        sample("Where is the dog?", "", "gone.png", Box(0.1, 0.1, 0.6, 0.7)),
    ]
    assert build(name, images).judge(block, images) == build(name, images).judge(block, images)


@names
def test_what_cannot_be_looked_at_does_not_pass_where_looking_is_needed(
    name: str, images: Path
) -> None:
    gone = sample("Where is the cat?", "", "gone.png", Box(0.1, 0.1, 0.6, 0.7))
    [verdict] = build(name, images).judge([gone], images)
    assert verdict.keep == (name == "rules")
    assert verdict.score is None or not math.isnan(verdict.score)


@names
def test_an_unknown_setting_is_refused_with_the_near_one(name: str) -> None:
    with pytest.raises(ConfigError, match="no setting 'thread'; did you mean threads"):
        FILTERS.settings(name, {**SETTINGS[name], "thread": 2})


@names
def test_settings_cannot_be_changed(name: str) -> None:
    one = FILTERS.settings(name, SETTINGS[name])
    with pytest.raises(ValidationError):
        one.threads = 3
