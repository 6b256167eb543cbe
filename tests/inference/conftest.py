from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genixer.data import ImageRef, Request, Sampling
from genixer.models.base import load_preset
from genixer.models.llava import LoadedModel, create
from genixer.models.tokenizer import train_tokenizer

PRESET = Path(__file__).parent.parent / "fixtures" / "models" / "small.yaml"
WORDS = ["Where is the red book? Ask about the image. Yes No", "[0.10,0.20,0.30,0.40]"] * 3


@pytest.fixture(scope="session")
def model() -> LoadedModel:
    """Random weights, far apart enough that no two tokens are equally likely."""
    import torch

    made = create(load_preset(str(PRESET)), train_tokenizer(WORDS, 800, 2), seed=3)
    with torch.no_grad():
        made.model.lm_head.weight.mul_(40.0)
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with one image, `a.png`."""
    from PIL import Image

    Image.new("RGB", (40, 30), (10, 90, 200)).save(tmp_path / "a.png")
    return tmp_path


@pytest.fixture
def pictures(tmp_path: Path) -> list[ImageRef]:
    """Four images of noise, of which the last is no image at all."""
    from PIL import Image

    refs = []
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 255, (20, 31, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
        refs.append(ImageRef(f"{number}.png", 31, 20, f"{number:02x}"))
    (tmp_path / "3.png").write_bytes(b"not a picture")
    return refs


@pytest.fixture
def ask() -> Callable[..., list[Request]]:
    """`ask(pictures, count, **sampling)`: prompts of several lengths, two about each image."""

    def requests(pictures: list[ImageRef], count: int, **sampling: float) -> list[Request]:
        return [
            Request.of(
                pictures[number // 2 % len(pictures)],
                "",
                "agnostic",
                number,
                "Ask about the image." + " red" * (number % 3),
                Sampling(**{"max_new_tokens": 5 + number % 4, "seed": number, **sampling}),
            )
            for number in range(count)
        ]

    return requests
