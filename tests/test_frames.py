import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from genixer.data import Box
from genixer.errors import ConfigError
from genixer.frames import (
    FRAMES,
    box_from_frame,
    box_to_frame,
    check_frame,
    describe_frame,
    resized_size,
)

sides = st.integers(1, 4000)
fractions = st.floats(0.0, 1.0)


@given(sides, sides, st.sampled_from([14, 28, 32]), st.integers(1, 4), st.integers(4, 20_000))
def test_a_resized_image_has_the_size_that_the_library_gives_it(
    width: int, height: int, factor: int, least: int, most: int
) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    if max(width, height) / min(width, height) > 200:
        return
    area = factor * factor
    theirs = smart_resize(height, width, factor, least * area, most * area)
    assert resized_size(width, height, factor, least * area, most * area) == theirs[::-1]


@pytest.mark.parametrize("size", [(640, 480), (31, 500), (28, 28), (3000, 1700)])
def test_the_frame_is_that_of_the_pixels_the_model_gets(size: tuple[int, int]) -> None:
    from transformers import Qwen2VLImageProcessorPil

    processor = Qwen2VLImageProcessorPil(size={"shortest_edge": 3136, "longest_edge": 200_704})
    image = Image.fromarray(np.zeros((*size[::-1], 3), np.uint8))
    _, rows, columns = processor(images=[image], return_tensors="pt")["image_grid_thw"][0].tolist()
    whole = box_to_frame(Box(0.0, 0.0, 1.0, 1.0), "resized_28_3136_200704", *size)
    assert whole == (0.0, 0.0, columns * 14, rows * 14)


@given(sides, sides, st.tuples(fractions, fractions, fractions, fractions))
def test_boxes_come_back_from_a_resized_image(
    width: int, height: int, numbers: tuple[float, float, float, float]
) -> None:
    (x0, x1), (y0, y1) = sorted(numbers[:2]), sorted(numbers[2:])
    box = Box(x0, y0, x1, y1)
    framed = box_to_frame(box, "resized_28_3136_1003520", width, height)
    back = box_from_frame(framed, "resized_28_3136_1003520", width, height, slack=1e-9)
    for one, other in zip((back.x0, back.y0, back.x1, back.y1), (x0, y0, x1, y1),
                          strict=True):  # fmt: skip
        assert one == pytest.approx(other, abs=1e-12)


def test_every_frame_is_described() -> None:
    for name in (*FRAMES, "resized_32_65536_16777216"):
        assert describe_frame(check_frame(name))


@pytest.mark.parametrize(
    "name", ["", "units", "resized", "resized_28_3136", "resized_0_1_2", "resized_28_3136_9x"]
)
def test_other_words_are_no_frame(name: str) -> None:
    with pytest.raises(ConfigError, match="no frame is called"):
        check_frame(name)
