import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from genixer.data import Box, Origin, Quarantined, Sample, Turn
from genixer.errors import ConfigError
from genixer.formats.webdataset import WebDatasetFormat, WebDatasetSettings
from genixer.store.images import ImageCatalog

IMAGES = Path(__file__).parents[1] / "fixtures" / "images"
PNG = (IMAGES / "1.png").read_bytes()
SAID = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "a cat"}]
WHERE = [
    {"role": "user", "content": "Where?"},
    {"role": "assistant", "content": "[0.1,0.2,0.3,0.4]"},
]


def sample(number, *, box=None):
    ref = ImageCatalog(IMAGES).ref("1.png")
    answer = Turn("assistant", "<box>", (box,)) if box else Turn("assistant", str(number))
    return Sample.of("rec" if box else "common_vqa", ref, (Turn("user", "?"), answer), Origin("x"))


def row(**fields):
    return json.dumps({"messages": SAID, **fields}).encode()


def tar(path, *members, end=True):
    """A tar file of (name, bytes or a change of the header) pairs."""
    with path.open("wb") as file, tarfile.open(fileobj=file, mode="w") as out:
        for name, data in members:
            info = tarfile.TarInfo(name)
            if callable(data):
                data(info)
                out.addfile(info, io.BytesIO(bytes(info.size)))
            else:
                info.size = len(data)
                out.addfile(info, io.BytesIO(data))
    return path


def read(path, images=IMAGES, **settings):
    return list(WebDatasetFormat(WebDatasetSettings(**settings)).read(path, images))


def reasons(found):
    return [one.reason if isinstance(one, Quarantined) else "" for one in found]


def test_members_are_in_order_without_times_or_owners_under_keys_without_dots(tmp_path):
    box = Box(0.125, 0.0, 0.5, 1.0)
    WebDatasetFormat().write([sample(0), sample(1, box=box)], tmp_path / "out", IMAGES)
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as out:
        members = out.getmembers()
        said = json.loads(out.extractfile(members[2]).read())
        picture = out.extractfile(members[3]).read()
    names = [f"{key:09d}.{ending}" for key in (0, 1) for ending in ("json", "png")]
    assert [one.name for one in members] == names
    assert {(one.mtime, one.uid, one.gid, one.uname, one.mode) for one in members} == {
        (0, 0, 0, "", 0o644)
    }
    assert picture == PNG
    assert said["messages"][1] == {"role": "assistant", "content": "[0.125,0.000,0.500,1.000]"}
    assert said["boxes"] == [[0.125, 0.0, 0.5, 1.0]]
    assert (said["frame"], said["decimals"]) == ("unit", 3)


def test_shards_close_at_their_rows_or_their_size_and_keys_go_on(tmp_path):
    many = [sample(number) for number in range(7)]
    by_rows = WebDatasetFormat(WebDatasetSettings(rows_per_shard=3))
    by_rows.write(many, tmp_path / "rows", IMAGES)
    shards = sorted((tmp_path / "rows").iterdir())
    assert [one.name for one in shards] == [f"shard-00000{n}.tar" for n in range(3)]
    with tarfile.open(shards[2]) as last:
        assert last.getnames() == ["000000006.json", "000000006.png"]
    assert read(tmp_path / "rows") == many
    assert read(shards[1]) == many[3:6]
    large = [sample(n) for n in range(600)]
    WebDatasetFormat(WebDatasetSettings(shard_mb=1)).write(large, tmp_path / "size", IMAGES)
    sizes = [one.stat().st_size for one in sorted((tmp_path / "size").iterdir())]
    assert len(sizes) == 2
    assert 1_000_000 <= sizes[0] < 1_020_000


