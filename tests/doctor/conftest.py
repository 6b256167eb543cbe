"""The embedded world as a LLaVA file, and a copy of it with one of each fault."""

import io
import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from genixer.data import Sample
from genixer.formats.llava import LlavaFormat
from genixer.sources.dialogue import LlavaInstruct
from genixer.sources.grounding import RefCoco
from genixer.sources.scene_art import BACKGROUNDS
from genixer.sources.scene_files import annotation_files
from genixer.sources.scenes import Look, compose, draw, picture_bytes
from genixer.sources.vqa import VqaV2

SCENES = 40


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`world.json` beside the pictures it names, below `pool/images`."""
    root = tmp_path_factory.mktemp("world")
    look = Look(backgrounds=tuple(BACKGROUNDS), objects=(2, 5))
    scenes = [compose(7, "pool", index, look) for index in range(SCENES)]
    for scene in scenes:
        path = root / scene.image
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture_bytes(draw(scene, 7)))
    notes = tmp_path_factory.mktemp("notes")
    for name, data in annotation_files(scenes, 7, 3, 1).items():
        (notes / name).write_bytes(data)
    sources = [
        VqaV2(
            VqaV2.Settings(
                images=root,
                questions=notes / "vqav2_questions.json",
                annotations=notes / "vqav2_annotations.json",
                image_pattern="pool/images/{image_id:06d}.jpg",
            )
        ),
        RefCoco(
            RefCoco.Settings(
                images=root, refs=notes / "refs.json", instances=notes / "instances.json"
            )
        ),
        LlavaInstruct(
            LlavaInstruct.Settings(images=root, conversations=notes / "llava_instruct.json")
        ),
    ]
    samples = {row.id: row for source in sources for row in source.read()}
    assert all(isinstance(row, Sample) for row in samples.values())
    LlavaFormat().write(samples.values(), root / "world.json", root)
    return root


class Damaged(NamedTuple):
    """A damaged copy, and what was planted: pairs of finding and place."""

    root: Path
    file: Path
    planted: list[tuple[str, str]]
    text_only: int


@pytest.fixture
def damaged(world: Path, tmp_path: Path) -> Damaged:
    root = tmp_path / "damaged"
    shutil.copytree(world, root)
    planted = [(bare(name), damage_image(root, at, name)) for at, name in enumerate(IMAGE_FAULTS)]
    rows = json.loads((root / "world.json").read_text())
    free = [at for at, row in enumerate(rows) if int(row["image"][-10:-4]) >= len(IMAGE_FAULTS)]
    boxed = [at for at in free if rows[at]["conversations"][1]["value"].startswith("[")]
    plain = [
        at for at in free if "[" not in str([one["value"] for one in rows[at]["conversations"]])[1:]
    ]
    raws: dict[int, bytes] = {}
    for name, damage in ROW_FAULTS.items():
        at = boxed.pop() if bare(name) in BOX_FAULTS else plain.pop(0)
        raw = damage(rows[at], rows)
        planted.append((bare(name), f"world.json[{at}]"))
        if isinstance(raw, bytes):
            raws[at] = raw
    rows[plain.pop(0)]["image"] = "../secret.jpg"
    planted.append(("path_escapes", "../secret.jpg"))
    rows[plain.pop(0)]["id"] = 7
    planted.append(("mixed_ids", "world.json"))
    alone = rows[plain.pop(0)]
    del alone["image"]
    alone["conversations"][0]["value"] = "What is two and two?"
    rows.append({**rows[plain.pop(0)]})
    planted.append(("duplicate_id", f"world.json[{len(rows) - 1}]"))
    planted.append(("truncated_file", "world.json"))
    entries = [raws.get(at) or json.dumps(row).encode() for at, row in enumerate(rows)]
    (root / "world.json").write_bytes(b"[\n" + b",\n".join(entries) + b',\n{"id": "cut o')
    return Damaged(root, root / "world.json", sorted(planted), 1)


def damage_image(root: Path, index: int, name: str) -> str:
    """Spoil picture `index` so that it is a finding called `name`; its path."""
    path = root / f"pool/images/{index:06d}.jpg"
    if name == "missing_image":
        path.unlink()
    elif name == "renamed_image":
        path.rename(path.with_name("called_otherwise.jpg"))
    else:
        data = path.read_bytes()
        path.write_bytes(SPOILED[name](Image.open(io.BytesIO(data)), data))
    return path.relative_to(root).as_posix()


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(picture: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(picture.rotate(90, expand=True), "JPEG", exif=exif)


def moving(picture: Image.Image, kind: str) -> bytes:
    return saved(picture, kind, save_all=True, append_images=[picture.rotate(180)])


def deep_greys(picture: Image.Image) -> bytes:
    return saved(picture.convert("L").point(lambda v: v * 257, "I").convert("I;16"), "PNG")


def one_bit_changed(picture: Image.Image) -> bytes:
    """A PNG stored without compression, so that only a checksum tells of the change."""
    data = bytearray(saved(picture, "PNG", compress_level=0))
    data[len(data) // 2] ^= 1
    return bytes(data)


def bomb() -> bytes:
    """A sound PNG of 9000 x 9000 px in some kilobytes."""
    return png(9000, 1, 0, bytes(9000 * (1 + 9000 // 8)))


def deep_colours() -> bytes:
    """A PNG of 224 x 224 px with 16 bits for each of three colours."""
    return png(224, 16, 2, (b"\0" + bytes(range(224)) * 6) * 224)


def png(side: int, depth: int, colours: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        size, sum_ = struct.pack(">I", len(body)), struct.pack(">I", zlib.crc32(kind + body))
        return size + kind + body + sum_

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, colours, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


# A name that ends in _2 is a second form of the same fault.
SPOILED: dict[str, Callable[[Image.Image, bytes], bytes]] = {
    "empty_image": lambda picture, data: b"",
    "corrupt_image": lambda picture, data: data[: len(data) // 2],
    "not_an_image": lambda picture, data: b"<html>404 Not Found</html>",
    "image_bomb": lambda picture, data: bomb(),
    "rotated_image": lambda picture, data: turned(picture),
    "animated_image": lambda picture, data: moving(picture, "GIF"),
    "cmyk_image": lambda picture, data: saved(picture.convert("CMYK"), "JPEG"),
    "deep_image": lambda picture, data: deep_greys(picture),
    "corrupt_image_2": lambda picture, data: one_bit_changed(picture),
    "animated_image_2": lambda picture, data: moving(picture, "PNG"),
    "deep_image_2": lambda picture, data: deep_colours(),
}
IMAGE_FAULTS = ("missing_image", "renamed_image", *SPOILED)


def bare(name: str) -> str:
    """Name of the finding, whichever form of it."""
    return name.replace("_2", "")


Row = dict[str, Any]
BOX_FAULTS = ("bad_box", "box_inverted", "box_outside", "frame_contradicted")


def _say(turn: int, text: str) -> Callable[[Row, list[Row]], None]:
    def change(row: Row, _: list[Row]) -> None:
        row["conversations"][turn]["value"] = text

    return change


def _first(change: Callable[[str], str]) -> Callable[[Row, list[Row]], None]:
    def apply(row: Row, _: list[Row]) -> None:
        row["conversations"][0]["value"] = change(row["conversations"][0]["value"])

    return apply


ROW_FAULTS: dict[str, Callable[[Row, list[Row]], bytes | None]] = {
    "not_json": lambda row, _: json.dumps(row).encode().replace(b'"id":', b"id:"),
    "not_utf8": lambda row, _: json.dumps(row).encode().replace(b'"id": "', b'"id": "\xff'),
    "bad_entry": lambda row, _: row.update(conversations="all of it") or None,
    "no_id": lambda row, _: row.pop("id") and None,
    "duplicate_id": lambda row, rows: row.update(id=rows[0]["id"]) or None,
    "bad_turns": lambda row, _: row["conversations"].pop() and None,
    "empty_turn": _say(1, "  "),
    "empty_turn_2": _say(0, "<image>\n"),
    "image_mark_count": _first(lambda text: f"{text} <image>"),
    "image_mark_count_2": _first(lambda text: text.removeprefix("<image>\n")),
    "image_mark_count_2_2": lambda row, _: row.pop("image") and None,
    "image_mark_place": _first(
        lambda text: text.removeprefix("<image>\n").replace(" ", " <image> ", 1)
    ),
    "bad_box": _say(1, "[0.2, 0.3, 0.4, 0.5]"),
    "bad_box_2": _say(1, "[0.200,0.300,0.400]"),
    "box_inverted": _say(1, "[0.600,0.300,0.400,0.500]"),
    "box_outside": _say(1, "[0.400,0.300,1.010,0.500]"),
    "box_outside_2": _say(1, "[0.400,0.300,1.300,0.500]"),
    "frame_contradicted": _say(1, "[40.000,30.000,120.000,90.000]"),
}
