"""Rows to look at: a bounded, even choice of what was kept and refused, with small pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from genixer.data import Generation, ImageRef, Measured, Rejected, Sample, Turn, split_marks
from genixer.report.model import Exhibit, Gallery, Judge, Outcome, Words
from genixer.report.statistics import EvenChoice, JudgeTally
from genixer.store.images import ImageError, open_image

__all__ = ["GalleryBuilder"]

_THUMBNAIL_PX = 320
_QUALITY = 85

Truth = Literal["right", "wrong", "unknown"]


class _Candidate(msgspec.Struct, frozen=True):
    """A row that may be shown: `row` is a sample, or a generation that did not parse."""

    row: Sample | Generation
    outcome: Outcome
    step: str
    reason: str
    scores: Mapping[str, float]


class GalleryBuilder:
    """Takes every row once, keeps at most `limit` of each outcome, and counts the judge's scores.

    `score` is the name of the judge's score.
    """

    def __init__(self, limit: int, score: str) -> None:
        """Start empty; tell it the truth first, where there is one."""
        self._choice: EvenChoice[_Candidate] = EvenChoice(limit)
        self._tally = JudgeTally()
        self._score = score
        self._truth: dict[str, Truth] = {}
        self._total = 0
        self.kept: dict[str, int] = {}
        """Kept rows by task."""

    def know(self, measured: Iterable[Measured]) -> None:
        """Remember what the exact truth says, by sample id."""
        for one in measured:
            # Rows without a verdict are the default, so they need no memory.
            if one.verdict != "unknown":
                self._truth[one.id] = one.verdict

    def refuse(self, step: str, rejected: Iterable[Rejected]) -> None:
        """Offer the rows that `step` rejected: samples, or generations that are no samples."""
        for one in rejected:
            row = _row(one.row)
            if isinstance(row, Sample):
                self._offer(row, "rejected", step, one.reason, {**row.origin.scores, **one.scores})
            elif isinstance(row, Generation):
                self._total += 1
                self._add(_Candidate(row, "unreadable", step, one.reason, one.scores))

    def keep(self, step: str, samples: Iterable[Sample]) -> None:
        """Offer the rows that are left after the last `step`."""
        for sample in samples:
            self.kept[sample.task] = self.kept.get(sample.task, 0) + 1
            self._offer(sample, "kept", step, "", sample.origin.scores)

    def judge(self, threshold: float) -> Judge | None:
        """The judge's scores of all rows offered, against the truth; None when no row has one."""
        return self._tally.judge(self._score, threshold)

    def gallery(self, images: Path, measured: Callable[[], Iterable[Measured]]) -> Gallery:
        """The chosen rows; reads their pictures below `images` and `measured` again for details."""
        chosen = self._choice.chosen()
        ids = {one.row.id for one in chosen}
        details = {one.id: one.detail for one in measured() if one.id in ids}
        pictures, places = _pictures([_image(one.row) for one in chosen], images)
        rows = [
            self._exhibit(one, places[_image(one.row).sha256], details.get(one.row.id, ""))
            for one in chosen
        ]
        return Gallery(self._total, rows, pictures)

    def _offer(
        self, row: Sample, outcome: Outcome, step: str, reason: str, scores: Mapping[str, float]
    ) -> None:
        self._total += 1
        if self._score in scores:
            self._tally.add(row.task, scores[self._score], self._truth.get(row.id, "unknown"))
        if row.image is not None:  # there is nothing to look at
            self._add(_Candidate(row, outcome, step, reason, scores))

    def _add(self, one: _Candidate) -> None:
        group = (one.outcome, one.step, one.reason, self._truth.get(one.row.id, "unknown"))
        self._choice.add(group, one.row.id, one)

    def _exhibit(self, one: _Candidate, picture: int, detail: str) -> Exhibit:
        image = _image(one.row)
        words, marks = _words(one.row)
        sample = isinstance(one.row, Sample)
        return Exhibit(
            id=one.row.id,
            task=one.row.task if isinstance(one.row, Sample) else one.row.request.task,
            mode=one.row.origin.mode if isinstance(one.row, Sample) else one.row.request.mode,
            outcome=one.outcome,
            image=picture,
            size=(image.width, image.height),
            words=words,
            marks=marks,
            step=one.step,
            reason=one.reason,
            scores=dict(one.scores),
            truth=self._truth.get(one.row.id, "unknown") if sample else "unknown",
            detail=detail,
        )


def _row(value: Any) -> Sample | Generation | None:
    """The record in a rejected row, which comes back from disk as plain values."""
    if isinstance(value, Sample | Generation):
        return value
    try:
        if isinstance(value, dict) and "turns" in value:
            return msgspec.convert(value, Sample)
        return msgspec.convert(value, Generation)
    except msgspec.ValidationError:
        return None


def _image(row: Sample | Generation) -> ImageRef:
    return row.picture if isinstance(row, Sample) else row.request.image


def _words(row: Sample | Generation) -> tuple[list[Words], list[list[float]]]:
    if isinstance(row, Generation):
        return [Words("raw", [row.completion.text])], []
    marks: list[list[float]] = []
    return [_turn(turn, marks) for turn in row.turns], marks


def _turn(turn: Turn, marks: list[list[float]]) -> Words:
    """`turn` with an index into `marks`, which grows, for each of its marks."""
    boxes, points = iter(turn.boxes), iter(turn.points)
    pieces, kinds = split_marks(turn.text)
    parts: list[str | int] = [pieces[0]]
    for kind, piece in zip(kinds, pieces[1:], strict=True):
        parts += [len(marks), piece]
        found = next(boxes) if kind == "box" else next(points)
        marks.append(list(msgspec.structs.astuple(found)))
    return Words(turn.role, [part for part in parts if part != ""])


def _pictures(images: Iterable[ImageRef], root: Path) -> tuple[list[str], dict[str, int]]:
    """Thumbnails as data URIs, and the place of each by its content; -1 for an unreadable one."""
    pictures: list[str] = []
    places: dict[str, int] = {}
    for image in images:
        if image.sha256 in places:
            continue
        try:
            uri = _thumbnail(root, image.path)
        except ImageError:
            places[image.sha256] = -1
            continue
        places[image.sha256] = len(pictures)
        pictures.append(uri)
    return pictures, places


def _thumbnail(root: Path, path: str) -> str:
    picture = open_image(root, path)
    picture.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
