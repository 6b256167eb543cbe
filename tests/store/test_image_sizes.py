import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from genixer.store.image_sizes import ImageSizes
from genixer.store.images import ImageCatalog, ImageError

IMAGES = Path(__file__).parents[1] / "fixtures" / "images"


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def test_what_one_wrote_another_reads(tmp_path):
    one, two = (ImageSizes(tmp_path / "sizes", "a") for _ in range(2))
    for number in range(2000):
        one.put(digest(number), (number + 1, 7))
    known = [two.get(digest(number)) for number in range(2000)]
    assert known == [(number + 1, 7) for number in range(2000)]
    assert two.get(digest(2000)) is None
    assert ImageSizes(tmp_path / "sizes", "b").get(digest(1)) is None


@pytest.mark.parametrize("bit", range(0, 48 * 8, 5))
def test_a_damaged_entry_is_not_known_and_may_be_written_again(tmp_path, bit):
    path = tmp_path / "sizes"
    ImageSizes(path, "a").put(digest(1), (640, 480))
    data = bytearray(path.read_bytes())
    data[len(data) - 48 + bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    sizes = ImageSizes(path, "a")
    assert sizes.get(digest(1)) is None
    sizes.put(digest(1), (640, 480))
    assert sizes.get(digest(1)) == (640, 480)


def test_a_file_cut_off_anywhere_gives_right_answers_or_none(tmp_path):
    path = tmp_path / "sizes"
    ImageSizes(path, "a").put(digest(1), (640, 480))
    whole = path.read_bytes()
    for left in range(1, 49):
        path.write_bytes(whole[:-left])
        assert ImageSizes(path, "a").get(digest(1)) is None


def test_a_full_bucket_stays_as_large_and_knows_the_latest(tmp_path):
    sizes = ImageSizes(tmp_path / "sizes", "a")
    same_place = [digest(0)[:8] + digest(number)[8:] for number in range(50)]
    for number, one in enumerate(same_place, start=1):
        sizes.put(one, (number, number))
        assert sizes.get(one) == (number, number)
    held = [sizes.get(one) for one in same_place]
    assert sum(size is not None for size in held) == 8
    assert all(size in (None, (at, at)) for at, size in enumerate(held, start=1))


def test_many_writers_at_once_leave_only_right_entries(tmp_path):
    def write(start: int) -> None:
        mine = ImageSizes(tmp_path / "sizes", "a")
        for number in range(start, start + 300):
            mine.put(digest(0)[:8] + digest(number % 20)[8:], (number % 20 + 1, 5))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    sizes = ImageSizes(tmp_path / "sizes", "a")
    for number in range(20):
        found = sizes.get(digest(0)[:8] + digest(number)[8:])
        assert found in (None, (number + 1, 5))


def test_a_place_that_cannot_be_written_knows_nothing(tmp_path):
    sizes = ImageSizes(tmp_path / "no" / "sizes", "a")
    sizes.put(digest(1), (1, 1))
    assert sizes.get(digest(1)) is None


def test_a_catalog_says_the_same_with_and_without_what_others_know(tmp_path):
    images = tmp_path / "images"
    shutil.copytree(IMAGES, images)

    def all_of(catalog: ImageCatalog) -> list[object]:
        found: list[object] = []
        for name in ("1.png", "2.png", "3.png", "4.png", "9.png", "../1.png"):
            try:
                found.append(catalog.ref(name))
            except ImageError as error:
                found.append((error.reason, error.detail))
        return found

    alone = all_of(ImageCatalog(images))
    for _ in range(2):
        catalog = ImageCatalog(images)
        catalog.share(tmp_path / "sizes")
        assert all_of(catalog) == alone


def test_other_bytes_under_the_same_name_are_decoded(tmp_path):
    (tmp_path / "a.png").write_bytes((IMAGES / "1.png").read_bytes())
    first = ImageCatalog(tmp_path)
    first.share(tmp_path / "sizes")
    first.ref("a.png")
    (tmp_path / "a.png").write_bytes((IMAGES / "2.png").read_bytes())
    second = ImageCatalog(tmp_path)
    second.share(tmp_path / "sizes")
    assert second.ref("a.png") == ImageCatalog(tmp_path).ref("a.png")
    (tmp_path / "a.png").write_bytes((IMAGES / "3.png").read_bytes())
    third = ImageCatalog(tmp_path)
    third.share(tmp_path / "sizes")
    with pytest.raises(ImageError, match="corrupt_image"):
        third.ref("a.png")
