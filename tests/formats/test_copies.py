"""Images in archives are written out, or the export says that it cannot be used."""

import tarfile
from pathlib import Path

import pytest

import genixer
from genixer.data import Origin, Sample, Turn, encode_row
from genixer.errors import ConfigError, LossError
from genixer.formats import FORMATS
from genixer.store.images import ImageCatalog, open_image

FIXTURES = Path(__file__).parents[1] / "fixtures" / "images"
PATHS = ("pool/0.tar/a/1.png", "plain/2.png")


@pytest.fixture
def rows(tmp_path):
    root = tmp_path / "pictures"
    for folder in ("pool", "plain"):
        (root / folder).mkdir(parents=True)
    with tarfile.open(root / "pool" / "0.tar", "w") as tar:
        tar.add(FIXTURES / "1.png", "a/1.png")
    (root / "plain" / "2.png").write_bytes((FIXTURES / "2.png").read_bytes())
    catalog = ImageCatalog(root)
    turns = Turn("user", "What?"), Turn("assistant", "a cat")
    samples = [
        Sample.of("common_vqa", catalog.ref(path), turns, Origin("x", "CC0")) for path in PATHS
    ]
    (tmp_path / "rows.jsonl").write_bytes(b"".join(encode_row(one) + b"\n" for one in samples))
    return samples


def exported(tmp_path, name="llava", **options):
    out = tmp_path / f"out{'.jsonl' if name == 'llava' else ''}"
    images = tmp_path / "pictures"
    done = genixer.export(tmp_path / "rows.jsonl", out, format=name, images=images, **options)
    return out, done


def test_images_are_copied_to_where_the_rows_say(rows, tmp_path):
    copied = tmp_path / "copied"
    out, done = exported(tmp_path, copy_images=copied)
    assert done == {"written": 2}
    for path, name in zip(PATHS, ("1.png", "2.png"), strict=True):
        assert f'"image":"{path}"' in out.read_text()
        assert (copied / path).read_bytes() == (FIXTURES / name).read_bytes()
        assert open_image(copied, path).size
    assert list(FORMATS.load("llava")().read(out, copied)) == rows


@pytest.mark.parametrize(("name", "settings"), [("llava", {}), ("parquet", {"images": "paths"})])
def test_images_in_archives_are_not_named_to_trainers(rows, tmp_path, name, settings):
    with pytest.raises(
        ConfigError, match=r"pool/0\.tar/a/1\.png lies in an archive.*--copy-images"
    ):
        exported(tmp_path, name, settings=settings)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["pictures", "rows.jsonl"]


@pytest.mark.parametrize("name", ["webdataset", "parquet"])
def test_formats_that_hold_images_take_them_out_of_archives(rows, tmp_path, name):
    out, done = exported(tmp_path, name)
    assert done == {"written": 2}
    assert list(FORMATS.load(name)().read(out, tmp_path / "new")) == rows
    assert (tmp_path / "new" / PATHS[0]).is_file()


def test_a_copy_that_cannot_be_made_costs_its_row_and_is_told(rows, tmp_path):
    there = tmp_path / "copied" / "plain" / "2.png"
    there.parent.mkdir(parents=True)
    there.write_bytes((FIXTURES / "1.png").read_bytes())
    (tmp_path / "pictures" / "pool" / "0.tar").unlink()
    with pytest.raises(LossError, match="image_differs 1, missing_image 1"):
        exported(tmp_path, copy_images=tmp_path / "copied")
    _, done = exported(tmp_path, copy_images=tmp_path / "copied", allow_loss=True)
    assert done == {"written": 0, "image_differs": 1, "missing_image": 1}
    assert there.read_bytes() == (FIXTURES / "1.png").read_bytes()


def test_images_are_not_copied_over_themselves(rows, tmp_path):
    with pytest.raises(ConfigError, match="is the image root itself"):
        exported(tmp_path, copy_images=tmp_path / "pictures")
