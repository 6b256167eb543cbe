from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from genixer.models import pixels
from genixer.models.base import Preset, load_preset, shipped_presets
from genixer.store.images import ImageError, open_image

LLAVA = load_preset("llava_1_5_7b").model_copy(update={"image_side_px": 42})
FAST = LLAVA.model_copy(update={"pixels": "fast"})
SIDES = st.integers(1, 130)


def noise(width: int, height: int, seed: int = 0, mode: str = "RGB") -> Image.Image:
    depth = {"RGB": (3,), "L": (), "RGBA": (4,)}[mode]
    values = np.random.default_rng(seed).integers(0, 256, (height, width, *depth), dtype=np.uint8)
    return Image.fromarray(values, mode)


def smooth(width: int, height: int) -> Image.Image:
    return noise(6, 5).resize((width, height), Image.Resampling.BICUBIC)


def processed(image: Image.Image, preset: Preset) -> np.ndarray:
    """Float32 [1, 3, S, S] by the library, from a square made as LLaVA makes it."""
    longer = max(image.size)
    padded = Image.new("RGB", (longer, longer), preset.pad_colour)
    padded.paste(image, ((longer - image.width) // 2, (longer - image.height) // 2))
    side = preset.image_side_px
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_mean=list(preset.mean),
        image_std=list(preset.std),
    )
    found: np.ndarray = processor(padded, return_tensors="np")["pixel_values"]
    return found


@given(SIDES, SIDES, st.integers(0, 99))
def test_exact_pixels_are_the_processors_bit_by_bit(width: int, height: int, seed: int) -> None:
    image = noise(width, height, seed)
    found = pixels.normalise([pixels.square(image, LLAVA)], LLAVA)
    assert found.dtype == np.float32
    assert found.tobytes() == processed(image, LLAVA).tobytes()


@pytest.mark.parametrize("name", ["llava_1_5_7b", "shikra_7b"])
@pytest.mark.parametrize("size", [(640, 480), (1, 500), (500, 1), (1, 1), (336, 336), (337, 336)])
def test_exact_pixels_hold_at_the_models_own_size(name: str, size: tuple[int, int]) -> None:
    preset = load_preset(name)
    image = noise(*size)
    found = pixels.normalise([pixels.square(image, preset)], preset)
    assert found.tobytes() == processed(image, preset).tobytes()


def written(image: Image.Image, folder: Path, name: str) -> str:
    image.save(folder / name)
    return name


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "palette"])
def test_files_of_any_mode_are_read_as_they_are_opened(mode: str, tmp_path: Path) -> None:
    image = smooth(90, 60).quantize(16) if mode == "palette" else noise(90, 60, mode=mode)
    name = written(image, tmp_path, "one.png")
    found = pixels.normalise([pixels.read(tmp_path, name, LLAVA)], LLAVA)
    assert found.tobytes() == processed(open_image(tmp_path, name), LLAVA).tobytes()


@pytest.mark.parametrize("size", [(64, 64), (200, 90), (3, 50)])
def test_the_small_models_bits_are_those_its_weights_were_trained_on(size: tuple[int, int]) -> None:
    preset = load_preset("tiny")
    image = noise(*size)
    side, longer = preset.image_side_px, max(size)
    padded = Image.new("RGB", (longer, longer), preset.pad_colour)
    padded.paste(image, ((longer - image.width) // 2, (longer - image.height) // 2))
    small = padded.resize((side, side), Image.Resampling.BILINEAR)
    values = torch.from_numpy(np.array(small)).permute(2, 0, 1).float()
    mean, std = (torch.tensor(x).view(3, 1, 1) * 255 for x in (preset.mean, preset.std))
    found = pixels.normalise([pixels.square(image, preset)], preset)
    assert torch.equal(torch.from_numpy(found)[0], (values - mean) / std)


def test_shipped_presets_are_exact() -> None:
    assert {load_preset(name).pixels for name in shipped_presets()} == {"exact"}


@given(SIDES, SIDES)
def test_fast_squares_have_the_image_in_their_middle(width: int, height: int) -> None:
    image = Image.new("RGB", (width, height), (250, 0, 0))
    found = pixels.square(image, FAST)
    inside = (found == (250, 0, 0)).all(-1)
    outside = (found == FAST.pad_colour).all(-1)
    assert found.shape == (42, 42, 3)
    assert (inside ^ outside).all()
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    assert max(len(rows), len(columns)) == 42
    assert abs(rows[0] - (41 - rows[-1])) <= 1
    assert abs(columns[0] - (41 - columns[-1])) <= 1
    assert abs(len(columns) - 42 * width / max(width, height)) <= 1
    assert abs(len(rows) - 42 * height / max(width, height)) <= 1


def apart(folder: Path, name: str) -> tuple[float, int]:
    """By how many of 255 `fast` differs from `exact` at the model's own size.

    On average, and at most around the middle.
    """
    own = load_preset("llava_1_5_7b")
    fast = own.model_copy(update={"pixels": "fast"})
    one, other = (pixels.read(folder, name, preset).astype(int) for preset in (own, fast))
    off = np.abs(one - other)
    return float(off.mean()), int(off[160:176, 160:176].max())


@pytest.mark.parametrize("size", [(640, 480), (1501, 733), (405, 1799)])
@pytest.mark.parametrize("turned", [1, 3, 6, 8])
def test_fast_files_look_like_the_exact_ones(
    size: tuple[int, int], turned: int, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = turned
    smooth(*size).save(tmp_path / "one.jpg", quality=95, exif=exif)
    # The edge between picture and padding may move by less than a pixel.
    average, middle = apart(tmp_path, "one.jpg")
    assert average < 2
    assert middle < 8


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_fast_reads_jpegs_that_are_no_rgb(mode: str, tmp_path: Path) -> None:
    smooth(1500, 900).convert(mode).save(tmp_path / "one.jpg", quality=95)
    average, middle = apart(tmp_path, "one.jpg")
    assert average < 2
    assert middle < 8


@pytest.mark.parametrize("preset", [LLAVA, FAST], ids=["exact", "fast"])
def test_a_torn_file_is_refused_in_either_mode(preset: Preset, tmp_path: Path) -> None:
    data = BytesIO()
    noise(640, 480).save(data, "JPEG")
    (tmp_path / "one.jpg").write_bytes(data.getvalue()[:9000])
    with pytest.raises(ImageError, match="corrupt_image"):
        pixels.read(tmp_path, "one.jpg", preset)
