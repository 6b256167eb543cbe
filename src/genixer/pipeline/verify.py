"""Proof that a run is whole: every byte hashed, every ledger added up from the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from genixer.errors import CorruptShardError, GenixerError, IncompleteError, StoreError
from genixer.pipeline.progress import ledger_line
from genixer.pipeline.settings import RunFile, read_run
from genixer.pipeline.tables import funnel
from genixer.store.disk import digest_file
from genixer.store.layout import FINISH, PREPARE, StepFolder, shard_unit
from genixer.store.manifest import (
    Counts,
    Manifest,
    Receipt,
    read_manifest,
    read_receipt,
    read_stored,
)
from genixer.store.reader import read_lines, shard_entry

__all__ = ["VerifyReport", "damaged_files", "verify"]

_DAMAGED = "it is torn or damaged"


@dataclass
class VerifyReport:
    """What `verify` found; `ok` when nothing is wrong and every step is finished."""

    run: Path
    manifests: dict[str, Manifest] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """Damage: each names a file or step, what was found and what was expected."""
    unfinished: list[str] = field(default_factory=list)
    """Steps without a manifest."""

    @property
    def ok(self) -> bool:
        """Whether the run is whole."""
        return not self.problems and not self.unfinished

    @property
    def table(self) -> str:
        """Funnel of the finished steps."""
        return funnel(self.manifests)

    def error(self) -> GenixerError | None:
        """Exception that says what is wrong, if anything is."""
        if self.problems:
            return StoreError("\n".join(self.problems))
        if self.unfinished:
            names = ", ".join(self.unfinished)
            return IncompleteError(f"{self.run}: not finished: {names}; run the config again")
        return None

    def as_mapping(self) -> dict[str, Any]:
        """The same as plain values, for `--json`."""
        return {
            "run": str(self.run),
            "ok": self.ok,
            "problems": self.problems,
            "unfinished": self.unfinished,
            "steps": {name: one.counts.as_mapping() for name, one in self.manifests.items()},
        }


def verify(run: str | Path) -> VerifyReport:
    """Check every step of `run`: bytes, rows, ledgers, inputs, stray and missing files.

    Raises `StoreError` when it is no run folder.
    """
    folder = Path(run)
    known = read_run(folder)
    if known is None:
        raise StoreError(f"{folder}: no run is here (no run.json)")
    report = VerifyReport(folder)
    for name in known.order:
        place = StepFolder(folder / name)
        manifest = read_manifest(place)
        if manifest is None:
            report.unfinished.append(name)
            report.problems += [f"{path}: {why}" for path, why in damaged_files(place)]
            continue
        report.manifests[name] = manifest
        report.problems += [f"{path}: {why}" for path, why in damaged_files(place)]
        report.problems += _manifest_problems(place, manifest, known)
        report.problems += [f"{path}: no receipt names this file" for path in _strays(place)]
    for name, manifest in report.manifests.items():
        report.problems += _input_problems(folder / name, manifest, report.manifests, known)
    return report


def damaged_files(folder: StepFolder) -> Iterator[tuple[Path, str]]:
    """Committed files that are missing or not as their receipt says, and why."""
    for path in sorted(folder.receipts.glob("*.json")):
        if read_stored(path, Receipt) is None:
            yield path, _DAMAGED
    if folder.manifest.exists() and read_manifest(folder) is None:
        yield folder.manifest, _DAMAGED
    for receipt in _receipts(folder):
        yield from _damaged_rows(folder, receipt)
        for inner, expected in receipt.files.items():
            path = folder.files / inner
            why = _file_problem(path, expected.digest, expected.bytes)
            if why:
                yield path, why


def _damaged_rows(folder: StepFolder, receipt: Receipt) -> Iterator[tuple[Path, str]]:
    found = Counts(receipt.counts.items)
    for name, entry in receipt.outputs.items():
        path = folder.root / name
        try:
            lines = read_lines(path, entry)
        except CorruptShardError as error:
            yield path, str(error).removeprefix(f"{path}: ").partition(";")[0]
            return
        found = found.plus(_recount(name, lines))
    if found != receipt.counts or not found.balanced:
        where = folder.receipt(receipt.unit)
        yield where, f"it says {ledger_line(receipt.counts)}, its rows say {ledger_line(found)}"


class _Reason(msgspec.Struct):
    reason: str


def _recount(name: str, lines: list[bytes]) -> Counts:
    """Ledger that one file of rows gives by itself."""
    if name.startswith("part-"):
        return Counts(kept=len(lines))
    decode = msgspec.json.Decoder(_Reason).decode
    reasons = dict(sorted(Counter(decode(line).reason for line in lines).items()))
    rejected = name.startswith("rejected-")
    return Counts(rejected=reasons) if rejected else Counts(quarantined=reasons)


def _file_problem(path: Path, digest: str, size: int) -> str:
    try:
        found, length = digest_file(path)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if length != size:
        return f"it has {length} bytes instead of {size}"
    return "" if found == digest else f"its digest is {found} instead of {digest}"


def _receipts(folder: StepFolder) -> Iterator[Receipt]:
    for path in sorted(folder.receipts.glob("*.json")):
        receipt = read_receipt(folder, path.stem)
        if receipt is not None:
            yield receipt


def _manifest_problems(folder: StepFolder, manifest: Manifest, known: RunFile) -> Iterator[str]:
    """Where the manifest disagrees with itself, the receipts or the run's settings."""
    if not manifest.counts.balanced:
        yield f"{folder.manifest}: {ledger_line(manifest.counts)} does not add up"
    total, following = Counts(), 0
    for index, shard in enumerate(manifest.shards):
        receipt = read_receipt(folder, shard_unit(index))
        if receipt is None or shard_entry(receipt) != shard:
            yield f"{folder.receipt(shard_unit(index))}: does not agree with {folder.manifest.name}"
        if shard.first != following:
            yield f"{folder.manifest}: shard {index} begins at {shard.first} instead of {following}"
        following = shard.first + shard.counts.items
        total = total.plus(shard.counts)
    if total != manifest.counts:
        yield f"{folder.manifest}: shards add up to {ledger_line(total)}"
    for unit in (PREPARE, FINISH):
        if read_receipt(folder, unit) is None:
            yield f"{folder.receipt(unit)}: it is missing"
    if manifest.fingerprint != known.steps[folder.name].fingerprint:
        yield f"{folder.manifest}: made with other settings than run.json says"


