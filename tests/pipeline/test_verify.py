from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from genixer.errors import IncompleteError, StoreError
from genixer.pipeline.run import run
from genixer.pipeline.verify import verify
from genixer.store.layout import StepFolder
from genixer.store.manifest import Manifest, read_manifest, read_receipt, write_stored


@pytest.fixture
def folder(toy_config: Callable[..., Path], tmp_path: Path) -> Path:
    return run(toy_config(), out=tmp_path / "run").folder


def problem(folder: Path) -> str:
    report = verify(folder)
    assert not report.ok
    assert isinstance(report.error(), StoreError)
    assert len(report.problems) == 1, report.problems
    return report.problems[0]


def rewrite(folder: Path, step: str, **changes: object) -> None:
    place = StepFolder(folder / step)
    manifest = read_manifest(place)
    assert isinstance(manifest, Manifest)
    write_stored(place.manifest, msgspec.structs.replace(manifest, **changes))


def test_a_whole_run_is_proved(folder: Path) -> None:
    report = verify(folder)
    assert report.ok
    assert report.error() is None
    assert "scale-2  toy_scale    30    26         3            1  too_small 3, unlucky 1" in (
        report.table
    )
    assert report.as_mapping()["steps"]["scale-2"]["in"] == 30


def test_every_byte_of_a_shard_counts(folder: Path) -> None:
    path = folder / "numbers" / "part-00002.jsonl"
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert problem(folder).startswith(f"{path}: its digest is")
    path.write_bytes(whole + b"\n")
    assert problem(folder) == f"{path}: it has {len(whole) + 1} bytes instead of {len(whole)}"


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("numbers/files/images/3.bin", None, "it cannot be read: No such file or directory"),
        ("numbers/files/images/3.bin", b"short", "it has 5 bytes instead of 50"),
        ("numbers/files/images/3.bin", b"4" * 50, "its digest is"),
        ("numbers/part-00001.jsonl", None, "it is missing"),
        ("numbers/files/stray.bin", b"", "no receipt names this file"),
        ("numbers/receipts/finish.json", None, "it is missing"),
    ],
)
def test_missing_changed_and_stray_files_are_named(
    folder: Path, path: str, content: bytes | None, expected: str
) -> None:
    if content is None:
        (folder / path).unlink()
    else:
        (folder / path).write_bytes(content)
    assert problem(folder).startswith(f"{folder / path}: {expected}")


def test_a_receipt_that_lies_about_reasons_is_found(folder: Path) -> None:
    place = StepFolder(folder / "scale-2")
    for path in sorted(place.receipts.glob("0*.json")):
        receipt = read_receipt(place, path.stem)
        assert receipt is not None
        if receipt.counts.rejected:
            counts = msgspec.structs.replace(receipt.counts, rejected={"other": 1})
            write_stored(path, msgspec.structs.replace(receipt, counts=counts))
            break
    problems = "\n".join(verify(folder).problems)
    assert f"{path}: it says 3 in" in problems
    assert "does not agree with manifest.json" in problems


def test_a_manifest_that_lies_is_found(folder: Path) -> None:
    manifest = read_manifest(StepFolder(folder / "scale-2"))
    assert manifest is not None
    more = msgspec.structs.replace(manifest.counts, kept=27)
    rewrite(folder, "scale-2", counts=more)
    problems = "\n".join(verify(folder).problems)
    assert "30 in = 27 kept + 3 rejected + 1 quarantined does not add up" in problems
    assert "shards add up to 30 in = 26 kept" in problems


def test_a_shard_left_out_of_a_manifest_is_found(folder: Path) -> None:
    manifest = read_manifest(StepFolder(folder / "scale-2"))
    assert manifest is not None
    rewrite(folder, "scale-2", shards=manifest.shards[1:])
    assert any("shard 0 begins at 3 instead of 0" in line for line in verify(folder).problems)


def test_items_must_be_what_the_inputs_kept(folder: Path) -> None:
    manifest = read_manifest(StepFolder(folder / "numbers"))
    assert manifest is not None
    fewer = msgspec.structs.replace(manifest.counts, kept=29, items=29)
    rewrite(folder, "numbers", counts=fewer)
    problems = verify(folder).problems
    assert f"{folder / 'scale-2'}: 30 items, but its inputs kept 29" in problems


def test_an_input_that_was_made_again_otherwise_is_found(folder: Path) -> None:
    rewrite(folder, "numbers", content="another")
    assert any("read an earlier version of numbers" in line for line in verify(folder).problems)


def test_a_manifest_of_other_settings_is_found(folder: Path) -> None:
    rewrite(folder, "total", fingerprint="another")
    assert problem(folder).endswith("made with other settings than run.json says")


def test_an_unfinished_run_is_incomplete_not_damaged(folder: Path) -> None:
    (folder / "total" / "manifest.json").unlink()
    error = verify(folder).error()
    assert isinstance(error, IncompleteError)
    assert "not finished: total" in str(error)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no run is here"):
        verify(tmp_path)


def test_an_unreadable_run_file_is_named(folder: Path) -> None:
    (folder / "run.json").write_text("{")
    with pytest.raises(StoreError, match=r"run\.json: not readable"):
        verify(folder)
    (folder / "run.json").write_text('{"schema": 99}')
    with pytest.raises(StoreError, match=r"run\.json: schema 99, this version reads up to 1"):
        verify(folder)
