import errno
from pathlib import Path

import pytest
import xxhash

from genixer.errors import StoreError
from genixer.store import disk


def test_write_atomic_replaces_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    for data in (b"old", b"new"):
        disk.write_atomic(tmp_path / "deep" / "x", data)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x"]
    assert (tmp_path / "deep" / "x").read_bytes() == b"new"


def test_a_full_disk_names_path_and_bytes(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match=r"x: No space left on device: at least 123 bytes"),
        disk.full_disk(tmp_path / "x", 123),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), disk.full_disk(tmp_path / "x", 1):
        raise PermissionError(errno.EACCES, "no")


def test_digests_of_large_files_are_read_in_pieces(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000
    (tmp_path / "x").write_bytes(data)
    assert disk.digest_file(tmp_path / "x") == (xxhash.xxh3_128_hexdigest(data), len(data))


def test_a_link_is_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    disk.link(tmp_path / "x", tmp_path / "deep" / "y")
    assert (tmp_path / "x").samefile(tmp_path / "deep" / "y")


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM])
def test_where_links_do_not_go_files_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, "no links here")

    monkeypatch.setattr("os.link", refuse)
    (tmp_path / "x").write_bytes(b"x")
    disk.link(tmp_path / "x", tmp_path / "y")
    assert (tmp_path / "y").read_bytes() == b"x"
