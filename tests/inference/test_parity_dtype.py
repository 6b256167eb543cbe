"""What the number format of the weights changes, seen through the parity gate."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_vlms import FAMILIES, PRESETS

from genixer.data import Generation, ImageRef, Request, Sampling
from genixer.errors import ParityError
from genixer.inference.parity import Compared, ParityBar, compare, report_on
from genixer.inference.vlm import VlmBackend, VlmSettings


def said(folder: Path, images: Path, dtype: str) -> list[Generation]:
    """Greedy answers of the model in `folder`, computed in `dtype`, to eight requests."""
    backend = VlmBackend(str(folder), 1, VlmSettings(preset=PRESETS["llava"], dtype=dtype))
    canvas = backend.canvas(40, 30)
    requests = []
    for number in range(8):
        image = ImageRef(f"{number % 2}.png", 40, 30, f"{number % 2:02x}")
        words = "Where is it? " * (number + 1)
        requests.append(Request.of(image, "common_vqa", "specific", number, words, Sampling(12)))
    return [
        Generation(asked.id, asked, one, canvas.frame, canvas.decimals)
        for asked, one in zip(requests, backend.generate(requests, images), strict=True)
    ]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Compared]]:
    """Answers in float32 beside those of another load of the model, by its number format."""
    folder = tmp_path_factory.mktemp("model")
    FAMILIES["llava"](folder)
    images = tmp_path_factory.mktemp("images")
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 255, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(images / f"{number}.png")
    whole = said(folder, images, "float32")
    return {
        dtype: [compare(*pair) for pair in zip(whole, said(folder, images, dtype), strict=True)]
        for dtype in ("float32", "bfloat16")
    }


def test_the_same_number_format_differs_in_nothing(rows: dict[str, list[Compared]]) -> None:
    report = report_on(rows["float32"], ParityBar(same_text=1.0, logprob_gap=0.0))
    assert report.passed
    assert (report.same_text, report.logprob_gap) == (1.0, 0.0)


def test_half_precision_is_measured_and_held_to_the_bar(rows: dict[str, list[Compared]]) -> None:
    found = report_on(rows["bfloat16"], ParityBar(same_text=0.0, logprob_gap=10.0))
    assert found.passed
    gap = found.logprob_gap
    assert gap is not None
    assert gap > 0.0
    assert found.tokens > 0
    at_it = ParityBar(same_text=found.same_text, logprob_gap=gap)
    report_on(rows["bfloat16"], at_it).check()
    below = at_it.model_copy(update={"logprob_gap": gap * 0.99})
    with pytest.raises(ParityError, match="median difference of log-probabilities"):
        report_on(rows["bfloat16"], below).check()
