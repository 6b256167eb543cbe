import os
from pathlib import Path

import pytest

from genixer.pipeline.external import ExternalDigests


def test_a_file_is_read_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data.json"
    data.write_text("one")
    first = ExternalDigests(tmp_path)
    digests = first.of([data])
    first.save()
    with monkeypatch.context() as patch:
        patch.setattr("genixer.pipeline.external.digest_file", lambda _: pytest.fail("read again"))
        assert ExternalDigests(tmp_path).of([data]) == digests
    data.write_text("two")
    os.utime(data, ns=(1, 1))
    assert ExternalDigests(tmp_path).of([data]) != digests


def test_folders_give_every_file_and_steps_give_none(tmp_path: Path) -> None:
    (tmp_path / "set" / "deep").mkdir(parents=True)
    (tmp_path / "set" / "b").write_text("b")
    (tmp_path / "set" / "deep" / "a").write_text("a")
    found = ExternalDigests(tmp_path).of([tmp_path / "set", Path("@world/x.json")])
    assert [name for name, _ in found] == ["set/b", "set/deep/a"]


def test_a_torn_memory_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "external.json").write_text("{")
    assert ExternalDigests(tmp_path).of([]) == []


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ExternalDigests(tmp_path).of([tmp_path / "gone"])
