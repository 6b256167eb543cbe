"""Files of a run cut at every byte or with bits flipped: told, repaired or refused, never used."""

import contextlib
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genixer.errors import BackendError, GenixerError
from genixer.pipeline.run import run
from genixer.pipeline.verify import verify

KINDS = {
    "shard": "numbers/part-00001.jsonl",
    "rejected": "scale-2/rejected-*.jsonl",
    "file": "numbers/files/images/3.bin",
    "shard's receipt": "numbers/receipts/00001.json",
    "prepare's receipt": "numbers/receipts/prepare.json",
    "finish's receipt": "total/receipts/finish.json",
    "manifest": "scale-2/manifest.json",
    "run file": "run.json",
}


class Damaged:
    """Copies of one run to be damaged, and what becomes of them."""

    def __init__(self, bench: Any, config: Path, home: Path) -> None:
        self.bench, self.config, self.home = bench, config, home
        self.whole = run(config, out=home / "whole", workers=0).folder
        self.expected = self.data(self.whole)
        self.copies = 0

    def data(self, folder: Path) -> dict[str, bytes]:
        found = self.bench.data_of(folder)
        return {name: data for name, data in found.items() if not name.endswith(".corrupt")}

    def copy(self, pattern: str, change: Callable[[bytes], bytes]) -> tuple[Path, Path]:
        """A copy of the run in which the first file that fits `pattern` is changed."""
        folder = self.home / f"copy-{self.copies}"
        self.copies += 1
        shutil.copytree(self.whole, folder)
        path = min(folder.glob(pattern))
        path.write_bytes(change(path.read_bytes()))
        return folder, path

    def check(self, pattern: str, change: Callable[[bytes], bytes], why: str) -> str:
        """Damage a copy; it must be told of, and mended or refused."""
        folder, path = self.copy(pattern, change)
        said = told(folder)
        assert said, f"verify says nothing: {path}, {why}"
        try:
            run(self.config, out=folder, workers=0, check=True)
        except GenixerError as error:
            outcome = f"{error}"
            assert str(path) in outcome, (why, outcome)
        else:
            outcome = "mended"
            assert self.data(folder) == self.expected, (path, why)
            assert verify(folder).ok, (path, why)
        shutil.rmtree(folder)
        return outcome


def told(folder: Path) -> str:
    try:
        report = verify(folder)
    except GenixerError as error:
        return str(error)
    return str(report.error() or "")


@pytest.fixture
def damaged(bench: Any, toy_config: Callable[..., Path], tmp_path: Path) -> Damaged:
    numbers = {"stage": "toy_numbers", "with": {"count": 20, "pictures": True}}
    return Damaged(bench, toy_config(numbers=numbers), tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bits_are_told_of_and_never_used(damaged: Damaged, kind: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  (what a failure is repeated with)
    rng = random.Random(seed)

    def flip(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)

    outcomes = {damaged.check(KINDS[kind], flip, f"seed {seed}, {n}") for n in range(8)}
    if kind != "run file":
        assert outcomes == {"mended"}


@pytest.mark.parametrize("kind", KINDS)
def test_files_cut_short_are_told_of_and_mended(damaged: Damaged, kind: str) -> None:
    size = len(min(damaged.whole.glob(KINDS[kind])).read_bytes())
    # At every byte in tests/store; here at both ends and somewhere between.
    for end in {0, 1, size // 3, size - 2}:
        outcome = damaged.check(KINDS[kind], lambda data: data[:end], f"cut at {end}")  # noqa: B023
        assert (outcome == "mended") == (kind != "run file"), outcome


def test_a_damaged_run_file_names_the_way_out(damaged: Damaged) -> None:
    outcome = damaged.check("run.json", lambda data: data[:-9], "cut")
    assert "run.json: not readable" in outcome
    assert "another run folder" in outcome


def answered_in_part(config: Path, folder: Path) -> None:
    """A run that ends in the middle of a shard, with half of its answers in the journal."""
    with pytest.raises(BackendError):
        run(config, out=folder, workers=0)


def finished(config: Path, folder: Path) -> Path:
    for _ in range(4):
        with contextlib.suppress(BackendError):
            return run(config, out=folder, workers=0).folder
    raise AssertionError("it does not become complete")


def test_a_flip_in_the_plan_of_requests_is_found_when_a_run_goes_on(
    bench: Any, generate: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another image of the same length of name: nothing but the digest tells."""
    config = generate("scripted", fail_every=2)
    expected = bench.data_of(finished(config, tmp_path / "whole"))
    answered_in_part(config, tmp_path / "run")
    plan = tmp_path / "run" / "generate" / "files" / "plan" / "00000.jsonl"
    names = plan.read_bytes()
    assert b"3.png" in names
    plan.write_bytes(names.replace(b"3.png", b"2.png"))
    found = bench.data_of(finished(config, tmp_path / "run"))
    assert "its digest is" in caplog.text
    aside = "generate/files/plan/00000.jsonl.corrupt"
    assert found.pop(aside) != names
    assert found == expected


@pytest.mark.parametrize("number", range(6))
def test_flips_in_a_journal_are_told_of_and_what_stood_there_is_asked_again(
    bench: Any,
    generate: Callable[..., Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    number: int,
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  (what a failure is repeated with)
    rng = random.Random(seed)
    config = generate("scripted", fail_every=2)
    expected = bench.data_of(finished(config, tmp_path / "whole"))
    answered_in_part(config, tmp_path / "run")
    (journal,) = (tmp_path / "run").glob("generate/.work/*/answers")
    data = bytearray(journal.read_bytes())
    for _ in range(1 + number):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    journal.write_bytes(data)
    assert bench.data_of(finished(config, tmp_path / "run")) == expected
    assert "are damaged" in caplog.text or "are no whole row" in caplog.text
    assert verify(tmp_path / "run").ok
