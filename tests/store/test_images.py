import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from genixer.store.images import (
    REASONS,
    ImageCatalog,
    ImageError,
    header_of,
    image_bytes,
    open_image,
    open_thumbnail,
    ref_of_bytes,
)


def bomb(side: int) -> bytes:
    """PNG whose header promises side x side px and whose data holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (40, 20), "red").save(folder / "red.jpg")
    return folder


def reason(root: Path, path: str) -> str:
    with pytest.raises(ImageError) as opened:
        open_image(root, path)
    with pytest.raises(ImageError) as catalogued:
        ImageCatalog(root).ref(path)
    with pytest.raises(ImageError) as squeezed:
        open_thumbnail(root, path, 32)
    reasons = {opened.value.reason, catalogued.value.reason, squeezed.value.reason}
    assert len(reasons) == 1
    assert opened.value.reason in REASONS
    return opened.value.reason


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("nowhere.jpg", "missing_image"),
        ("x" * 300, "missing_image"),
        ("../images/red.jpg", "path_escapes"),
        ("/etc/hostname", "path_escapes"),
        ("C:/red.jpg", "path_escapes"),
        ("a\0b", "path_escapes"),
        ("", "path_escapes"),
        ("folder", "not_an_image"),
        ("text.jpg", "not_an_image"),
        ("empty.jpg", "empty_image"),
        ("header.jpg", "corrupt_image"),
        ("truncated.jpg", "corrupt_image"),
        ("small_bomb.png", "image_bomb"),
        ("large_bomb.png", "image_bomb"),
        ("outside.jpg", "path_escapes"),
        ("loop.jpg", "missing_image"),
    ],
)
def test_every_unusable_file_has_its_reason(root: Path, path: str, expected: str) -> None:
    jpeg = (root / "red.jpg").read_bytes()
    (root / "folder").mkdir()
    (root / "text.jpg").write_text("not a picture")
    (root / "empty.jpg").touch()
    (root / "header.jpg").write_bytes(jpeg[:20])
    (root / "truncated.jpg").write_bytes(jpeg[:-60])
    (root / "small_bomb.png").write_bytes(bomb(8_000))
    (root / "large_bomb.png").write_bytes(bomb(60_000))
    (root.parent / "secret.jpg").write_bytes(jpeg)
    (root / "outside.jpg").symlink_to(root.parent / "secret.jpg")
    (root / "loop.jpg").symlink_to(root / "loop.jpg")
    assert reason(root, path) == expected


def test_a_link_that_stays_inside_is_followed(root: Path) -> None:
    (root / "link.jpg").symlink_to(root / "red.jpg")
    assert open_image(root, "link.jpg").size == (40, 20)


def test_the_cap_is_the_callers(root: Path) -> None:
    assert open_image(root, "red.jpg", max_pixels=800).size == (40, 20)
    with pytest.raises(ImageError, match=r"image_bomb: 40x20 px > 799 px"):
        open_image(root, "red.jpg", max_pixels=799)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_come_upright(root: Path, orientation: int) -> None:
    upright = Image.new("RGB", (40, 20), "white")
    upright.paste("blue", (0, 0, 10, 10))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's inverse transposition
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = stored.getexif()
    exif[0x112] = orientation
    stored.save(root / "turned.png", exif=exif)
    found = open_image(root, "turned.png")
    assert (
        found.size
        == (40, 20)
        == (lambda r: (r.width, r.height))(ImageCatalog(root).ref("turned.png"))
    )
    assert found.getpixel((5, 5)) == (0, 0, 255)
    assert found.getpixel((35, 15)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("name", "image", "pixel"),
    [
        ("grey.png", Image.new("L", (9, 9), 130), (130, 130, 130)),
        ("bit.png", Image.new("1", (9, 9), 1), (255, 255, 255)),
        ("deep.png", Image.fromarray(np.full((9, 9), 0x8080, dtype=np.uint16)), (128, 128, 128)),
        ("int.tiff", Image.new("I", (9, 9), 0x8080), (128, 128, 128)),
        ("low_int.tiff", Image.new("I", (9, 9), 200), (200, 200, 200)),
        ("float.tiff", Image.new("F", (9, 9), 0.5), (128, 128, 128)),
        ("cmyk.jpg", Image.new("CMYK", (9, 9), (0, 0, 0, 255)), (0, 0, 0)),
        ("clear.png", Image.new("RGBA", (9, 9), (255, 0, 0, 0)), (255, 255, 255)),
        ("solid.png", Image.new("RGBA", (9, 9), (255, 0, 0, 255)), (255, 0, 0)),
        ("half.png", Image.new("LA", (9, 9), (0, 128)), (127, 127, 127)),
    ],
)
def test_every_mode_becomes_rgb(
    root: Path, name: str, image: Image.Image, pixel: tuple[int, int, int]
) -> None:
    image.save(root / name)
    found = open_image(root, name)
    assert found.mode == "RGB"
    assert found.getpixel((4, 4)) == pixel


def test_a_palette_with_a_clear_colour_is_laid_on_white(root: Path) -> None:
    Image.new("P", (9, 9)).save(root / "palette.png", transparency=0)
    assert open_image(root, "palette.png").getpixel((4, 4)) == (255, 255, 255)


def test_an_animation_gives_its_first_frame(root: Path) -> None:
    frames = [Image.new("L", (9, 9), level) for level in (0, 200)]
    frames[0].save(root / "moving.gif", save_all=True, append_images=frames[1:])
    assert open_image(root, "moving.gif").getpixel((4, 4)) == (0, 0, 0)


def test_refs_hash_the_files_bytes_and_are_remembered(root: Path) -> None:
    catalog = ImageCatalog(root, keep=1)
    first = catalog.ref("red.jpg")
    assert (first.width, first.height, len(first.sha256)) == (40, 20, 64)
    (root / "red.jpg").unlink()
    assert catalog.ref("red.jpg") == first
    with pytest.raises(ImageError):
        catalog.ref("gone.jpg")
    Image.new("RGB", (9, 9)).save(root / "gone.jpg")
    with pytest.raises(ImageError, match="missing_image"):
        catalog.ref("gone.jpg")  # errors are remembered too, but only `keep` answers are
    with pytest.raises(ImageError, match="missing_image"):
        catalog.ref("red.jpg")


@given(junk=st.binary(max_size=300), cut=st.integers(0, 600))
def test_no_bytes_raise_anything_but_an_image_error(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, cut: int
) -> None:
    root = tmp_path_factory.getbasetemp() / "junk"
    root.mkdir(exist_ok=True)
    Image.new("RGB", (16, 16), "red").save(root / "whole.png")
    data = (root / "whole.png").read_bytes()
    (root / "junk.png").write_bytes(data[:cut] + junk + data[cut + len(junk) :])
    try:
        outcome = open_image(root, "junk.png").mode
    except ImageError as error:
        outcome = error.reason
    assert outcome in ("RGB", *REASONS)


def turned(root: Path, name: str, orientation: int) -> bytes:
    image = Image.new("RGB", (40, 20), "red")
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(root / name, exif=exif)
    return (root / name).read_bytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.avif"])
def test_a_header_tells_the_upright_size_that_decoding_gives(root, name, orientation):
    data = turned(root, name, orientation)
    ref = ref_of_bytes(name, data)
    assert header_of(name, data)[1:] == (ref.width, ref.height)
    assert (ref.width < ref.height) == (orientation >= 5)
    assert ref == ImageCatalog(root).ref(name)


@pytest.mark.parametrize(
    ("path", "data", "expected"),
    [
        ("../a.png", b"x", "path_escapes"),
        ("a.png", b"", "empty_image"),
        ("a.png", b"words", "not_an_image"),
        ("a.png", bomb(7072), "image_bomb"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "corrupt_image"),
    ],
)
def test_bytes_in_memory_are_read_with_the_same_suspicion(path, data, expected):
    with pytest.raises(ImageError) as found:
        ref_of_bytes(path, data)
    assert found.value.reason == expected


def test_bytes_are_given_as_they_lie_up_to_a_limit(root):
    size = (root / "red.jpg").stat().st_size
    assert image_bytes(root, "red.jpg", size) == (root / "red.jpg").read_bytes()
    assert image_bytes(root, "red.jpg", size - 1) is None
    with pytest.raises(ImageError, match="path_escapes"):
        image_bytes(root, "../red.jpg", size)


@pytest.mark.parametrize("kind", [b"IHDR", b"tEXt", b"IDAT", b"IEND"])
def test_a_png_with_a_wrong_checksum_is_refused_by_every_way_of_reading(root, kind):
    notes = PngInfo()
    notes.add_text("Title", "red")
    Image.new("RGB", (40, 20), "red").save(root / "sound.png", pnginfo=notes)
    data = (root / "sound.png").read_bytes()
    assert open_image(root, "sound.png").size == (40, 20)
    at = data.index(kind)
    end = at + 4 + int.from_bytes(data[at - 4 : at], "big")
    damaged = data[:end] + bytes([data[end] ^ 1]) + data[end + 1 :]
    (root / "damaged.png").write_bytes(damaged)
    assert reason(root, "damaged.png") == "corrupt_image"
    with pytest.raises(ImageError, match="corrupt_image"):
        ref_of_bytes("damaged.png", damaged)
