import os
from pathlib import Path

import pytest

from genixer.sources.unlabelled import image_paths


def test_images_come_sorted_from_any_depth_and_nothing_else_does(tmp_path: Path) -> None:
    for name in (
        "b.PNG",
        "a/z.jpg",
        "a/b/c.webp",
        "notes.txt",
        ".hidden.png",
        ".cache/x.png",
        "A.jpeg",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert image_paths(tmp_path) == ["A.jpeg", "a/b/c.webp", "a/z.jpg", "b.PNG"]


def test_a_name_that_is_not_utf8_is_listed_in_words_that_can_be_written(tmp_path: Path) -> None:
    try:
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))).write_bytes(b"")
    except OSError:
        pytest.skip("this disk refuses such names")
    assert [name.encode() for name in image_paths(tmp_path)] == [b"caf\\udce9.png"]