def _input_problems(
    where: Path, manifest: Manifest, manifests: dict[str, Manifest], known: RunFile
) -> Iterator[str]:
    """Where a step's work items are not what the steps before it kept."""
    for entries in manifest.inputs.values():
        for entry in entries:
            source = manifests.get(entry.step)
            if source is not None and source.content != entry.content:
                yield f"{where}: read an earlier version of {entry.step}; run the config again"
    sources = [manifests.get(entry.step) for entry in manifest.inputs.get("rows", ())]
    if manifest.one_to_one and all(sources):
        kept = sum(source.counts.kept for source in sources if source)
        expected = kept if known.limit is None else min(kept, known.limit)
        if manifest.counts.items != expected:
            yield f"{where}: {manifest.counts.items} items, but its inputs kept {expected}"


def _strays(folder: StepFolder) -> Iterator[Path]:
    """Files nobody accounts for; what was moved aside for damage, and logs, are known."""
    expected = {folder.manifest}
    for receipt in _receipts(folder):
        expected.add(folder.receipt(receipt.unit))
        expected.update(folder.root / name for name in receipt.outputs)
        expected.update(folder.files / path for path in receipt.files)
    for path in sorted(folder.root.rglob("*")):
        known = path in expected or path.suffix == ".corrupt" or folder.logs in path.parents
        if path.is_file() and not known:
            yield path
