"""The check of a mixture against benchmarks: what passes, what does not, and the table of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from genixer.data import Record, Sample, decode_row, encode_row
from genixer.filters.decontaminate import Finding, LeakFinder, LeakTable, leak_table
from genixer.filters.leak_index import LeakIndex
from genixer.stages.base import FileWriter, RowWriter, Step, StepOutput

__all__ = ["TABLE", "LeakCheck"]

_log = logging.getLogger(__name__)

TABLE = "leaks.json"
_NOTES = "leaks"


class _Note(Record, frozen=True):
    """What was found about one rejected sample."""

    id: str
    finding: Finding


class LeakCheck:
    """Keeps samples that no benchmark holds; without an index, all."""

    def __init__(self, index: Path | None, distance: int) -> None:
        """Open `index`, if there is one; looks at most `distance` bits apart are the same."""
        self._finder = LeakFinder(LeakIndex(index), distance) if index else None

    def put(
        self,
        drawn: Iterable[tuple[Sample, Sample | str]],
        first: int,
        images: Path,
        out: RowWriter,
    ) -> None:
        """Keep what candidates became, or reject them for the reason given or a leak.

        `first` is the number of the first candidate.
        """
        if self._finder is None:
            for sample, result in drawn:
                _put(sample, result, out)
            return
        rows = list(drawn)  # of one shard
        samples = [result for _, result in rows if isinstance(result, Sample)]
        findings = iter(self._finder.find(samples, images))
        notes = []
        for sample, result in rows:
            if isinstance(result, Sample):
                finding = next(findings)
                if finding.reason:
                    notes.append(encode_row(_Note(sample.id, finding)) + b"\n")
                    result = finding.reason
            _put(sample, result, out)
        if notes:
            out.file(f"{_NOTES}/{first:09d}.jsonl", b"".join(notes))

    def finish(self, step: Step, out: FileWriter, rows: StepOutput) -> None:
        """Write the table."""
        table = LeakTable(checked=False)
        if self._finder is not None:
            folder = step.resolve(f"@{step.name}/{_NOTES}")
            table = leak_table(self._finder, rows.rows_kept, _findings(folder))
            _log.info(
                "step %s: of %d samples, %d leak a benchmark, %d could not be looked at",
                *(step.name, table.rows, table.leaked, table.unreadable),
            )
        out.file(TABLE, encode_row(table))


def _findings(folder: Path) -> Iterator[Finding]:
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as lines:
            for line in lines:
                yield decode_row(line, _Note).finding


def _put(sample: Sample, result: Sample | str, out: RowWriter) -> None:
    if isinstance(result, str):
        out.reject(sample.id, result, sample)
    else:
        out.keep(result)
