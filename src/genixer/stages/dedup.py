"""Stage `dedup`: keeps the first of samples that say the same."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from genixer.data import Sample, encode_row
from genixer.errors import DataError
from genixer.filters.dedup import SameBy
from genixer.filters.near_texts import NearTexts
from genixer.stages.base import Estimate, FileWriter, RowWriter, Stage, StageSettings, Step
from genixer.stages.duplicates import REASONS, Duplicates
from genixer.store.hamming import MAX_DISTANCE

__all__ = ["DedupSettings", "DedupStage"]

_log = logging.getLogger(__name__)

FATES = "fates.bin"
"""One byte an input row: its place in `REASONS`."""
GROUPS = "groups.jsonl"


class DedupSettings(StageSettings):
    """When two samples are the same."""

    by: SameBy = "question"
    """`question`: same picture, same questions, whatever the answers; `content`: same answers too;
    `image`: same picture, whatever is said of it (needs `picture_distance`)."""
    picture_distance: int | None = Field(None, ge=0, le=MAX_DISTANCE)
    """Pictures are the same when their perceptual hashes differ in at most this many of 64 bits;
    only when their bytes are equal where not set."""
    word_overlap: float | None = Field(None, ge=0.2, le=1.0)
    """Texts are the same when they share at least this part of their runs of words (Jaccard); only
    when all words are equal where not set."""
    run_words: int = Field(3, ge=1, le=32)
    """Words in a run."""
    across_pictures: bool = False
    """Whether the same text is the same whatever the picture: for long texts."""

    @model_validator(mode="after")
    def _compares_something(self) -> Self:
        if self.by == "image" and self.picture_distance is None:
            raise ValueError(
                "by: image compares pictures by their look: set picture_distance (4, say)"
            )
        if self.by == "image" and (self.word_overlap is not None or self.across_pictures):
            raise ValueError("by: image looks at no text: leave out word_overlap, across_pictures")
        if self.across_pictures and self.picture_distance is not None:
            raise ValueError("across_pictures looks at no picture: leave out picture_distance")
        return self


class DedupStage(Stage):
    """Keeps the first sample of each group in input order, rejects the others.

    Reasons: `duplicate` (same bytes of the picture, same words and boxes) and `near_duplicate`. A
    sample goes only for one that stays. With `by: image` all samples about the first picture of a
    group stay. A picture that cannot be opened equals only its own bytes. Files: `groups.jsonl`
    (`Group`, in order of the kept ones), `fates.bin` (a byte a row, for the shards).

    The groups are found before the shards, in one pass that holds about 200 bytes a sample, up to
    700 where every text has a near one; near texts take disk besides (`NearTexts`).
    """

    name: ClassVar[str] = "dedup"
    version = 2
    Settings: ClassVar[type[DedupSettings]] = DedupSettings

    def items(self, step: Step) -> int:
        """How many samples come in."""
        return step.count()

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        """About 20 000 samples and 1000 pictures a second; what is a duplicate is not known."""
        items = super().estimate(inputs).items
        each = 1 / 20_000 + (self.settings.picture_distance is not None) / 1000
        return Estimate(items, None, seconds=(items or 0) * each, bytes=(items or 0) * 700)

    def prepare(self, step: Step, out: FileWriter) -> None:
        """Find the groups."""
        settings, texts = self.settings, None
        if settings.word_overlap is not None:
            texts = NearTexts(out.scratch(), settings.word_overlap, settings.run_words)
        rows = Duplicates(settings.by, settings.picture_distance, texts, settings.across_pictures)
        for sample in step.rows(Sample):
            rows.add(sample, step.images)
        rows.settle()
        if rows.unseen:
            _log.warning(
                "step %s: pictures that only their bytes were compared of: %s",
                step.name,
                ", ".join(f"{count} {reason}" for reason, count in sorted(rows.unseen.items())),
            )
        out.file(FATES, rows.fates.tobytes())
        folder = out.scratch()
        with (folder / GROUPS).open("wb") as file:
            for kept in rows.kept_ones:
                file.write(encode_row(rows.group(kept)) + b"\n")
        out.adopt(folder)

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Keep or reject samples `first` to `first + count`."""
        fates = _fates(step.resolve(f"@{step.name}/{FATES}"), first, count)
        for sample, fate in zip(step.rows(Sample, first, count), fates, strict=True):
            if fate:
                out.reject(sample.id, REASONS[fate], sample, sample.origin.scores)
            else:
                out.keep(sample)


def _fates(path: Path, first: int, count: int) -> bytes:
    """Bytes `first` to `first + count` of the file."""
    with path.open("rb") as file:
        file.seek(first)
        data = file.read(count)
    if len(data) != count:
        raise DataError(f"{path}: shorter than the input it indexes; remove the step and run again")
    return data
