import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from genixer.store import archives, tar
from genixer.store.archives import MemberError, list_members, read_member, split_archive
from genixer.store.images import REASONS, ImageCatalog, ImageError, open_image


def png(colour: str = "red") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (12, 8), colour).save(data, "PNG")
    return data.getvalue()


def pack(path: Path, *members: tuple[str, object], **settings) -> Path:
    """Tar of (name, bytes) or (name, type of a member without bytes)."""
    with tarfile.open(path, "w", **settings) as out:
        for name, what in members:
            info = tarfile.TarInfo(name)
            if isinstance(what, bytes):
                info.size = len(what)
                out.addfile(info, io.BytesIO(what))
            else:
                info.type, info.linkname = what, "red.png"
                out.addfile(info)
    return path


def reason(root: Path, path: str) -> str:
    with pytest.raises(ImageError) as found:
        open_image(root, path)
    assert found.value.reason in REASONS
    return found.value.reason


def test_a_member_opens_like_a_file_in_a_folder(tmp_path):
    (tmp_path / "pool").mkdir()
    pack(tmp_path / "pool" / "0.tar", ("red.png", png()), ("deep/blue.png", png("blue")))
    (tmp_path / "red.png").write_bytes(png())
    catalog = ImageCatalog(tmp_path)
    inner = catalog.ref("pool/0.tar/red.png")
    assert inner.path == "pool/0.tar/red.png"
    assert inner.sha256 == catalog.ref("red.png").sha256
    assert open_image(tmp_path, "pool/0.tar/deep/blue.png").getpixel((1, 1)) == (0, 0, 255)


def test_a_folder_that_is_called_like_an_archive_stays_a_folder(tmp_path):
    (tmp_path / "x.tar").mkdir()
    (tmp_path / "x.tar" / "red.png").write_bytes(png())
    assert open_image(tmp_path, "x.tar/red.png").size == (12, 8)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("0.tar/none.png", "missing_image"),
        ("0.tar/", "path_escapes"),
        ("none.tar/red.png", "missing_image"),
        (f"{'x' * 300}.tar/red.png", "missing_image"),
        ("0.tar//etc/hosts.png", "path_escapes"),
        ("0.tar/../outside.png", "path_escapes"),
        ("0.tar/link.png", "not_an_image"),
        ("0.tar/hard.png", "not_an_image"),
        ("0.tar/pipe.png", "not_an_image"),
        ("0.tar/empty.png", "empty_image"),
        ("0.tar/text.png", "not_an_image"),
        ("0.tar/cut.png", "corrupt_image"),
        ("0.tar/large.png", "image_bomb"),
        ("0.tar", "not_an_image"),
        ("linked.tar/red.png", "path_escapes"),
        ("nothing.tar/red.png", "empty_image"),
        ("no.tar/red.png", "corrupt_archive"),
        ("packed.tar/red.png", "corrupt_archive"),
    ],
)
def test_every_member_that_cannot_be_used_has_its_reason(tmp_path, monkeypatch, path, expected):
    monkeypatch.setattr(archives, "MAX_BYTES", 5000)
    root = tmp_path / "images"
    root.mkdir()
    (tmp_path / "outside.png").write_bytes(png())
    pack(
        root / "0.tar",
        ("red.png", png()),
        ("/etc/hosts.png", png()),
        ("../outside.png", png()),
        ("link.png", tarfile.SYMTYPE),
        ("hard.png", tarfile.LNKTYPE),
        ("pipe.png", tarfile.FIFOTYPE),
        ("empty.png", b""),
        ("text.png", b"not a picture"),
        ("cut.png", png()[:40]),
        ("large.png", b"\x89PNG" + b"\0" * 5000),
    )
    pack(tmp_path / "outside.tar", ("red.png", png()))
    (root / "linked.tar").symlink_to(tmp_path / "outside.tar")
    (root / "nothing.tar").touch()
    (root / "no.tar").write_bytes(b"no tar at all" * 100)
    with tarfile.open(root / "packed.tar", "w:gz") as out:
        out.add(root / "0.tar", "red.png")
    assert open_image(root, "0.tar/red.png").size == (12, 8)
    assert reason(root, path) == expected