def test_an_image_is_called_what_its_header_says_and_turned_as_its_camera_says(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    picture = Image.new("RGB", (60, 40), "red")
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(images / "no ending", "JPEG", exif=exif)
    ref = ImageCatalog(images).ref("no ending")
    assert (ref.width, ref.height) == (40, 60)
    turns = Turn("user", "Where?"), Turn("assistant", "<box>", (Box(0.0, 0.5, 1.0, 1.0),))
    one = Sample.of("rec", ref, turns, Origin("x"))
    pixels = WebDatasetFormat(WebDatasetSettings(frame="pixel", decimals=0))
    pixels.write([one], tmp_path / "out", images)
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as out:
        assert out.getnames() == ["000000000.jpg", "000000000.json"]
        assert b"[0,30,40,60]" in out.extractfile("000000000.json").read()
    assert read(tmp_path / "out", tmp_path / "new") == [one]
    assert (tmp_path / "new" / "no ending").read_bytes() == (images / "no ending").read_bytes()


def test_images_that_cannot_go_along_are_counted(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    one = sample(0)
    (images / "1.png").write_bytes((IMAGES / "2.png").read_bytes())
    gone = Sample.of("md", type(one.image)("gone.png", 1, 1, "0"), one.turns, Origin("x"))
    out = Sample.of("md", type(one.image)("a.png", 1, 1, "0"), one.turns, Origin("x"))
    (images / "a.png").symlink_to(IMAGES / "1.png")
    counts = WebDatasetFormat().write([one, gone, out], tmp_path / "out", images)
    assert counts == {"written": 0, "image_changed": 1, "missing_image": 1, "path_escapes": 1}


def test_a_file_of_others_is_read_in_the_declared_frame_and_keeps_its_names(tmp_path):
    said = json.dumps({"messages": WHERE}).encode()
    path = tar(
        tmp_path / "a.tar",
        ("train", folder),
        ("train/7.png", PNG),
        ("train/7.json", said),
        ("train/7.cls", b"3"),
    )
    (found,) = read(path, tmp_path / "new", decimals=1)
    assert (found.task, found.origin) == ("rec", Origin("webdataset"))
    assert found.turns[1].boxes == (Box(0.1, 0.2, 0.3, 0.4),)
    assert found.image.path == "train/7.png"
    assert (tmp_path / "new" / "train" / "7.png").read_bytes() == PNG


def folder(info):
    info.type = tarfile.DIRTYPE


def big(info):
    info.size = (16 << 20) + 1


def kind(letter):
    def change(info):
        info.type, info.linkname = letter, "/etc/hostname"

    return change


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("/etc/0.png", PNG), ("/etc/0.json", row())], "path_escapes"),
        ([("../0.png", PNG), ("../0.json", row())], "path_escapes"),
        ([("0.png", kind(tarfile.SYMTYPE)), ("0.json", row())], "not_a_file"),
        ([("0.png", kind(tarfile.LNKTYPE)), ("0.json", row())], "not_a_file"),
        ([("0.png", kind(tarfile.CHRTYPE)), ("0.json", row())], "not_a_file"),
        ([("0.png", kind(tarfile.FIFOTYPE)), ("0.json", row())], "not_a_file"),
        ([("0.png", PNG), ("0.json", big)], "member_too_large"),
        ([("0.png", PNG)], "no_json"),
        ([("0.json", row())], "no_image"),
        ([("0.png", PNG), ("0.png", PNG), ("0.json", row())], "duplicate_member"),
        ([("0.png", PNG), ("0.jpg", PNG), ("0.json", row())], "several_images"),
        ([("0.png", PNG[:60]), ("0.json", row())], "corrupt_image"),
        ([("0.png", b""), ("0.json", row())], "empty_image"),
        ([("0.png", (IMAGES / "4.png").read_bytes()), ("0.json", row())], "image_bomb"),
    ],
)
def test_members_that_break_a_rule_are_quarantined_and_the_next_sample_is_read(
    members, reason, tmp_path
):
    check(members, reason, tmp_path)


FULL = {"width": 64, "height": 48}
TWICE = [WHERE[0], {"role": "assistant", "content": "[0.1,0.2,0.3,0.4] [0.1,0.2,0.3,0.4]"}]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (row(image="/0.png"), "path_escapes"),
        (row(image="a/../../0.png"), "path_escapes"),
        (row(image="2.png"), "image_differs"),
        (row(image="1.png", sha256="0", **FULL), "image_differs"),
        (row(image="/1.png", sha256="0", **FULL), "path_escapes"),
        (b"{", "not_json"),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "not_json"),
        (b'{"messages": [{"role": "user", "content": "\xff"}]}', "not_utf8"),
        (b'{"messages": [], "boxes": [[NaN, 0, 0, 0]]}', "not_json"),
        (b'{"messages": [], "boxes": [[1%s, 0, 0, 0]]}' % (b"0" * 400), "bad_entry"),
        (b'{"messages": [], "width": 1%s}' % (b"0" * 400), "bad_entry"),
        (b'{"x":' * 99_999, "not_json"),
        (row(messages=[]), "bad_turns"),
        (row(messages=SAID[::-1]), "bad_turns"),
        (row(task="banana"), "unknown_task"),
        (row(frame="banana"), "bad_entry"),
        (row(decimals=9), "bad_entry"),
        (row(messages=WHERE, decimals=1, boxes=[[0, 0, 1, 1]]), "boxes_differ"),
        (row(messages=WHERE, decimals=1, boxes=[[0.1, 0.2, 0.3, 0.4]] * 2), "boxes_differ"),
        (row(messages=WHERE, decimals=1, boxes=[[0, 0, 2, 1]]), "bad_box"),
        (row(messages=TWICE, decimals=1, boxes=[[0.1, 0.2, 0.3, 0.4]]), "boxes_differ"),
        (row(boxes=[[0, 0, 1, 1]]), "boxes_differ"),
        (row(messages=WHERE), "bad_box"),
        (row(origin={"source": "x", "scores": {"a": None}}), "bad_entry"),
    ],
)
def test_text_that_breaks_a_rule_is_quarantined_and_the_next_sample_is_read(text, reason, tmp_path):
    check([("0.png", PNG), ("0.json", text)], reason, tmp_path)


