"""The audit: rows, then the images they name, then the boxes on them; one pass each, streaming.

Memory holds some 60 bytes a row and 150 an image; paths, boxes and findings lie on disk.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice, tee
from pathlib import Path
from typing import IO

import msgspec

from genixer.data import ImageRef
from genixer.doctor.boxes import NEED_SIZE, FrameTally, box_fault, brackets, numbers_in
from genixer.doctor.crew import look_at_all
from genixer.doctor.entries import EntryStream
from genixer.doctor.findings import FINDINGS, Finding
from genixer.doctor.layouts import LAYOUTS, Layout, Placed, layout_of
from genixer.doctor.named import ImageTable, Named, spool
from genixer.doctor.relink import image_files, known_contents, placed_again
from genixer.doctor.row import Row
from genixer.doctor.rows import Ids, row_faults
from genixer.errors import ConfigError, UnknownNameError
from genixer.frames import Frame, check_frame
from genixer.store.entries import EntryError
from genixer.tasks.base import Canvas

__all__ = ["AuditReport", "Declared", "audit"]

_LOOKED_AT = 1000
"""Entries that tell the format where the first cannot."""


class Declared(msgspec.Struct, frozen=True):
    """What is said of the coordinates in the text of rows."""

    frame: Frame
    decimals: int


class AuditReport:
    """What an audit found; `findings` can be read as often as needed, from disk when many.

    `text_only` rows have neither an image nor a mark for one: that is no fault.
    """

    def __init__(
        self,
        path: Path,
        images: Path,
        declared: Declared,
        stream: EntryStream | None = None,
        layout: Layout | None = None,
    ) -> None:
        """Nothing was found yet; without a `stream` of rows it is about images alone."""
        self.path, self.image_root, self.declared = path, images, declared
        self.stream, self.layout = stream, layout
        self.rows = self.images = self.text_only = 0
        self.ids = Ids()
        self.repeated: dict[int, int] = {}
        """Numbers of rows whose id came before, and of the rows where it came first."""
        self.counts: Counter[str] = Counter()
        self._lines = spool()
        weakref.finalize(self, self._lines.close)

    def add(self, finding: Finding) -> None:
        """Note one finding."""
        self.counts[finding.name] += 1
        self._lines.seek(0, 2)
        self._lines.write(msgspec.json.encode(finding) + b"\n")

    @property
    def findings(self) -> Iterator[Finding]:
        """Everything found: of rows, of all rows together, of images, of boxes."""
        self._lines.seek(0)
        at = 0
        while line := self._lines.readline():
            at = self._lines.tell()
            yield msgspec.json.decode(line, type=Finding)
            self._lines.seek(at)

    @property
    def errors(self) -> int:
        """How many findings cost a row or a run; warnings left out."""
        return sum(n for name, n in self.counts.items() if FINDINGS[name].severity == "error")


def audit(
    path: Path,
    *,
    images: Path | None = None,
    format: str | None = None,
    frame: str | None = None,
    decimals: int | None = None,
) -> AuditReport:
    """What is wrong with a file of rows, a folder of shards, or a folder of images.

    `images` is the image root, by default the folder of the file. `format` is one of `LAYOUTS`, by
    default the one that the first entry can be of. `frame` and `decimals` declare coordinates in
    text, by default as the format has them. Raises `ConfigError` for what is none of this.
    """
    files = sorted(path.glob("part-*.jsonl")) if path.is_dir() else [path]
    if not files:
        if images or format or frame or decimals is not None:
            raise ConfigError(f"{path}: a folder of images has no image root, format or frame")
        return _audit_images(path)
    stream = EntryStream(files)
    layout = LAYOUTS[_known(format)] if format else _layout(stream)
    if layout.name == "rows" and (frame or decimals is not None):
        raise ConfigError(f"{path}: rows of a run say themselves in which frame their boxes are")
    if not layout.in_text and (frame or decimals is not None):
        raise ConfigError(
            f"{path}: --frame and --decimals are for coordinates in text; {layout.name} has its own"
        )
    declared = Declared(
        check_frame(frame) if frame else layout.frame,
        layout.decimals if decimals is None else decimals,
    )
    root = images if images is not None else files[0].parent
    if not root.is_dir():
        raise ConfigError(f"{root}: no such folder of images; name it with --images")
    return _audit_rows(path, stream, layout, root, declared)


def _known(format: str) -> str:
    if format not in LAYOUTS:
        raise UnknownNameError("format the doctor reads", format, LAYOUTS)
    return format


def _layout(stream: EntryStream) -> Layout:
    found: Layout | None = None
    for _, raw in islice(stream, _LOOKED_AT):
        if found is None:
            found = layout_of(raw, stream.files[0])
            if found.name != "llava":
                return found
        # Rows of `qwen_json` are those of LLaVA until one has a box.
        elif b"bbox_2d" in raw:
            return LAYOUTS["qwen_json"]
    if found is not None:
        return found
    if stream.broken:
        return layout_of(b"", stream.files[0])
    raise ConfigError(f"{stream.files[0]}: there is no entry in it")


def _audit_images(root: Path) -> AuditReport:
    report = AuditReport(root, root, Declared("unit", 3))
    paths, ahead = tee(image_files(root))
    for path, health in zip(paths, look_at_all(root, ahead), strict=True):
        report.images += 1
        for name, detail in health.faults:
            report.add(Finding(name, path, detail))
    return report


def _audit_rows(
    path: Path, stream: EntryStream, layout: Layout, images: Path, declared: Declared
) -> AuditReport:
    report = AuditReport(path, images, declared, stream, layout)
    with ExitStack() as open_files:
        table = open_files.enter_context(ImageTable())
        boxes = open_files.enter_context(spool())
        _look_at_rows(report, stream, layout, table, boxes)
        report.images = table.settle()
        _look_at_images(report, stream, layout, table)
        _look_at_boxes(report, stream, table, boxes, declared)
        if isinstance(layout, Placed) and not layout.in_text:
            _look_at_places(report, stream, layout, table)
    return report


class _BoxLine(msgspec.Struct, array_like=True):
    """Brackets of one row, until the size of its image is known."""

    number: int
    image: str
    brackets: list[str]
    frame: Frame | None = None
    decimals: int | None = None
    size: tuple[int, int] | None = None


def _look_at_rows(
    report: AuditReport, stream: EntryStream, layout: Layout, table: ImageTable, boxes: IO[bytes]
) -> None:
    for number, raw in stream:
        report.rows += 1
        try:
            row = layout.row(raw)
        except EntryError as error:
            report.add(_refused(error, stream.where(number)))
            continue
        for name, detail in row_faults(row, layout.marks):
            report.add(Finding(name, stream.where(number), detail))
        if row.id is not None:
            report.ids.add(number, row.id)
        if row.image is None:
            report.text_only += not _has_mark(row)
            continue
        table.add(row.image, number)
        texts = [text for _, text in row.turns] if layout.in_text else []
        found = [bracket for text in texts for bracket in brackets(text)]
        if found:
            line = _BoxLine(number, row.image, found, row.frame, row.decimals, row.size)
            boxes.write(msgspec.json.encode(line) + b"\n")
    for path, detail in stream.broken.items():
        report.add(Finding("truncated_file", path.name, detail))
    report.repeated = dict(report.ids.repeated())
    _look_at_ids(report, stream)


def _refused(error: EntryError, where: str) -> Finding:
    """What a reader says of an entry, in the words of the findings."""
    if error.reason in FINDINGS:
        return Finding(error.reason, where, error.detail)
    return Finding("bad_entry", where, str(error))


def _look_at_places(
    report: AuditReport, stream: EntryStream, layout: Layout, table: ImageTable
) -> None:
    """Coordinates that are not in the text, by the format's own reader."""
    for number, raw in stream:
        try:
            row = layout.row(raw)
        except EntryError:
            continue  # a finding already
        if row.image is None or any(row_faults(row, layout.marks)):
            continue
        width, height = table.size(row.image)
        error = (
            width
            and isinstance(layout, Placed)
            and layout.misread(raw, ImageRef(row.image, width, height, ""))
        )
        if error:
            report.add(_refused(error, stream.where(number)))


