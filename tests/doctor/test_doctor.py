"""The whole way: a clean world has no findings, a damaged one has those that were planted."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from genixer.data import Quarantined
from genixer.doctor.audit import audit
from genixer.doctor.findings import FINDINGS
from genixer.doctor.fix import Done, fix
from genixer.errors import ConfigError, StoreError
from genixer.formats.llava import LlavaFormat, LlavaSettings
from genixer.store.shards import raw_bytes

ONE_TURN = b'[{"conversations":[{"from":"human","value":"?"}]}]'
IMAGES = Path(__file__).parents[1] / "fixtures" / "images"


def found(report):
    return sorted((one.name, one.where) for one in report.findings)


def contents(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def list_of(out):
    return (out / "world.json.fixes.jsonl").read_text().splitlines()


def test_a_clean_world_has_no_findings(world: Path) -> None:
    report = audit(world / "world.json")
    assert found(report) == []
    assert (report.images, report.errors) == (40, 0)
    assert report.rows == len(json.loads((world / "world.json").read_text())) > 200


def test_every_planted_fault_is_found_and_nothing_else(damaged) -> None:
    report = audit(damaged.file)
    assert found(report) == damaged.planted
    assert report.text_only == damaged.text_only
    proposed = {one.where: one.proposal for one in report.findings if one.proposal}
    assert proposed == {"pool/images/000001.jpg": "pool/images/called_otherwise.jpg"}
    # All there is to find, but for what only a whole file can have.
    assert {name for name, _ in damaged.planted} == FINDINGS.keys() - {"frame_doubtful"}


def test_the_repaired_copy_is_clean_and_says_what_was_done(damaged, tmp_path: Path) -> None:
    out = tmp_path / "out" / "repaired"
    before = contents(damaged.root)
    counts = fix(audit(damaged.file), out)
    assert contents(damaged.root) == before
    assert found(audit(out / "world.json", images=out / "images")) == []
    done = [Done(**json.loads(line)) for line in list_of(out)]
    assert counts == Counter(one.did for one in done)
    planted = Counter(name for name, _ in damaged.planted)
    # Every finding is dealt with, and what could not be repaired is set aside or left, by name.
    assert {one.finding for one in done} == planted.keys()
    assert {one.finding for one in done if one.did == "left"} == {"truncated_file"}
    assert {one.finding for one in done if one.did == "set_aside"} == {
        *("missing_image", "empty_image", "corrupt_image", "not_an_image", "image_bomb"),
        *("path_escapes", "not_json", "not_utf8", "bad_entry", "bad_turns", "empty_turn"),
        *("image_mark_count", "bad_box", "box_outside", "frame_contradicted", "duplicate_id"),
    }


def test_no_row_is_lost_by_a_repair(damaged, tmp_path: Path) -> None:
    report = audit(damaged.file)
    counts = fix(report, tmp_path / "repaired")
    kept = json.loads((tmp_path / "repaired" / "world.json").read_text())
    aside = (tmp_path / "repaired" / "world.json.set_aside.jsonl").read_text().splitlines()
    assert len(kept) + len(aside) == report.rows
    assert len(aside) == counts["set_aside"]
    lost = {json.loads(line)["where"]: json.loads(line) for line in aside}
    raw = damaged.file.read_bytes().splitlines()[1:]
    for where, row in lost.items():
        assert raw_bytes(row["raw"]) == raw[int(where[11:-1])].rstrip(b",")


def test_repairs_are_what_one_would_do_by_hand(damaged, tmp_path: Path) -> None:
    out = tmp_path / "repaired"
    fix(audit(damaged.file), out)
    kept = json.loads((out / "world.json").read_text())
    texts = [said["value"] for row in kept for said in row["conversations"]]
    for sound in (
        "[0.400,0.300,0.600,0.500]",
        "[0.400,0.300,1.000,0.500]",
        "[0.200,0.300,0.400,0.500]",
    ):
        assert sound in texts
    assert all(type(row["id"]) is str for row in kept)
    relinked = [row for row in kept if row.get("image") == "pool/images/called_otherwise.jpg"]
    assert len(relinked) == damaged.file.read_bytes().count(b"images/000001.jpg") > 3


def test_boxes_of_another_frame_are_doubted_as_a_whole(world: Path, tmp_path: Path) -> None:
    report = audit(world / "world.json", frame="unit")
    # Fractions of the padded square fit the image as well: only their silence gives them away.
    assert found(report) == [("frame_doubtful", "world.json")]
    assert "padded_square" in next(report.findings).detail
    assert report.errors == 0
    samples = list(LlavaFormat().read(world / "world.json", world))
    out = tmp_path / "unit.jsonl"
    LlavaFormat(LlavaSettings(frame="unit")).write(samples, out, world)
    counts = audit(out, images=world).counts
    assert counts.keys() == {"box_outside", "frame_doubtful"}
    assert counts["box_outside"] > 30
    assert audit(out, images=world, frame="unit").counts == {}
    pixel = tmp_path / "pixel.jsonl"
    LlavaFormat(LlavaSettings(frame="pixel", decimals=0)).write(samples, pixel, world)
    counts = audit(pixel, images=world, decimals=0).counts
    assert counts.keys() == {"frame_contradicted", "frame_doubtful"}
    assert audit(pixel, images=world, frame="pixel", decimals=0).counts == {}


def test_what_a_reader_refuses_is_found(damaged) -> None:
    lines = damaged.file.read_bytes().splitlines()[1:-1]
    rows = damaged.file.with_name("rows.jsonl")
    rows.write_bytes(b"\n".join(line.rstrip(b",") for line in lines))
    report = audit(rows)
    where = {one.where for one in report.findings}
    refused = [
        row for row in LlavaFormat().read(rows, damaged.root) if isinstance(row, Quarantined)
    ]
    assert len(refused) > 40
    for row in refused:
        named = (
            json.loads(row.raw).get("image")
            if row.raw[0] == "{" and row.reason != "not_json"
            else None
        )
        alone = row.reason == "no_image" and "<image>" not in row.raw
        assert row.where in where or named in where or alone, row


def test_every_broken_fixture_entry_is_found() -> None:
    fixtures = Path(__file__).parents[1] / "fixtures"
    file = fixtures / "sources" / "llava_instruct_broken.json"
    where = {one.where for one in audit(file, images=fixtures / "images", format="llava").findings}
    for row in LlavaFormat().read(file, fixtures / "images"):
        if isinstance(row, Quarantined) and row.reason not in ("no_image",):
            named = json.loads(row.raw).get("image")
            assert row.where in where or named in where, row


def test_the_format_is_told_only_where_it_can_be_one_alone(tmp_path: Path) -> None:
    def refused(content: bytes, name: str = "a.json", **options) -> str:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError) as error:
            audit(tmp_path / name, **options)
        return str(error.value)

    assert "are of no format that is read here; name one with --format: llava, " in refused(
        b'[{"a": 1}]'
    )
    assert "tells no format (not_json)" in refused(b"[{]")
    assert "tells no format (bad_entry)" in refused(b"[1]")
    assert "there is no entry in it" in refused(b"[]")
    assert "no JSON list" in refused(b"{}")
    assert "is empty" in refused(b"")
    assert "there is no entry" in refused(b"\n", "a.jsonl")
    assert "tells no format" in refused(b"[{")
    assert "did you mean llava" in refused(b"[]", format="lava")
    assert "name it with --images" in refused(ONE_TURN, images=tmp_path / "no")
    assert "no frame is called" in refused(ONE_TURN, frame="units")
    assert "has no image root" in str(refused_folder(tmp_path))


def refused_folder(tmp_path: Path) -> ConfigError:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError) as error:
        audit(tmp_path / "folder", frame="unit")
    return error.value


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read: No such file"):
        audit(tmp_path / "none.json")


def test_a_folder_of_images_is_audited_too(damaged) -> None:
    report = audit(damaged.root / "pool" / "images")
    assert report.counts == {
        **dict.fromkeys(("empty_image", "not_an_image", "image_bomb"), 1),
        **dict.fromkeys(("rotated_image", "cmyk_image"), 1),
        **dict.fromkeys(("corrupt_image", "animated_image", "deep_image"), 2),
    }
    assert report.images == 39
    with pytest.raises(ConfigError, match="only a file of rows can be repaired"):
        fix(report, damaged.root / "out")


def test_the_copy_needs_a_new_folder(world: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is there already"):
        fix(audit(world / "world.json"), tmp_path)


def test_a_clean_file_is_copied_byte_by_byte(world: Path, tmp_path: Path) -> None:
    assert fix(audit(world / "world.json"), tmp_path / "copy") == {}
    for name in ("world.json", "world.json.provenance.jsonl", "world.json.attribution.txt"):
        assert (tmp_path / "copy" / name).read_bytes() == (world / name).read_bytes()
    assert not (tmp_path / "copy" / "world.json.set_aside.jsonl").exists()
    again = list(LlavaFormat().read(tmp_path / "copy" / "world.json", tmp_path / "copy" / "images"))
    assert again == list(LlavaFormat().read(world / "world.json", world))


def rows_of(tmp_path: Path, *rows: dict, name: str = "a.jsonl") -> Path:
    shutil.copytree(IMAGES, tmp_path, dirs_exist_ok=True)
    path = tmp_path / name
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def row(id, image="1.png", question="<image>\nWhat?", **fields):
    said = [{"from": "human", "value": question}, {"from": "gpt", "value": "cat"}]
    return {"id": id, "image": image, "conversations": said, **fields}


def test_new_ids_keep_their_type_and_meet_no_other(tmp_path: Path) -> None:
    file = rows_of(
        tmp_path, row(1), row(1, question="<image>\nWho?"), row(5), {**row(0), "id": None}
    )
    report = audit(file)
    assert found(report) == [("duplicate_id", "a.jsonl:2"), ("no_id", "a.jsonl:4")]
    fix(report, tmp_path / "out")
    lines = (tmp_path / "out" / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [1, 6, 5, 7]
    two = row("a", question="<image>\nWho?"), row("a", question="<image>\nWhy?")
    report = audit(rows_of(tmp_path, row("a"), row("a-2"), *two))
    fix(report, tmp_path / "texts")
    lines = (tmp_path / "texts" / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["a", "a-2", "a-3", "a-4"]


def test_a_new_id_has_the_origin_of_the_old_one(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world, tmp_path / "world")
    file = tmp_path / "world" / "world.json"
    rows = json.loads(file.read_text())
    rows[9]["id"] = rows[0]["id"]
    file.write_text(json.dumps(rows))
    fix(audit(file), tmp_path / "out")
    lines = (tmp_path / "out" / "world.json.provenance.jsonl").read_text().splitlines()
    assert len(lines) == len(rows) + 1
    first, last = json.loads(lines[0]), json.loads(lines[-1])
    assert last == {**first, "id": f"{first['id']}-2"}


def test_an_image_that_becomes_a_png_is_relinked(tmp_path: Path) -> None:
    file = rows_of(tmp_path, row(1, "moving.gif"), row(2, "moving.gif"), row(3))
    picture = Image.open(IMAGES / "1.png").convert("RGB")
    picture.save(tmp_path / "moving.gif", save_all=True, append_images=[ImageOps.invert(picture)])
    report = audit(file)
    assert found(report) == [("animated_image", "moving.gif")]
    assert fix(report, tmp_path / "out") == {"reencoded": 1}
    lines = (tmp_path / "out" / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["image"] for line in lines] == [
        "moving.gif.png",
        "moving.gif.png",
        "1.png",
    ]
    assert audit(tmp_path / "out" / "a.jsonl", images=tmp_path / "out" / "images").counts == {}


def test_a_failure_half_way_leaves_nothing(damaged, tmp_path: Path, monkeypatch) -> None:
    def break_down(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("genixer.doctor.fix.link", break_down)
    with pytest.raises(StoreError, match="No space left"):
        fix(audit(damaged.file), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]
