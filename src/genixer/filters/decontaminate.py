"""Samples that a benchmark holds too: by the bytes of the picture, by its look, by the question."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, get_args

from pydantic import Field

from genixer.data import Record, Sample, Verdict
from genixer.filters.base import FilterSettings
from genixer.filters.leak_index import LeakIndex, picture_key
from genixer.filters.ngrams import NGrams
from genixer.store.hamming import MAX_DISTANCE
from genixer.store.images import REASONS, ImageError
from genixer.store.perceptual import picture_hash_of_file

__all__ = [
    "DISTANCE",
    "BenchmarkLeaks",
    "DecontaminateFilter",
    "DecontaminateSettings",
    "Finding",
    "Leak",
    "LeakFinder",
    "LeakTable",
    "leak_table",
]

DISTANCE = 4
"""Bits two looks may differ in: what coding and sizing anew leave, and no more."""
_REMEMBERED = 20_000

By = Literal["bytes", "look", "words"]


class Leak(Record, frozen=True):
    """What a sample shares with a benchmark; `bits` is how far the looks are apart."""

    benchmark: str
    by: By
    bits: int = 0


class Finding(Record, frozen=True):
    """All leaks of one sample, or the `problem` that kept its picture from being looked at."""

    leaks: tuple[Leak, ...] = ()
    problem: str = ""

    @property
    def reason(self) -> str:
        """Why the sample is refused; empty where it is clean."""
        if any(leak.by != "words" for leak in self.leaks):
            return "benchmark_picture"
        return "benchmark_question" if self.leaks else self.problem


class BenchmarkLeaks(Record, frozen=True):
    """Samples that leak one benchmark: `rows` in all, and by each way, which may overlap."""

    benchmark: str
    pictures: int
    questions: int
    rows: int = 0
    by_bytes: int = 0
    by_look: int = 0
    by_words: int = 0


class LeakTable(Record, frozen=True):
    """What a check found among `rows` samples; without an index nothing was `checked`.

    `leaked` samples share something with a benchmark, `unreadable` ones could not be looked at.
    `distance` and `words` are the limits, `index` is the digest of the index.
    """

    checked: bool
    rows: int = 0
    leaked: int = 0
    unreadable: int = 0
    distance: int = DISTANCE
    words: int = 0
    index: str = ""
    benchmarks: tuple[BenchmarkLeaks, ...] = ()


class _Look(NamedTuple):
    hash: int | None = None
    problem: str = ""


class LeakFinder:
    """Looks samples up in an index. Remembers the last 20 000 pictures it looked at."""

    def __init__(self, index: LeakIndex, distance: int = DISTANCE) -> None:
        """Looks at most `distance` bits apart are of the same picture."""
        self.index, self.distance = index, distance
        self._grams = NGrams(index.words, short=False)
        self._looks: OrderedDict[str, _Look] = OrderedDict()

    def find(self, samples: Sequence[Sample], images: Path) -> list[Finding]:
        """One finding a sample, in order, each with its leaks in order of the benchmarks."""
        refs = [sample.image for sample in samples if sample.image is not None]
        pictures = {image.sha256: image.path for image in refs}
        by_picture: dict[str, set[Leak]] = {sha256: set() for sha256 in pictures}
        problems = self._find_pictures(pictures, images, by_picture)
        said = self._find_words(samples)
        return [
            Finding(
                self._in_order(by_picture.get(sample.image_sha256, set()) | words),
                problems.get(sample.image_sha256, ""),
            )
            for sample, words in zip(samples, said, strict=True)
        ]

    def _find_pictures(
        self, pictures: dict[str, str], images: Path, found: dict[str, set[Leak]]
    ) -> dict[str, str]:
        """Add the leaks of each picture to `found`; says which could not be looked at, and why."""
        import numpy as np

        names = list(pictures)
        keys = np.array([picture_key(sha256) for sha256 in names], dtype=np.uint64)
        for at, of in zip(*self.index.find("pictures", keys), strict=True):
            found[names[at]].add(Leak(self._name(of), "bytes"))
        seen = {sha256: self._look(sha256, pictures[sha256], images) for sha256 in names}
        looks = {sha256: look.hash for sha256, look in seen.items() if look.hash is not None}
        names, hashes = list(looks), np.array(list(looks.values()), dtype=np.uint64)
        nearest: dict[tuple[str, str], int] = {}
        for at, of, bits in zip(*self.index.near(hashes, self.distance), strict=True):
            key = names[at], self._name(of)
            nearest[key] = min(int(bits), nearest.get(key, MAX_DISTANCE))
        for (sha256, benchmark), bits in nearest.items():
            found[sha256].add(Leak(benchmark, "look", bits))
        return {sha256: look.problem for sha256, look in seen.items() if look.problem}

    def _look(self, sha256: str, path: str, images: Path) -> _Look:
        known = self._looks.get(sha256)
        if known is None:
            try:
                known = _Look(picture_hash_of_file(images, path))
            except ImageError as error:
                known = _Look(problem=error.reason)
            self._looks[sha256] = known
            if len(self._looks) > _REMEMBERED:
                self._looks.popitem(last=False)
        return known

    def _find_words(self, samples: Sequence[Sample]) -> list[set[Leak]]:
        """Leaks by the questions of each sample."""
        import numpy as np

        turns = [
            (at, turn.text)
            for at, sample in enumerate(samples)
            for turn in sample.turns
            if turn.role == "user"
        ]
        runs, counts = self._grams.of([text for _, text in turns])
        owners = np.repeat(np.array([at for at, _ in turns], dtype=np.int64), counts)
        found: list[set[Leak]] = [set() for _ in samples]
        for run, of in zip(*self.index.find("runs", runs), strict=True):
            found[owners[run]].add(Leak(self._name(of), "words"))
        return found

    def _name(self, of: int) -> str:
        return self.index.benchmarks[of].name

    def _in_order(self, leaks: set[Leak]) -> tuple[Leak, ...]:
        return tuple(sorted(leaks, key=lambda leak: (leak.benchmark, leak.by)))


class DecontaminateSettings(FilterSettings):
    """Which index, and how alike is the same."""

    index: str
    """File that a step of the stage `leak_index` made: `@leaks/benchmarks.leaks`, say."""
    distance: int = Field(default=DISTANCE, ge=0, le=MAX_DISTANCE)
    """Pictures are the same when their perceptual hashes differ in at most this many of 64 bits."""


class DecontaminateFilter:
    """Refuses samples that a benchmark holds too, by picture or by question.

    It gives no score. A picture that cannot be opened is refused for the reason it cannot.
    """

    name: ClassVar[str] = "decontaminate"
    reasons: ClassVar[tuple[str, ...]] = ("benchmark_picture", "benchmark_question", *REASONS)
    Settings: ClassVar[type[DecontaminateSettings]] = DecontaminateSettings

    def __init__(self, settings: DecontaminateSettings) -> None:
        """Keep `settings`; the index is opened on first use."""
        self.settings = settings
        self._finder: LeakFinder | None = None

    def judge(self, samples: Sequence[Sample], images: Path) -> list[Verdict]:
        """One verdict a sample, in order."""
        if self._finder is None:
            self._finder = LeakFinder(LeakIndex(Path(self.settings.index)), self.settings.distance)
        reasons = [finding.reason for finding in self._finder.find(samples, images)]
        return [Verdict(keep=not reason, reason=reason) for reason in reasons]


def leak_table(finder: LeakFinder, clean: int, findings: Iterable[Finding]) -> LeakTable:
    """Table of a check that let `clean` samples pass and refused those of `findings`."""
    index = finder.index
    known = {one.name: dict.fromkeys(("rows", *get_args(By)), 0) for one in index.benchmarks}
    leaked = unreadable = 0
    for finding in findings:
        leaked += bool(finding.leaks)
        unreadable += not finding.leaks
        for benchmark in {leak.benchmark for leak in finding.leaks}:
            known[benchmark]["rows"] += 1
        for leak in finding.leaks:
            known[leak.benchmark][leak.by] += 1
    benchmarks = tuple(
        BenchmarkLeaks(one.name, one.pictures, one.questions, *known[one.name].values())
        for one in index.benchmarks
    )
    rows = clean + leaked + unreadable
    limits = finder.distance, index.words, index.digest
    return LeakTable(True, rows, leaked, unreadable, *limits, benchmarks)
