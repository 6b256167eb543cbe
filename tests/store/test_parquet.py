import io
import os

import pytest
from PIL import Image

from genixer.errors import ConfigError
from genixer.store import archives, parquet
from genixer.store.archives import list_members, read_member
from genixer.store.images import REASONS, ImageCatalog, ImageError, open_image

pyarrow = pytest.importorskip("pyarrow")


def png(side: int = 8) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (side, 8), "red").save(data, "PNG")
    return data.getvalue()


def write(path, **columns):
    from pyarrow.parquet import write_table

    rows = columns.pop("row_group_size", 2)
    write_table(pyarrow.table(columns), path, row_group_size=rows)
    return path


def feature(values):
    """Column as `datasets` writes images: structs of bytes and path."""
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    rows = [None if value is None else {"bytes": value, "path": "a.png"} for value in values]
    return pyarrow.array(rows, kind)


@pytest.mark.parametrize("kind", ["struct", "binary", "large_binary"])
def test_rows_open_like_files_in_a_folder_named_like_the_column(tmp_path, kind):
    values = [png(8 + number) for number in range(5)]
    column = (
        feature(values) if kind == "struct" else pyarrow.array(values, getattr(pyarrow, kind)())
    )
    write(tmp_path / "pool.parquet", image=column, caption=["x"] * 5)
    catalog = ImageCatalog(tmp_path)
    widths = [catalog.ref(f"pool.parquet/image/{row}").width for row in (4, 0, 3, 1, 2)]
    assert widths == [12, 8, 11, 9, 10]
    assert list(list_members(tmp_path / "pool.parquet").members) == [f"image/{n}" for n in range(5)]


def test_the_column_must_be_named_where_several_hold_bytes(tmp_path):
    path = write(tmp_path / "x.parquet", image=feature([png()]), mask=[b"x"], text=["x"])
    with pytest.raises(ConfigError, match=r"2 columns may hold images \(image, mask\).*COLUMN"):
        list_members(path)
    with pytest.raises(ConfigError, match="column 'imag' holds no images; did you mean image"):
        list_members(path, "imag")
    assert list(list_members(path, "mask").members) == ["mask/0"]
    with pytest.raises(ConfigError, match="none does"):
        list_members(write(tmp_path / "y.parquet", text=["x"]))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("x.parquet/image/9", "missing_image"),
        ("x.parquet/image/-1", "missing_image"),
        ("x.parquet/image/1e3", "missing_image"),
        (f"x.parquet/image/{'9' * 400}", "missing_image"),
        ("x.parquet/image/\u0663", "missing_image"),
        ("x.parquet/image", "missing_image"),
        ("x.parquet/text/0", "missing_image"),
        ("x.parquet/image/1", "missing_image"),
        ("x.parquet/image/2", "empty_image"),
        ("x.parquet/image/3", "not_an_image"),
        ("x.parquet/image/4", "corrupt_image"),
        ("x.parquet/image/5", "image_bomb"),
        ("x.parquet/../x.parquet/image/0", "path_escapes"),
        ("no.parquet/image/0", "corrupt_archive"),
    ],
)
def test_every_row_that_cannot_be_used_has_its_reason(tmp_path, monkeypatch, path, expected):
    monkeypatch.setattr(archives, "MAX_BYTES", 5000)
    values = [png(), None, b"", b"text", png()[:40], b"\x89PNG" + b"\0" * 5000]
    write(tmp_path / "x.parquet", image=feature(values), text=["x"] * 6)
    (tmp_path / "no.parquet").write_bytes(b"PAR1 and nothing else PAR1")
    assert open_image(tmp_path, "x.parquet/image/0").size == (8, 8)
    with pytest.raises(ImageError) as found:
        open_image(tmp_path, path)
    assert found.value.reason == expected
    assert expected in REASONS
    assert str(tmp_path) not in found.value.detail


def test_a_row_whose_bytes_are_null_is_missing(tmp_path):
    write(tmp_path / "x.parquet", image=pyarrow.array([None, png()], pyarrow.binary()))
    with pytest.raises(ImageError, match="missing_image"):
        open_image(tmp_path, "x.parquet/image/0")


def test_damage_is_said_where_the_file_is_listed_and_where_its_rows_are_read(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1")
    assert "not a Parquet file" in list_members(path).damage
    write(path, image=[os.urandom(2000) for _ in range(8)])
    data = bytearray(path.read_bytes())
    data[4:3000] = b"\xff" * 2996
    path.write_bytes(data)
    assert list_members(path).damage == ""  # the footer is whole
    with pytest.raises(ImageError, match="corrupt_archive"):
        open_image(tmp_path, "x.parquet/image/0")


def test_a_group_of_rows_that_would_fill_the_memory_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_MOST_GROUP_BYTES", 10_000)
    path = write(tmp_path / "x.parquet", image=feature([os.urandom(9000)] * 2), row_group_size=1)
    assert len(read_member(path, "image/1")) == 9000
    write(path, image=feature([os.urandom(9000), os.urandom(9000)]))
    os.utime(path, ns=(1, 1))
    with pytest.raises(archives.MemberError, match="corrupt_archive: a group of rows of"):
        read_member(path, "image/1")


def test_without_pyarrow_the_way_out_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "x.parquet", image=[b"x"])
    monkeypatch.setattr(parquet, "import_module", lambda name: __import__("no_such_module"))
    with pytest.raises(ConfigError, match=r"pip install 'genixer\[data\]'"):
        list_members(path)
