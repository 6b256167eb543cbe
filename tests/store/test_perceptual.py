"""A picture's hash stays when the picture is coded or sized anew, and tells pictures apart."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genixer.sources.scenes import Look, compose, draw
from genixer.store.images import ImageError
from genixer.store.perceptual import BITS, picture_hash, picture_hash_of_file

LOOK = Look(
    backgrounds=("sky", "bricks"),
    objects=(2, 5),
    size=(0.24, 0.42),
    kinds=(),
    tilt=8,
    mirror=0.5,
    twins=0.3,
)
SCENES = [draw(compose(3, "test", index, LOOK), 3) for index in range(40)]


def noise(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Soft coloured blotches: something in every frequency that counts."""
    pixels = np.random.default_rng(seed).integers(0, 255, (14, 18, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def hashed(image: Image.Image) -> int:
    found = picture_hash(image)
    assert found is not None
    assert 0 <= found < 1 << BITS
    return found


def distance(one: int, two: int) -> int:
    return (one ^ two).bit_count()


def coded(image: Image.Image, kind: str, quality: int) -> Image.Image:
    data = io.BytesIO()
    image.save(data, kind, quality=quality)
    return Image.open(data)


def test_coding_and_sizing_anew_change_few_bits() -> None:
    """Hardly ever more than the leak check's four, also where the aspect is distorted."""
    found = [
        distance(hashed(coded(image.resize((wide, high)), kind, quality)), hashed(image))
        for image in [*SCENES[:10], *(noise(seed) for seed in range(5))]
        for wide, high in ((110, 100), (256, 256), (334, 181), (200, 490), (512, 512))
        for kind, quality in (("JPEG", 50), ("JPEG", 90), ("WEBP", 53), ("PNG", 90))
    ]
    assert sum(bits <= 4 for bits in found) >= 0.99 * len(found)
    assert max(found) <= 6


def test_different_pictures_are_further_apart() -> None:
    hashes = [hashed(image) for image in [*SCENES, *(noise(seed) for seed in range(20))]]
    nearest = min(distance(a, b) for at, a in enumerate(hashes) for b in hashes[:at])
    assert nearest > 6


@pytest.mark.parametrize(
    ("size", "kind"), [((640, 480), "jpg"), ((331, 203), "jpg"), ((90, 70), "png")]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_file_and_its_pixels_have_about_the_same_hash(
    tmp_path: Path, size: tuple[int, int], kind: str, mode: str
) -> None:
    image = noise(4, size)
    if kind == "png" and mode == "CMYK":
        mode = "RGBA"
    image.convert(mode).save(tmp_path / f"a.{kind}")
    found = picture_hash_of_file(tmp_path, f"a.{kind}")
    assert found is not None
    assert distance(found, hashed(image)) <= 2


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_a_picture_stored_on_its_side_counts_upright(tmp_path: Path, kind: str) -> None:
    image = noise(5)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / f"a.{kind}", exif=exif)
    found = picture_hash_of_file(tmp_path, f"a.{kind}")
    assert found is not None
    assert distance(found, hashed(image)) <= 2
    assert distance(found, hashed(image.transpose(Image.Transpose.ROTATE_90))) > 10


def test_symmetry_leaves_no_bits_to_luck() -> None:
    half = noise(6, (64, 128))
    image = Image.new("RGB", (128, 128))
    image.paste(half, (0, 0))
    image.paste(half.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (64, 0))
    assert distance(hashed(coded(image, "JPEG", 70)), hashed(image)) <= 4


@pytest.mark.parametrize("colour", ["white", "black", (90, 120, 30)])
def test_a_plain_picture_has_no_look(colour: str) -> None:
    assert picture_hash(coded(Image.new("RGB", (300, 200), colour), "JPEG", 60)) is None


def test_a_file_that_cannot_be_opened_is_refused_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "half.jpg").write_bytes(b"\xff\xd8\xff" + b"\0" * 50)
    for path, reason in (
        ("half.jpg", "corrupt_image"),
        ("gone.jpg", "missing_image"),
        ("../a.jpg", "path_escapes"),
    ):
        with pytest.raises(ImageError) as error:
            picture_hash_of_file(tmp_path, path)
        assert error.value.reason == reason
