"""A repaired copy of a file of rows and its images, and the list of what was done to them.

What has one sound repair is repaired; a row that has none is set aside, whole, with its reasons.
Nothing is changed in place, and the copy appears whole or not at all.
"""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
import xxhash

from genixer.data import Quarantined, encode_row
from genixer.doctor.audit import AuditReport
from genixer.doctor.entries import EntryStream
from genixer.doctor.findings import Finding
from genixer.doctor.images import ImageDoctor
from genixer.doctor.layouts import Editable
from genixer.doctor.repair import (
    marked_once,
    reencode,
    reencoded_path,
    with_sound_boxes,
)
from genixer.doctor.row import Row
from genixer.errors import ConfigError
from genixer.store.disk import full_disk, link
from genixer.store.shards import raw_text
from genixer.tasks.base import Canvas

__all__ = ["Done", "fix"]

_REENCODED = ("rotated_image", "animated_image", "cmyk_image", "deep_image")
_MARKS = ("image_mark_count", "image_mark_place")
_BOXES = ("bad_box", "box_inverted", "box_outside")
_IDS = ("no_id", "duplicate_id")


class Done(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the list: what was done about a finding.

    `did` is `relinked`, `reencoded`, `renumbered`, `rewrote`, `set_aside` or `left`.
    """

    did: str
    finding: str
    where: str
    detail: str = ""


class _Unfixable(Exception):  # noqa: N818  (never leaves this file: the row is set aside)
    def __init__(self, finding: str, detail: str) -> None:
        super().__init__(finding)
        self.finding, self.detail = finding, detail


def fix(report: AuditReport, out: Path) -> Counter[str]:
    """Write the repaired copy of what `report` is about into the new folder `out`.

    `out` gets the file under its own name, `images/` with every image its rows name (links where
    the disk allows), `<name>.fixes.jsonl`, and `<name>.set_aside.jsonl` where rows were set aside.
    Returns how often each thing was done. Raises `ConfigError` when there is something at `out`, or
    the audit was not of a file.
    """
    layout, stream = report.layout, report.stream
    if layout is not None and layout.name != "rows" and not layout.editable:
        raise ConfigError(
            f"{report.path}: {layout.name} can be audited but not repaired, its turns are no plain "
            "texts; import it, export it as another format, and repair that"
        )
    if stream is None or not (isinstance(layout, Editable) and layout.editable):
        raise ConfigError(
            f"{report.path}: only a file of rows can be repaired; what a run made, a run makes "
            "again: export it, then repair the export"
        )
    if out.exists():
        raise ConfigError(f"{out}: is there already; the repaired copy needs a new folder")
    fresh = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with full_disk(out, 0):
            counts = _Copy(report, stream, layout, fresh).write()
            fresh.rename(out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return counts


class _Files(NamedTuple):
    rows: BinaryIO
    list: BinaryIO
    aside: BinaryIO


class _Copy:
    """The copy while it is written."""

    def __init__(
        self, report: AuditReport, stream: EntryStream, layout: Editable, out: Path
    ) -> None:
        self._report, self._stream, self._layout, self._out = report, stream, layout, out
        self._doctor = ImageDoctor(report.image_root)
        self._counts: Counter[str] = Counter()
        self._of_row: dict[str, list[Finding]] = defaultdict(list)
        self._of_image: dict[str, list[Finding]] = defaultdict(list)
        self._of_file: list[Finding] = []
        self._firsts = dict.fromkeys(report.repeated.values(), 0)
        self._renamed: dict[str, list[str]] = defaultdict(list)
        self._next_number = report.ids.largest + 1
        self._given: set[str] = set()
        self._sort()

    def _sort(self) -> None:
        """Findings by what they are about; as many as there are faults."""
        for one in self._report.findings:
            if one.name.endswith("_image") or one.name in ("image_bomb", "path_escapes"):
                self._of_image[one.where].append(one)
            elif one.name in ("frame_doubtful", "truncated_file"):
                self._of_file.append(one)
            elif one.name != "mixed_ids":  # which is in the ids themselves
                self._of_row[one.where].append(one)

    def write(self) -> Counter[str]:
        """Rows one by one, then what goes with them."""
        name = self._report.path.name
        (self._out / "images").mkdir(parents=True)
        aside = self._out / f"{name}.set_aside.jsonl"
        with ExitStack() as stack:
            files = _Files(
                *(
                    stack.enter_context(path.open("wb"))
                    for path in (self._out / name, self._out / f"{name}.fixes.jsonl", aside)
                )
            )
            for one in self._of_file:
                # A frame cannot be guessed, and what was cut off is nowhere to be found.
                self._note(files, Done("left", one.name, one.where, one.detail))
            lines = self._report.path.suffix == ".jsonl"
            before = b"" if lines else b"[\n"
            for number, raw in self._stream:
                row = self._repaired(number, raw, files)
                if row is not None:
                    files.rows.write(before + row)
                    before = b"\n" if lines else b",\n"
            empty = b"" if lines else b"[]\n"
            files.rows.write((b"\n" if lines else b"\n]\n") if files.rows.tell() else empty)
        if not aside.stat().st_size:
            aside.unlink()
        self._sidecars()
        return self._counts

    def _note(self, files: _Files, done: Done) -> None:
        self._counts[done.did] += 1
        files.list.write(encode_row(done) + b"\n")

    def _repaired(self, number: int, raw: bytes, files: _Files) -> bytes | None:
        """The entry as it goes into the copy; None when it is set aside."""
        where = self._stream.where(number)
        done: list[Done] = []
        try:
            entry = self._entry(number, raw, where, done)
        except _Unfixable as problem:
            done = [Done("set_aside", problem.finding, where, problem.detail)]
            lost = Quarantined(where, problem.finding, problem.detail, raw_text(raw))
            files.aside.write(encode_row(lost) + b"\n")
            entry = None
        for one in done:
            self._note(files, one)
        return entry

    def _entry(self, number: int, raw: bytes, where: str, done: list[Done]) -> bytes:
        faults = self._of_row.get(where, [])
        if number in self._firsts:
            self._firsts[number] = xxhash.xxh3_64_intdigest(raw)
        for fault in faults:
            if fault.name not in (*_MARKS, *(_BOXES if self._layout.in_text else ()), *_IDS):
                raise _Unfixable(fault.name, fault.detail)
        row = self._layout.row(raw)
        new = self._with_id(number, raw, row, where, done)
        new = self._with_image(new, where, done)
        new = self._with_texts(new, where, faults, done)
        if new == row:
            return raw
        entry: Any = msgspec.json.decode(raw)
        self._layout.edit(entry, new)
        return msgspec.json.encode(entry)

    def _with_id(self, number: int, raw: bytes, row: Row, where: str, done: list[Done]) -> Row:
        """Row with an id that no other has, all of one type."""
        id: int | str | None = row.id
        mixed = self._report.ids.mixed
        name = "mixed_ids"
        if number in self._report.repeated:
            name, first = "duplicate_id", self._report.repeated[number]
            if self._firsts.get(first) == xxhash.xxh3_64_intdigest(raw):
                raise _Unfixable(name, f"the same row as {self._stream.where(first)}")
            id = self._new_id(f"{row.id}", isinstance(row.id, int) and not mixed)
            self._renamed[str(row.id)].append(str(id))
        elif id is None:
            numbers = self._report.ids.kinds
            name, only_numbers = "no_id", bool(numbers["number"] and not numbers["text"])
            id = self._new_id(xxhash.xxh3_128_hexdigest(raw), only_numbers)
        elif mixed:
            id = str(id)
        if id != row.id:
            done.append(Done("renumbered", name, where, f"{row.id!r} -> {id!r}"))
        return msgspec.structs.replace(row, id=id)

    def _new_id(self, base: str, number: bool) -> int | str:
        if number:
            self._next_number += 1
            return self._next_number - 1
        text, copy = base, 1
        while text in self._given or self._report.ids.has(text):
            copy += 1
            text = f"{base}-{copy}"
        self._given.add(text)
        return text

    def _with_image(self, row: Row, where: str, done: list[Done]) -> Row:
        """Row whose image lies in the copy."""
        if row.image is None:
            return row
        path, place = row.image, row.image
        faults = self._of_image.get(path, [])
        names = [fault.name for fault in faults]
        if "renamed_image" in names:
            place = faults[0].proposal
            done.append(Done("relinked", "renamed_image", where, f"{path} -> {place}"))
            names = [name for name, _ in self._doctor.look(place).faults]
        for name in names:
            if name not in _REENCODED:
                raise _Unfixable(name, path)
        source, place = place, reencoded_path(place) if names else place
        target = self._out / "images" / place
        if not target.exists():
            if names:
                reencode(self._report.image_root, source, target)
                done += [Done("reencoded", name, source, place) for name in names]
            else:
                link((self._report.image_root / source).resolve(), target)
        return msgspec.structs.replace(row, image=place)

    def _with_texts(self, row: Row, where: str, faults: list[Finding], done: list[Done]) -> Row:
        """Row whose marks and boxes are sound."""
        names = {fault.name for fault in faults}
        texts = [text for _, text in row.turns]
        for fault in faults:
            if fault.name in _MARKS:
                if row.image is None:
                    raise _Unfixable(fault.name, fault.detail)
                texts = marked_once(texts)
                done.append(Done("rewrote", fault.name, where, fault.detail))
        if names & set(_BOXES) and row.image is not None:
            texts = self._sound(texts, row.image, faults)
            done += [
                Done("rewrote", one.name, where, one.detail) for one in faults if one.name in _BOXES
            ]
        turns = [(role, text) for (role, _), text in zip(row.turns, texts, strict=True)]
        return msgspec.structs.replace(row, turns=turns)

    def _sound(self, texts: list[str], image: str, faults: list[Finding]) -> list[str]:
        size = ImageDoctor(self._out / "images").look(image)
        declared = self._report.declared
        canvas = Canvas(declared.frame, declared.decimals, size.width, size.height)
        found = []
        for text in texts:
            sound = with_sound_boxes(text, canvas)
            if sound is None:
                fault = next(one for one in faults if one.name in _BOXES)
                raise _Unfixable(fault.name, fault.detail)
            found.append(sound)
        return found

    def _sidecars(self) -> None:
        """Provenance goes along; a row with a new id has the origin of the old one."""
        path = self._report.path
        for ending in ("provenance.jsonl", "attribution.txt"):
            beside = path.with_name(f"{path.name}.{ending}")
            if beside.is_file():
                shutil.copyfile(beside, self._out / beside.name)
        copied = self._out / f"{path.name}.provenance.jsonl"
        if not copied.is_file() or not self._renamed:
            return
        with (path.parent / copied.name).open("rb") as lines, copied.open("ab") as more:
            for line in lines:
                known: dict[str, Any] = msgspec.json.decode(line)
                for id in self._renamed.get(known["id"], ()):
                    more.write(encode_row({**known, "id": id}) + b"\n")
