"""Headers decide as the decoder would: no false alarm, nothing that a reader refuses left out."""

import io
import os
import random
from pathlib import Path

import pytest
from PIL import Image

from genixer.doctor import crew
from genixer.doctor.images import ImageDoctor
from genixer.errors import StoreError
from genixer.store.images import ImageError, open_image

RNG = random.Random(5)
PICTURE = Image.frombytes("RGB", (60, 40), RNG.randbytes(60 * 40 * 3)).resize((90, 60))


def saved(kind: str, picture: Image.Image = PICTURE, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = orientation
    return found


SOUND = {
    "baseline.jpg": saved("JPEG"),
    "progressive.jpg": saved("JPEG", progressive=True),
    "grey.jpg": saved("JPEG", PICTURE.convert("L")),
    "metadata.jpg": saved("JPEG", exif=exif(1), comment=b"words", icc_profile=bytes(70_000)),
    "rgb.png": saved("PNG"),
    "palette.png": saved("PNG", PICTURE.quantize(16)),
    "alpha.png": saved("PNG", PICTURE.convert("RGBA"), dpi=(72, 72)),
    "one_bit.png": saved("PNG", PICTURE.convert("1")),
    "lossy.webp": saved("WEBP"),
    "lossless.webp": saved("WEBP", lossless=True),
    "extended.webp": saved("WEBP", PICTURE.convert("RGBA"), icc_profile=b"profile"),
    "one.gif": saved("GIF"),
    "plain.bmp": saved("BMP"),
    "plain.tif": saved("TIFF"),
}


def look(folder: Path, data: bytes, name: str = "a"):
    (folder / name).write_bytes(data)
    return ImageDoctor(folder).look(name)


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_image_has_its_size_and_no_fault(name: str, tmp_path: Path) -> None:
    health = look(tmp_path, SOUND[name])
    assert (health.width, health.height, health.faults) == (90, 60, ())


@pytest.mark.parametrize("name", ["baseline.jpg", "metadata.jpg", "rgb.png", "lossy.webp"])
def test_a_sound_image_needs_no_decoder(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("genixer.doctor.images.open_image", None)
    assert look(tmp_path, SOUND[name]).width == 90


def read(folder: Path) -> tuple[int, int] | str:
    """What the reader of the project says of the file: its upright size, or why not."""
    try:
        return open_image(folder, "a").size
    except ImageError as error:
        return error.reason


@pytest.mark.parametrize("name", SOUND)
def test_a_file_that_is_cut_off_is_a_fault_wherever_the_reader_refuses_it(
    name: str, tmp_path: Path
) -> None:
    data, refused = SOUND[name], 0
    for at in sorted({*range(0, min(len(data), 400), 7), *range(0, len(data), 611), len(data) - 1}):
        health, said = look(tmp_path, data[:at]), read(tmp_path)
        if isinstance(said, str):
            assert (health.width, health.faults[0][0]) == (0, said), at
            refused += 1
        else:
            assert (health.width, health.height) == said
    assert refused > 10


@pytest.mark.parametrize("name", [name for name in SOUND if name.endswith("png")])
def test_a_changed_byte_of_a_png_is_a_fault_to_the_reader_too(name: str, tmp_path: Path) -> None:
    data = SOUND[name]
    for _ in range(200):
        at = RNG.randrange(len(data) - 12)  # nothing is in the end mark
        changed = data[:at] + bytes([data[at] ^ 1 << RNG.randrange(8)]) + data[at + 1 :]
        health, said = look(tmp_path, changed), read(tmp_path)
        assert isinstance(said, str), at
        assert [name for name, _ in health.faults] == [said], at


@pytest.mark.parametrize("orientation", range(2, 9))
def test_an_image_stored_turned_has_its_upright_size(orientation: int, tmp_path: Path) -> None:
    for kind, order in (("JPEG", "<"), ("JPEG", ">"), ("PNG", "<"), ("WEBP", "<"), ("TIFF", "<")):
        entries = exif(orientation)
        entries.endian = order
        health = look(tmp_path, saved(kind, exif=entries))
        upright = (60, 90) if orientation > 4 else (90, 60)
        assert (health.width, health.height) == upright
        assert health.faults == (("rotated_image", f"EXIF orientation {orientation}"),)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (saved("JPEG", PICTURE.convert("CMYK")), ("cmyk_image", "4 channels")),
        (saved("TIFF", PICTURE.convert("CMYK")), ("cmyk_image", "4 channels")),
        (saved("PNG", PICTURE.convert("I;16")), ("deep_image", "16 bits a channel")),
        (saved("TIFF", PICTURE.convert("F")), ("deep_image", "mode F")),
        (
            saved("GIF", save_all=True, append_images=[PICTURE.rotate(90)]),
            ("animated_image", "2 frames"),
        ),
        (
            saved("WEBP", save_all=True, append_images=[PICTURE.rotate(90)]),
            ("animated_image", "2 frames"),
        ),
        (
            saved("PNG", save_all=True, append_images=[PICTURE.rotate(90)]),
            ("animated_image", "2 frames"),
        ),
    ],
)
def test_what_programs_read_differently_is_named(data: bytes, fault, tmp_path: Path) -> None:
    health = look(tmp_path, data)
    assert health.faults == (fault,)
    assert health.width == 90