def test_names_are_those_people_know(tmp_path):
    path = tmp_path / "x.tar"
    odd = os.fsdecode(b"caf\xe9.png")
    pack(path, ("./a.png", png()), (".//b/c.png", png()), (odd, png()), errors="surrogateescape")
    names = list(list_members(path).members)
    assert names == ["a.png", "b/c.png", "caf\\xe9.png"]
    for name in names:
        assert read_member(path, name) == png()


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_read_in_every_dialect(tmp_path, format):
    name = f"{'d' * 90}/{'n' * 60}.png"
    path = pack(tmp_path / "x.tar", (name, png()), format=format)
    assert read_member(path, name) == png()


def test_a_name_that_comes_twice_means_the_later_member(tmp_path):
    path = pack(tmp_path / "x.tar", ("a.png", png()), ("b.png", png()), ("a.png", png("blue")))
    assert list(list_members(path).members) == ["a.png", "b.png"]
    assert read_member(path, "a.png") == png("blue")


def test_members_below_a_folder_can_be_listed_alone(tmp_path):
    path = pack(tmp_path / "x.tar", ("a/1.png", png()), ("ab/2.png", png()), ("a/3.txt", b"x"))
    assert list(list_members(path, "a").members) == ["a/1.png", "a/3.txt"]
    assert list(list_members(path, "a/").members) == ["a/1.png", "a/3.txt"]


@pytest.mark.parametrize("how", ["garbage", "cut in a header", "cut in a member"])
def test_damage_does_not_hide_the_members_before_it(tmp_path, how):
    path = pack(tmp_path / "x.tar", ("a.png", png()), ("b.png", png()))
    data = bytearray(path.read_bytes())
    if how == "garbage":
        data[1024:1100] = b"\x07" * 76
    path.write_bytes(
        data[: {"garbage": None, "cut in a header": 1300, "cut in a member": 1560}[how]]
    )
    listing = list_members(path)
    assert next(iter(listing.members)) == "a.png"
    assert listing.damage
    assert read_member(path, "a.png") == png()
    assert reason(tmp_path, "x.tar/b.png") in ("corrupt_archive", "corrupt_image")


def test_a_tar_of_too_many_members_is_cut_with_a_word(tmp_path, monkeypatch):
    monkeypatch.setattr(tar, "_MOST_MEMBERS", 2)
    path = pack(tmp_path / "x.tar", *((f"{number}.png", b"x") for number in range(9)))
    listing = list_members(path)
    assert len(list(listing.members)) == 3
    assert "more than 2 members" in listing.damage


def test_a_changed_archive_is_indexed_anew(tmp_path):
    path = pack(tmp_path / "x.tar", ("a.png", png()))
    assert read_member(path, "a.png") == png()
    pack(path, ("b.png", png("blue")), ("a.png", png("blue")))
    os.utime(path, ns=(1, 1))
    assert read_member(path, "a.png") == png("blue")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/b.jpg", None),
        ("a.tar", None),
        ("a.tar/b.jpg", ("a.tar", "b.jpg")),
        ("d/a.parquet/image/3", ("d/a.parquet", "image/3")),
        ("a.tar/b.parquet/3", ("a.tar", "b.parquet/3")),
        ("a.tar.gz/b.jpg", None),
    ],
)
def test_the_first_archive_of_a_path_counts(path, expected):
    assert split_archive(path) == expected


@given(at=st.integers(0, 3000), junk=st.binary(min_size=1, max_size=200))
def test_no_bytes_make_a_tar_raise_anything_but_a_member_error(tmp_path_factory, at, junk):
    path = tmp_path_factory.getbasetemp() / "junk.tar"
    pack(path, ("a.png", png()), ("x" * 150, b"1"), ("b.png", png()), format=tarfile.PAX_FORMAT)
    data = path.read_bytes()
    path.write_bytes(data[:at] + junk + data[at + len(junk) :])
    tar._indexed.cache_clear()
    for name in ["a.png", *list_members(path).members]:
        try:
            outcome = len(read_member(path, name))
        except MemberError as error:
            outcome = error.reason
        assert outcome in (*REASONS, *range(1, 4000))
