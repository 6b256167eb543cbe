from pathlib import Path

import pytest

from genixer.data import SCHEMA, encode_row
from genixer.errors import StoreError
from genixer.store.layout import StepFolder
from genixer.store.manifest import (
    Counts,
    Manifest,
    Receipt,
    read_manifest,
    read_receipt,
    write_stored,
)

MANIFEST = Manifest(
    SCHEMA, "mix", "mix", 1, "f", "c", {}, True, Counts(2, 1, {"bad": 1}), [], {}, {}, 0.5, {}
)


@pytest.fixture
def folder(tmp_path: Path) -> StepFolder:
    return StepFolder(tmp_path)


def test_a_manifest_comes_back_as_written(folder: StepFolder) -> None:
    write_stored(folder.manifest, MANIFEST)
    assert read_manifest(folder) == MANIFEST
    assert b'"in": 2' in folder.manifest.read_bytes()


def test_absent_and_torn_manifests_are_none(folder: StepFolder) -> None:
    assert read_manifest(folder) is None
    write_stored(folder.manifest, MANIFEST)
    folder.manifest.write_bytes(folder.manifest.read_bytes()[:-20])
    assert read_manifest(folder) is None


@pytest.mark.parametrize("extra", ["", '"unheard_of": 1,'])
def test_a_newer_schema_is_refused_with_a_way_out(folder: StepFolder, extra: str) -> None:
    write_stored(folder.receipt("00000"), Receipt(SCHEMA + 1, "00000", "b"))
    text = folder.receipt("00000").read_text()
    folder.receipt("00000").write_text(text.replace('"schema"', f'{extra}"schema"'))
    with pytest.raises(StoreError, match=r"00000\.json: schema 2, this version reads up to 1"):
        read_receipt(folder, "00000")


def test_a_receipt_with_any_bit_changed_is_none(folder: StepFolder) -> None:
    path, receipt = folder.receipt("00000"), Receipt(SCHEMA, "00000", "b", seconds=1.5)
    write_stored(path, receipt)
    whole = path.read_bytes()
    assert read_receipt(folder, "00000") == receipt
    newer = 0
    for position in range(len(whole)):
        for bit in range(8):
            changed = bytearray(whole)
            changed[position] ^= 1 << bit
            path.write_bytes(changed)
            try:
                assert read_receipt(folder, "00000") is None, (position, bit)
            except StoreError:
                newer += 1
    assert newer == 0


def test_a_receipt_of_a_version_that_did_not_seal_counts(folder: StepFolder) -> None:
    receipt = Receipt(SCHEMA, "00000", "b")
    folder.receipt("00000").parent.mkdir(parents=True)
    folder.receipt("00000").write_bytes(encode_row(receipt))
    assert read_receipt(folder, "00000") == receipt


def test_the_ledger_adds_reasons_up() -> None:
    both = Counts(3, 1, {"a": 2}).plus(Counts(2, 0, {"a": 1}, {"q": 1}))
    assert both == Counts(5, 1, {"a": 3}, {"q": 1})
    assert both.balanced
    assert not Counts(1, 2).balanced


def test_content_is_what_was_written_not_how_long_it_took() -> None:
    quick, slow = Receipt(1, "00000", "a", seconds=1.0), Receipt(1, "00000", "b", seconds=2.0)
    assert quick.content == slow.content
    assert quick.content != Receipt(1, "00000", "a", total=1).content
