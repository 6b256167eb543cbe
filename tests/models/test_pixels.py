from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from genixer.models.base import Preset, load_preset
from genixer.models.pixels import Pixels
from genixer.store.images import ImageError, open_image

LLAVA = load_preset("llava_1_5_7b")
SIDE = 28
SMALL = LLAVA.model_copy(update={"image_side_px": SIDE})


def reference(image: Image.Image, side: int) -> np.ndarray:
    """Pad to a square with the mean colour, then the stock processor: how LLaVA-1.5 was trained."""
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    longer = max(image.size)
    colour = tuple(int(mean * 255) for mean in processor.image_mean)
    square = Image.new("RGB", (longer, longer), colour)
    square.paste(image, ((longer - image.width) // 2, (longer - image.height) // 2))
    return processor(square, return_tensors="np")["pixel_values"]


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 3))
def test_exact_is_the_stock_processor_bit_for_bit(width, height, seed):
    image = noise(width, height, seed)
    found = Pixels(SMALL).tensor([Pixels(SMALL).square(image)]).numpy()
    expected = reference(image, SIDE)
    assert found.dtype == expected.dtype == np.float32
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (2048, 1151), (336, 200), (150, 99)])
def test_exact_is_exact_at_full_size(size):
    image = noise(*size)
    pixels = Pixels(LLAVA)
    assert (
        pixels.tensor([pixels.square(image)]).numpy().tobytes() == reference(image, 336).tobytes()
    )


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_mode_is_what_open_image_makes_of_it(tmp_path, mode):
    noise(40, 30).convert(mode).save(tmp_path / "a.tif")
    found = Pixels(SMALL)
    expected = reference(open_image(tmp_path, "a.tif"), SIDE)
    assert found.tensor([found.read(tmp_path, "a.tif")]).numpy().tobytes() == expected.tobytes()


def test_the_tiny_preset_keeps_its_arithmetic():
    preset = load_preset("tiny")
    levels = torch.arange(256, dtype=torch.uint8)
    mean = torch.tensor(preset.mean) * 255
    std = torch.tensor(preset.std) * 255
    square = levels.numpy().repeat(64).reshape(128, 128, 1).repeat(3, axis=2)
    found = Pixels(preset).tensor([square])
    expected = (torch.from_numpy(square).float() - mean) / std
    assert torch.equal(found[0], expected.permute(2, 0, 1))


def fast(preset: Preset) -> Pixels:
    return Pixels(preset.model_copy(update={"pixels": "fast"}))


def photo(folder: Path, width: int, height: int) -> str:
    """Smooth, as photographs are; noise would say nothing about resizing."""
    small = noise(9, 7).resize((width, height), Image.Resampling.BICUBIC)
    small.save(folder / "a.jpg", quality=90)
    return "a.jpg"


@pytest.mark.parametrize("size", [(640, 480), (300, 1200), (2048, 1536), (336, 336), (5, 900)])
def test_fast_is_nearly_the_same(tmp_path, size):
    path = photo(tmp_path, *size)
    exact, near = Pixels(LLAVA), fast(LLAVA)
    one = exact.tensor([exact.read(tmp_path, path)])
    two = near.tensor([near.read(tmp_path, path)])
    assert one.shape == two.shape == (1, 3, 336, 336)
    assert (one - two).abs().mean() < 0.03


def test_fast_decodes_a_large_jpeg_at_a_fraction_of_its_size(tmp_path):
    path = photo(tmp_path, 2048, 1536)
    assert open_image(tmp_path, path, shrink_to=336).size == (512, 384)
    assert open_image(tmp_path, path, shrink_to=513).size == (1024, 768)
    assert open_image(tmp_path, path).size == (2048, 1536)


def test_fast_turns_a_picture_upright(tmp_path):
    image = Image.new("RGB", (800, 400), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    square = fast(SMALL).read(tmp_path, "a.jpg")
    assert (square[:, 0] == np.array(SMALL.pad_colour)).all()
    assert square[SIDE // 2, SIDE // 2, 0] > 200


def test_a_broken_file_is_refused(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff nonsense")
    for pixels in (Pixels(SMALL), fast(SMALL)):
        with pytest.raises(ImageError, match="corrupt_image"):
            pixels.read(tmp_path, "a.jpg")
