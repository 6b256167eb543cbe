"""The verb `doctor`: audits a dataset, and writes a repaired copy of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from genixer.doctor import audit as doctor
from genixer.doctor.audit import AuditReport
from genixer.doctor.findings import FINDINGS, Finding
from genixer.doctor.fix import fix
from genixer.errors import ConfigError, DataError
from genixer.pipeline.api import image_root
from genixer.pipeline.settings import read_run
from genixer.pipeline.tables import text_table

__all__ = ["audit", "error_of", "json_report", "repair", "table"]

SHOWN = 5
"""Findings of one name that the table shows; JSON has all."""


def audit(
    path: str | Path,
    *,
    images: str | Path | None = None,
    format: str | None = None,
    frame: str | None = None,
    decimals: int | None = None,
) -> AuditReport:
    """Everything that is wrong with a dataset, before anyone trains on it.

    Args:
        path: a file of rows, the folder of a step, or a folder of images.
        images: image root; a step knows its own, else the folder of the file.
        format: name of the layout; told from the first entry where it can be one alone.
        frame: frame of the coordinates in text, by default the format's.
        decimals: decimals of these coordinates, by default the format's.
    """
    place = Path(path)
    if not place.exists():
        raise ConfigError(f"{place}: nothing is there")
    run = read_run(place)
    if run is not None:
        raise ConfigError(f"{place}: a run; name one of its steps: {', '.join(run.order)}")
    root = Path(images) if images is not None else None
    if root is None and place.is_dir() and read_run(place.parent) is not None:
        root = image_root(place.parent)
    return doctor.audit(place, images=root, format=format, frame=frame, decimals=decimals)


def repair(report: AuditReport, out: str | Path) -> Counter[str]:
    """Write a repaired copy of what was audited into the new folder `out`.

    Says how often each thing was done: `relinked`, `reencoded`, `renumbered`, `rewrote`,
    `set_aside`, `left`.
    """
    return fix(report, Path(out))


def error_of(report: AuditReport) -> DataError | None:
    """What a pipeline is to stop for; warnings alone are not."""
    if not report.errors:
        return None
    return DataError(f"{report.path}: {report.errors} errors")


def table(report: AuditReport) -> str:
    """Findings by name, with the first few of each."""
    examples: dict[str, list[Finding]] = {name: [] for name in FINDINGS if report.counts[name]}
    for finding in report.findings:
        if len(examples[finding.name]) < SHOWN:
            examples[finding.name].append(finding)
    rows = [
        [FINDINGS[name].severity, name, str(report.counts[name]), FINDINGS[name].about]
        for name in examples
    ]
    parts = [_summary(report)]
    if rows:
        parts.append(text_table(["", "finding", "count", "meaning"], rows, right=[2]))
    parts += [
        "\n".join(_lines(name, found, report.counts[name])) for name, found in examples.items()
    ]
    return "\n\n".join(parts)


def _summary(report: AuditReport) -> str:
    told = f"{report.path}: {report.images} images"
    if report.stream is not None:
        text_only = f" ({report.text_only} text only)" if report.text_only else ""
        told = f"{report.path}: {report.rows} rows{text_only}, {report.images} images"
    warnings = report.counts.total() - report.errors
    told += f", {report.errors} errors, {warnings} warnings"
    if report.images and report.counts["missing_image"] == report.images:
        told += f"\nnone of the images is below {report.image_root}: is --images right?"
    return told


def _lines(name: str, found: list[Finding], count: int) -> Iterator[str]:
    yield f"{name}:"
    for one in found:
        yield f"  {one.where}: {one.detail}" if one.detail else f"  {one.where}"
    if count > len(found):
        yield f"  ... and {count - len(found)} more (--json has all)"


def json_report(report: AuditReport, fixed: Counter[str] | None = None) -> Iterator[str]:
    """The report as JSON, piece by piece: findings may be more than fit into memory."""
    head = {
        "path": str(report.path),
        "format": report.layout.name if report.layout else "images",
        "rows": report.rows,
        "text_only": report.text_only,
        "images": report.images,
        "errors": report.errors,
        "counts": dict(sorted(report.counts.items())),
        **({} if fixed is None else {"fixed": dict(sorted(fixed.items()))}),
    }
    yield msgspec.json.encode(head).decode()[:-1] + ',"findings":['
    before = "\n"
    for finding in report.findings:
        yield before + msgspec.json.encode(finding).decode()
        before = ",\n"
    yield "]}"