def test_a_picture_in_a_picture_of_a_camera_is_no_animation(tmp_path: Path) -> None:
    data = saved("MPO", save_all=True, append_images=[PICTURE.resize((30, 20))])
    assert look(tmp_path, data).faults == ()


def test_a_turn_told_in_xmp_is_left_to_the_decoder(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    health = look(tmp_path, saved("JPEG", xmp=xmp))
    assert (health.width, health.height) == open_image(tmp_path, "a").size


@pytest.mark.parametrize("tail", [b"\0" * 100, b"camera's own words"])
def test_bytes_after_the_end_of_an_image_are_no_fault(tail: bytes, tmp_path: Path) -> None:
    for name in ("baseline.jpg", "rgb.png"):
        assert look(tmp_path, SOUND[name] + tail).faults == ()


def test_too_many_pixels_are_told_from_the_header(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(SOUND["rgb.png"])
    (tmp_path / "b").write_bytes(SOUND["baseline.jpg"])
    (tmp_path / "c").write_bytes(saved("PNG", PICTURE.resize((150, 150))))
    doctor = ImageDoctor(tmp_path, max_pixels=1000)
    for name, size in (("a", "90x60"), ("b", "90x60"), ("c", "150x150")):
        assert doctor.look(name).faults == (("image_bomb", f"{size} px > 1000 px"),)


def test_paths_and_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(SOUND["rgb.png"])
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "outer").symlink_to(tmp_path)
    (root / "here.png").write_bytes(SOUND["rgb.png"])
    (root / "near.png").symlink_to(root / "here.png")
    os.mkfifo(root / "pipe.png")
    doctor = ImageDoctor(root)
    for path in ("../secret.png", "link.png", "outer/secret.png", str(tmp_path / "secret.png")):
        assert doctor.look(path).faults[0][0] == "path_escapes"
    assert doctor.look("near.png").faults == ()
    assert doctor.look("inner").faults[0][0] == "not_an_image"
    assert doctor.look("pipe.png").faults[0][0] == "not_an_image"
    assert doctor.look("inner/none.png").faults[0][0] == "missing_image"
    assert doctor.look("a\udc80b").faults[0][0] == "missing_image"


def test_many_images_are_looked_at_by_several_processes_in_order(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(crew, "_CHUNK", 3)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    names = [f"{at:02d}.jpg" for at in range(20)]
    for at, name in enumerate(names):
        (tmp_path / name).write_bytes(saved("JPEG", PICTURE.resize((at + 8, 8))))
    (tmp_path / "07.jpg").write_bytes(b"")
    alone = list(crew.look_at_all(tmp_path, names))
    together = list(crew.look_at_all(tmp_path, names, many=10))
    assert together == alone
    assert [one.width for one in together] == [0 if at == 7 else at + 8 for at in range(20)]


def test_a_process_that_dies_is_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(crew.sys, "executable", "/bin/false")
    with pytest.raises(StoreError, match="ended with status 1"):
        list(crew.look_at_all(tmp_path, ["a"] * 10, many=5))


def test_a_helper_answers_every_second_line_of_the_plan(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a.png").write_bytes(SOUND["rgb.png"])
    plan, said = tmp_path / "plan", io.BytesIO()
    plan.write_text('["x"]\n["a.png","b.png"]\n["y"]\n[]\n')
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(said))
    crew.serve(str(tmp_path), str(plan), 1, 2)
    first, second = said.getvalue().splitlines()
    assert first.startswith(b'[[90,60,[]],[0,0,[["missing_image"')
    assert second == b"[]"
