"""Compares what two backends said when asked the same, and stops the run where they differ."""

from __future__ import annotations

from itertools import chain
from typing import ClassVar

import msgspec

from genixer.data import Generation
from genixer.errors import ConfigError
from genixer.inference.parity import Compared, ParityBar, compare, lost, report_on, unlike
from genixer.stages.base import FileWriter, RowWriter, Stage, StageSettings, Step, StepOutput

__all__ = ["ParitySettings", "ParityStage"]


class ParitySettings(ParityBar, StageSettings):
    """The bar."""


class ParityStage(Stage):
    """Answers of role `first` beside those of role `second` to the same requests (`Compared`).

    A request that `second` has no answer to counts as answered otherwise; those that `first` failed
    at have a bar of their own. Rejected: `other_request`
    (asked in other words, or with other sampling), `sampled` (not greedy). Files: `parity.json`
    (`ParityReport`). Raises `ParityError` with the worst examples below the bar.
    """

    name: ClassVar[str] = "parity"
    version: ClassVar[int] = 2
    joins: ClassVar[bool] = False
    Settings: ClassVar[type[ParitySettings]] = ParitySettings

    def items(self, step: Step) -> int:
        """As many requests as are compared at most."""
        for role in ("first", "second"):
            if role not in step.inputs:
                raise ConfigError(
                    f"step {step.name}: parity needs the role {role!r}; "
                    "write from: {first: STEP, second: STEP}"
                )
        return min(step.count("first"), int(self.settings.requests))

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Compare requests `first` to `first + count`."""
        asked = list(step.rows(Generation, first, count, role="first"))
        wanted = {row.id for row in asked}
        others = {r.id: r for r in step.rows(Generation, role="second") if r.id in wanted}
        for row in asked:
            other = others.get(row.id)
            reason = unlike(row, other)
            if reason:
                out.reject(row.id, reason, row)
            else:
                out.keep(compare(row, other))

    def finish(self, step: Step, out: FileWriter, rows: StepOutput) -> None:
        """Write the report, if it is a good one."""
        failed = chain.from_iterable(one.quarantined() for one in step.inputs["first"])
        missing = lost(failed, step.rows(Generation, role="second"))
        bar = ParityBar.model_validate(self._bar())
        report = report_on(rows.rows(Compared), bar, missing)
        report.check()
        out.file("parity.json", msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")

    def _bar(self) -> dict[str, object]:
        return {key: getattr(self.settings, key) for key in ParityBar.model_fields}
