"""Boxes beside boxes, and the crops cut of them."""

import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from genixer.data import Box, ImageRef
from genixer.models.clip import ClipConfig
from genixer.training.crops import BAD, GOOD, Picture, cut, misplaced, nudged

CONFIG = ClipConfig(words=("cat", "dog"), names=("cat", "dog"))
start, side = st.floats(0, 0.7), st.floats(0.05, 0.3)
boxes = st.builds(lambda x, y, w, h: Box(x, y, x + w, y + h), start, start, side, side)


@given(boxes, st.integers())
def test_a_nudged_box_still_fits(box: Box, seed: int) -> None:
    assert nudged(box, random.Random(seed)).iou(box) >= GOOD


@given(boxes, st.lists(boxes, max_size=4), st.integers())
def test_a_misplaced_box_fits_nothing_known(box: Box, known: list[Box], seed: int) -> None:
    found = misplaced(box, known, random.Random(seed))
    assert found is None or all(found.iou(one) < BAD for one in (box, *known))


def test_most_misplaced_boxes_touch_their_object() -> None:
    rng = random.Random(5)
    box = Box(0.4, 0.4, 0.6, 0.6)
    found = [misplaced(box, [], rng) for _ in range(200)]
    assert sum(one is not None and one.iou(box) > 0.05 for one in found) > 100


def test_where_everything_fits_something_there_is_no_misplaced_box() -> None:
    tiles = [Box(x / 40, y / 40, (x + w) / 40, (y + h) / 40)
             for w in (2, 4, 8, 16) for h in (2, 4, 8, 16)
             for x in range(0, 40 - w, 2) for y in range(0, 40 - h, 2)]  # fmt: skip
    assert misplaced(Box(0.4, 0.4, 0.6, 0.6), tiles, random.Random(1)) is None


def picture(folder: Path, name: str) -> Picture:
    Image.new("RGB", (50, 40), (200, 30, 30)).save(folder / name)
    ref = ImageRef(name, 50, 40, name)
    return Picture(ref, ((Box(0.2, 0.2, 0.5, 0.5), "cat"), (Box(0.6, 0.6, 0.9, 0.9), "owl")))


def test_every_good_crop_is_followed_by_a_misplaced_one(tmp_path: Path) -> None:
    crops = cut([picture(tmp_path, "a.png")], CONFIG, tmp_path, 7, per_region=3)
    assert crops.labels.tolist() == [1, 0] * 3
    assert crops.pixels.shape == (6, 3, 48, 48)


def test_crops_depend_on_seed_and_image_not_on_the_others(tmp_path: Path) -> None:
    both = [picture(tmp_path, "a.png"), picture(tmp_path, "b.png")]
    two = cut(both, CONFIG, tmp_path, 7, per_region=1)
    alone = cut(both[1:], CONFIG, tmp_path, 7, per_region=1)
    assert (two.pixels[2:] == alone.pixels).all()


def test_unreadable_images_are_counted(tmp_path: Path) -> None:
    missing = Picture(ImageRef("gone.png", 9, 9, "x"), ((Box(0, 0, 1, 1), "cat"),))
    crops = cut([missing], CONFIG, tmp_path, 7, per_region=1)
    assert (crops.unreadable, len(crops.labels)) == (1, 0)
