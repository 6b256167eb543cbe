import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genixer.data import Quarantined
from genixer.errors import ConfigError
from genixer.sources.unlabelled import Pool, find_pools, image_paths, pool_images


def images(place: Path, root: Path) -> list[str | Quarantined]:
    return [image for pool in find_pools(place) for image in pool_images(pool, root)]


def pack(path: Path, *names: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as out:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 3
            out.addfile(info, io.BytesIO(b"abc"))
    return path


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
    assert list(image_paths(tmp_path)) == ["A.jpeg", "a/b/c.webp", "a/z.jpg", "b.PNG"]


def test_a_name_that_is_not_utf8_is_listed_in_words_that_can_be_written(tmp_path: Path) -> None:
    try:
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))).write_bytes(b"")
    except OSError:
        pytest.skip("this disk refuses such names")
    assert [name.encode() for name in image_paths(tmp_path)] == [b"caf\\udce9.png"]


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "a.", "a-", "a0", "b", "A"]), min_size=1, max_size=3),
        min_size=1,
        max_size=6,
    )
)
def test_the_order_is_that_of_whole_paths(
    tmp_path_factory: pytest.TempPathFactory, names: list[list[str]]
) -> None:
    folder = tmp_path_factory.mktemp("order")
    for name in names:
        path = folder.joinpath(*name).with_name(f"{name[-1]}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = list(image_paths(folder))
    assert found == sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "x.png").touch()
    (tmp_path / "deep" / "loop").symlink_to(tmp_path)
    assert list(image_paths(tmp_path)) == ["deep/x.png"]


def test_a_folder_that_cannot_be_read_stops_the_step(tmp_path: Path) -> None:
    (tmp_path / "file.png").touch()
    with pytest.raises(ConfigError, match=r"file\.png cannot be read"):
        list(image_paths(tmp_path / "file.png"))


def test_the_root_itself_may_be_the_pool(tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    assert images(tmp_path, tmp_path) == ["x.png"]


def test_a_tar_gives_its_images_in_its_own_order_and_no_captions(tmp_path: Path) -> None:
    pack(tmp_path / "p" / "0.tar", "9.jpg", "9.json", "9.txt", "1.PNG", "._1.png", "a/2.jpg")
    assert images(tmp_path / "p" / "0.tar", tmp_path) == [
        "p/0.tar/9.jpg",
        "p/0.tar/1.PNG",
        "p/0.tar/a/2.jpg",
    ]
    assert images(tmp_path / "p" / "0.tar" / "a", tmp_path) == ["p/0.tar/a/2.jpg"]


def test_names_that_lead_out_of_a_tar_are_listed_to_be_refused(tmp_path: Path) -> None:
    pack(tmp_path / "x.tar", "/etc/1.jpg", "../2.jpg")
    assert images(tmp_path / "x.tar", tmp_path) == ["x.tar//etc/1.jpg", "x.tar/../2.jpg"]


def test_signs_stand_for_many_pools_in_the_order_of_their_names(tmp_path: Path) -> None:
    pack(tmp_path / "p" / "00001.tar", "b.jpg")
    pack(tmp_path / "p" / "00000.tar", "a.jpg")
    pack(tmp_path / "q" / "00002.tar", "c.jpg")
    assert images(tmp_path / "p" / "*.tar", tmp_path) == [
        "p/00000.tar/a.jpg",
        "p/00001.tar/b.jpg",
    ]
    assert len(images(tmp_path / "*" / "0000[02].tar", tmp_path)) == 2
    assert find_pools(tmp_path / "*.tar") == []
    assert find_pools(tmp_path / "p" / "*.tar" / "sub") == [
        Pool(tmp_path / "p" / "00000.tar", "sub"),
        Pool(tmp_path / "p" / "00001.tar", "sub"),
    ]


def test_a_relative_pattern_is_relative_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(tmp_path / "p" / "0.tar", "a.jpg")
    monkeypatch.chdir(tmp_path)
    assert find_pools(Path("p/*.tar")) == [Pool(Path("p/0.tar"))]


def test_a_damaged_tar_gives_what_lies_before_the_damage_and_says_so(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.tar", "a.jpg", "b.jpg")
    data = path.read_bytes()
    path.write_bytes(data[:1024] + b"\x07" * 512 + data[1536:])
    first, broken = images(path, tmp_path)
    assert first == "x.tar/a.jpg"
    assert isinstance(broken, Quarantined)
    assert (broken.where, broken.reason) == ("x.tar", "corrupt_archive")


def test_a_list_gives_each_line_once_relative_to_the_image_root(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfb.png\r\n\n a.png \nb.png\n../c.png\ncaf\xe9.png\nx.tar/1.png")
    expected = ["b.png", "a.png", "../c.png", "caf\\xe9.png", "x.tar/1.png"]
    assert images(path, tmp_path / "anywhere") == expected


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_a_llava_file_gives_its_images_once_and_its_broken_entries(
    tmp_path: Path, suffix: str
) -> None:
    rows = [
        b'{"id": 1, "image": "b.png", "conversations": []}',
        b'{"id": 2, "conversations": []}',
        b'{"id": 3, "image": ["a.png", "b.png"]}',
        b'{"id": 4, "image": 7}',
        b'{"id": 5, "image": "caf\xe9.png"}',
        b'{"id": 6, "image": ""}',
        b'{"id": 7, "image": null, "weight": NaN}',
    ]
    path = tmp_path / f"data{suffix}"
    path.write_bytes(b"\n".join(rows) if suffix == ".jsonl" else b"[" + b",".join(rows) + b"]")
    found = images(path, tmp_path)
    assert [image for image in found if isinstance(image, str)] == ["b.png", "a.png"]
    broken = [image for image in found if isinstance(image, Quarantined)]
    assert [row.reason for row in broken] == ["bad_entry", "not_utf8", "not_json"]
    assert broken[0].where == ("data.jsonl:4" if suffix == ".jsonl" else "data.json[3]")
    assert json.loads(broken[0].raw) == {"id": 4, "image": 7}


def test_parquet_gives_every_row_of_the_column_of_images(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    (tmp_path / "p").mkdir()
    table = pyarrow.table({"image": [b"x", None], "thumb": [b"y", b"z"], "text": ["a", "b"]})
    write_table(table, tmp_path / "p" / "0.parquet")
    expected = ["p/0.parquet/image/0", "p/0.parquet/image/1"]
    assert images(tmp_path / "p" / "0.parquet" / "image", tmp_path) == expected
    assert images(tmp_path / "p" / "*.parquet" / "image", tmp_path) == expected
    (tmp_path / "p" / "1.parquet").write_bytes(b"nothing")
    (broken,) = images(tmp_path / "p" / "1.parquet", tmp_path)
    assert isinstance(broken, Quarantined)
    assert (broken.where, broken.reason) == ("p/1.parquet", "corrupt_archive")


def test_a_pool_of_no_known_kind_or_outside_the_root_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "x.zip").touch()
    with pytest.raises(ConfigError, match=r"x\.zip is neither a folder nor"):
        images(tmp_path / "x.zip", tmp_path)
    with pytest.raises(ConfigError, match="not inside the run's image root"):
        images(pack(tmp_path / "x.tar", "a.jpg"), tmp_path / "root")


def test_a_folder_called_like_an_archive_stays_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x.tar" / "sub").mkdir(parents=True)
    (tmp_path / "x.tar" / "sub" / "a.jpg").touch()
    assert images(tmp_path / "x.tar", tmp_path) == ["x.tar/sub/a.jpg"]
    assert images(tmp_path / "x.tar" / "sub", tmp_path) == ["x.tar/sub/a.jpg"]
