"""ScienceQA: school questions with options, about half of them with a picture."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import msgspec

from genixer.data import Origin, Quarantined, Sample
from genixer.errors import ConfigError
from genixer.sources.base import SourceSettings
from genixer.sources.pairs import lettered
from genixer.store.entries import (
    EntryError,
    EntryFile,
    join_path,
    json_array,
    json_object,
    read_entry,
)
from genixer.store.images import ImageCatalog

__all__ = ["ScienceQa", "ScienceQaSettings"]


class ScienceQaSettings(SourceSettings):
    """Where ScienceQA lies."""

    problems: Path
    """`problems.json`: a dictionary of question, choices, answer (number of the right choice),
    hint, image, split."""
    splits: Path
    """`pid_splits.json`: a dictionary of lists of problem ids."""
    split: str = "train"
    """Which list to read."""
    image_prefix: str = ""
    """Folder under the image root that holds the folders `train`, `val`, `test`."""


class _Problem(msgspec.Struct):
    question: str
    choices: list[str]
    answer: int
    split: str
    hint: str = ""
    image: str | None = None
    subject: str = ""


class ScienceQa:
    """Questions with options as multiple choice, the hint before the question.

    Rows come in the order of the list of ids. Problems without a picture are `no_image`; those
    whose picture is not there are `missing_image`.
    """

    name: ClassVar[str] = "scienceqa"
    licence: ClassVar[str] = "CC BY-NC-SA 4.0"
    tasks: ClassVar[tuple[str, ...]] = ("mc_vqa",)
    Settings: ClassVar[type[ScienceQaSettings]] = ScienceQaSettings

    def __init__(self, settings: ScienceQaSettings) -> None:
        """Keep `settings`; open nothing yet."""
        self.settings = settings
        self.catalog = ImageCatalog(settings.images)

    def files(self) -> list[Path]:
        """Problems, lists of ids."""
        return [self.settings.problems, self.settings.splits]

    def count(self) -> int:
        """One row for each id of the list."""
        return len(self._listed)

    def read(self, first: int = 0, count: int | None = None) -> Iterator[Sample | Quarantined]:
        """Rows of ids `first` to `first + count` of the list."""
        last = self.count() if count is None else min(first + count, self.count())
        for number in range(first, last):
            yield self._row(number)

    @cached_property
    def _listed(self) -> EntryFile:
        return json_array(self.settings.splits, self.settings.split)

    @cached_property
    def _ids(self) -> list[str | None]:
        """Ids of the list; None for what cannot be read and for what stands there again."""
        ids: list[str | None] = []
        seen: set[str] = set()
        for index in range(len(self._listed)):
            try:
                found: str | None = str(self._listed.read(index, int | str))  # type: ignore[arg-type]
            except EntryError:
                found = None
            ids.append(None if found in seen else found)
            seen.add(found or "")
        return ids

    @cached_property
    def _problems(self) -> tuple[EntryFile, dict[int | str, int], frozenset[int | str]]:
        """The file, the entry of each problem, and the ids that it has twice."""
        file = json_object(self.settings.problems, _Problem)
        first, repeated = file.by_id("")
        if self._ids and not first.keys() & set(self._ids):
            raise ConfigError(
                f"{self.settings.problems}: has none of the problems that {self.settings.splits} "
                f"lists as {self.settings.split!r}: is one of them another file?"
            )
        return file, first, frozenset(file.key(index) for index in repeated)

    def _row(self, number: int) -> Sample | Quarantined:
        file, entry_of, doubted = self._problems
        pid = self._ids[number]
        if pid is None or pid not in entry_of:
            return read_entry(self._listed, number, lambda: self._refuse(number))
        if pid in doubted:
            return read_entry(file, entry_of[pid], _refuse_doubted)
        return read_entry(file, entry_of[pid], lambda: self._sample(file, pid, entry_of[pid]))

    def _refuse(self, number: int) -> Sample:
        """Raise what is wrong with an id of the list."""
        pid = str(self._listed.read(number, int | str))  # type: ignore[arg-type]
        if self._ids[number] is None:
            raise EntryError("duplicate_id", "the list has this id before")
        raise EntryError("unknown_problem", f"{self.settings.problems.name} has no {pid!r}"[:200])

    def _sample(self, file: EntryFile, pid: str, index: int) -> Sample:
        problem = file.read(index, _Problem)
        if not problem.image:
            raise EntryError("no_image", "a problem in words alone")
        hint = problem.hint.strip()
        question = f"{hint}\n{problem.question}" if hint else problem.question
        turns = lettered(question, problem.choices, problem.answer)
        # Lists such as minival draw on a split; the picture lies in the problem's own folder.
        path = join_path(self.settings.image_prefix, f"{problem.split}/{pid}/{problem.image}")
        image = self.catalog.ref(path)
        licence = self.settings.licence or self.licence
        origin = Origin(self.name, licence, question_type=problem.subject)
        return Sample.of("mc_vqa", image, turns, origin)


def _refuse_doubted() -> Sample:
    raise EntryError("duplicate_problem", "the file has two problems of this id")