def _look_at_ids(report: AuditReport, stream: EntryStream) -> None:
    if report.ids.mixed:
        report.add(Finding("mixed_ids", report.path.name, report.ids.told(stream.where)))
    for number, first in report.repeated.items():
        detail = f"the same as {stream.where(first)}"
        report.add(Finding("duplicate_id", stream.where(number), detail))


def _has_mark(row: Row) -> bool:
    return any("<image>" in text for _, text in row.turns)


def _look_at_images(
    report: AuditReport, stream: EntryStream, layout: Layout, table: ImageTable
) -> None:
    missing: dict[str, str] = {}
    images, ahead = tee(table)
    healths = look_at_all(report.image_root, (named.path for named in ahead))
    for named, health in zip(images, healths, strict=True):
        table.note(named.slot, health.width, health.height)
        for name, detail in health.faults:
            told = _told(named, detail, stream)
            if name == "missing_image":
                missing[named.path] = told
            else:
                report.add(Finding(name, named.path, told))
    if missing:
        contents = known_contents(stream, layout, missing)
        for finding in placed_again(report.image_root, missing, contents, table):
            report.add(finding)


def _told(named: Named, detail: str, stream: EntryStream) -> str:
    rows = (
        f"{named.rows} rows, first {stream.where(named.first)}"
        if named.rows > 1
        else (f"row {stream.where(named.first)}")
    )
    return f"{detail}; {rows}" if detail else rows


def _look_at_boxes(
    report: AuditReport,
    stream: EntryStream,
    table: ImageTable,
    boxes: IO[bytes],
    declared: Declared,
) -> None:
    tally = FrameTally(declared.frame)
    boxes.seek(0)
    for text in boxes:
        line = msgspec.json.decode(text, type=_BoxLine)
        frame = line.frame or declared.frame
        decimals = declared.decimals if line.decimals is None else line.decimals
        width, height = line.size or table.size(line.image)
        if not width:
            # No size, no pixels: the image is a finding already.
            if frame in NEED_SIZE:
                continue
            width = height = 1
        canvas = Canvas(frame, decimals, width, height)
        for bracket in line.brackets:
            fault = box_fault(bracket, canvas)
            if fault:
                report.add(Finding(fault[0], stream.where(line.number), fault[1]))
            if line.frame is None:
                tally.add(numbers_in(bracket) or (), width, height)
    doubt = tally.finding(report.path.name)
    if doubt:
        report.add(doubt)
