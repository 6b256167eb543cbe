from pathlib import Path

import pytest

from genixer.data import Box
from genixer.errors import CannotEncodeError
from genixer.formats import pictures
from genixer.formats.coco_boxes import from_bbox
from genixer.formats.pictures import PictureFolder, Unpacked
from genixer.store.entries import EntryError
from genixer.store.images import ImageCatalog, ImageError

IMAGES = Path(__file__).parents[1] / "fixtures" / "images"
PNG = (IMAGES / "1.png").read_bytes()


def test_the_file_of_an_image_is_read_once_for_samples_that_follow_each_other(monkeypatch):
    read = []
    real = pictures.image_bytes
    monkeypatch.setattr(pictures, "image_bytes", lambda *at: read.append(at[1]) or real(*at))
    folder, catalog = PictureFolder(IMAGES), ImageCatalog(IMAGES)
    for path in ("1.png", "1.png", "2.png", "1.png"):
        assert folder.picture(catalog.ref(path)).ending == "png"
    assert read == ["1.png", "2.png", "1.png"]


def test_a_file_above_the_limit_goes_into_no_container_and_is_not_compared(tmp_path, monkeypatch):
    ref = ImageCatalog(IMAGES).ref("1.png")
    (tmp_path / "1.png").write_bytes(PNG + b"more")
    monkeypatch.setattr(pictures, "MAX_IMAGE_BYTES", len(PNG) - 1)
    with pytest.raises(CannotEncodeError, match="image_too_large"):
        PictureFolder(IMAGES).picture(ref)
    with pytest.raises(EntryError, match="image_differs"):
        Unpacked(tmp_path).ref("1.png", PNG)


def test_an_image_is_put_down_once_and_what_was_put_is_forgotten_in_time(tmp_path):
    unpacked = Unpacked(tmp_path, keep=1)
    for path in ("a/1.png", "2.png", "a/1.png"):
        assert unpacked.ref(path, PNG).path == path
    assert (tmp_path / "a" / "1.png").read_bytes() == PNG
    with pytest.raises(EntryError, match="another image lies there"):
        unpacked.ref("2.png", (IMAGES / "2.png").read_bytes())


def test_a_size_that_was_stated_wrong_is_looked_up(tmp_path):
    ref = ImageCatalog(IMAGES).ref("1.png")
    lying = type(ref)("1.png", 48, 64, ref.sha256)
    assert Unpacked(tmp_path).ref("1.png", PNG, lying) == ref


def test_a_link_inside_the_image_root_leads_nowhere_else(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path)
    with pytest.raises(ImageError, match="path_escapes"):
        Unpacked(tmp_path / "root").ref("link/1.png", PNG)
    assert not (tmp_path / "1.png").exists()


@pytest.mark.parametrize("bbox", [(float("nan"), 0, 1, 1), (0, 0, float("inf"), 1), (0, 0, 1, 1e9)])
def test_a_box_that_is_nowhere_is_outside(bbox):
    with pytest.raises(EntryError, match="box_outside"):
        from_bbox(bbox, 10, 10, 1.0)


def test_a_box_one_pixel_outside_is_cut_off_at_the_edge():
    assert from_bbox((-1, 0, 12, 10), 10, 10, 1.0) == Box(0.0, 0.0, 1.0, 1.0)