def check(members, reason, tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    (root / "2.png").write_bytes((IMAGES / "2.png").read_bytes())
    path = tar(tmp_path / "a.tar", *members, ("1.png", PNG), ("1.json", row()))
    found, *_, fine = read(path, root)
    assert isinstance(found, Quarantined)
    assert found.reason == reason
    assert found.where.startswith("a.tar[")
    assert fine.turns[1].text == "a cat"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.tar", "images"]
    assert {one.name for one in root.iterdir()} <= {"0.png", "1.png", "2.png"}


def test_a_file_with_holes_is_refused_before_its_zeros_fill_the_memory(tmp_path):
    path = tar(tmp_path / "a.tar", ("0.json", row()))
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as out:
        info = tarfile.TarInfo("0.json")
        info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
        out.addfile(info, io.BytesIO(b"x" * 512))
    data = bytearray(path.read_bytes())
    data[386:398] = b"00000000000\0"  # one piece at 0 ...
    data[398:410] = b"00000001000\0"
    data[483:495] = b"77777777777\0"  # ... of a file of 8 GiB
    data[148:156] = b"        "
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data)
    assert reasons(read(path)) == ["not_a_file"]


def test_a_name_that_is_not_utf8_can_still_be_told(tmp_path):
    path = tar(tmp_path / "a.tar", ("caf\udce9.json", row()))
    (found,) = read(path)
    assert found.where == "a.tar[caf\\udce9]"
    found.where.encode()


def test_a_tar_cut_anywhere_gives_what_is_whole_and_says_that_it_was_cut(tmp_path):
    many = [sample(number) for number in range(4)]
    WebDatasetFormat().write(many, tmp_path / "out", IMAGES)
    whole = (tmp_path / "out" / "shard-000000.tar").read_bytes()
    content = whole.rstrip(b"\0")
    for cut in range(0, len(content), 128):
        path = tmp_path / "cut.tar"
        path.write_bytes(whole[:cut])
        if cut < 512:
            with pytest.raises(ConfigError, match=r"cut\.tar"):
                read(path)
            continue
        found = read(path)
        fine = [one for one in found if isinstance(one, Sample)]
        assert fine == many[: len(fine)]
        assert reasons(found[len(fine) :]) == ["damaged_tar"]
        assert len(fine) >= cut // (len(content) // 4 + 1) - 1


def test_a_damaged_header_does_not_end_the_file_without_a_word(tmp_path):
    WebDatasetFormat().write([sample(n) for n in range(4)], tmp_path / "out", IMAGES)
    path = tmp_path / "out" / "shard-000000.tar"
    data = bytearray(path.read_bytes())
    second = data.index(b"000000001.json")
    data[second + 3] ^= 0x40
    path.write_bytes(data)
    assert reasons(read(path)) == ["damaged_tar"]


def test_a_folder_that_holds_anything_else_is_not_written_over(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    (tmp_path / "file").write_text("x")
    for out, message in (
        (tmp_path / "mine", "holds thesis.tex"),
        (tmp_path / "file", "a file has that name"),
        (tmp_path / "out.tar", "leave the .tar away"),
        (Path(), "give it a name"),
    ):
        with pytest.raises(ConfigError, match=message):
            WebDatasetFormat().write([sample(0)], out, IMAGES)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years"


@pytest.mark.parametrize("name", ["nowhere", "empty", "text.tar", "packed.tar"])
def test_what_is_no_tar_is_a_config_error_that_names_it(name, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.tar").write_text("{" * 2000)
    with tarfile.open(tmp_path / "packed.tar", "w:gz"):
        pass
    with pytest.raises(ConfigError, match=name):
        read(tmp_path / name)


def test_an_image_that_cannot_be_put_down_is_told(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").write_text("a file where a folder should be")
    path = tar(tmp_path / "a.tar", ("a/0.png", PNG), ("a/0.json", row()))
    assert reasons(read(path, tmp_path / "root")) == ["image_not_written"]


def test_long_keys_that_begin_alike_are_samples_of_their_own(tmp_path):
    keys = [f"{'k' * 210}{last}" for last in "ab"]
    members = [
        (f"{key}{end}", data) for key in keys for end, data in ((".json", row()), (".png", PNG))
    ]
    path = tar(tmp_path / "a.tar", *members)
    assert reasons(read(path, tmp_path / "new")) == ["", ""]
    assert WebDatasetFormat().count(path) == 2
