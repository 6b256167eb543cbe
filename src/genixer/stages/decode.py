"""Completions to samples: read by the codec of the task asked for, or told by their form."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from pydantic import field_validator

from genixer.data import Generation, Origin, Sample, Turn, content_id, encode_row
from genixer.errors import ConfigError, near
from genixer.frames import check_frame
from genixer.stages.base import (
    Estimate,
    FileWriter,
    RowWriter,
    Stage,
    StageSettings,
    Step,
    StepOutput,
)
from genixer.tasks import load_task
from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.kinds import is_of_kind
from genixer.tasks.readers import READERS
from genixer.tasks.readers.base import read_leniently
from genixer.tasks.recognise import recognise

__all__ = ["DecodeSettings", "DecodeStage", "prompt_digest"]

CODEC = "codec"
"""What `readers.json` calls the reading of a task's own codec."""


class DecodeSettings(StageSettings):
    """How text is read."""

    readers: tuple[str, ...] = ()
    """Lenient readers, tried in order on what the task's codec refuses (`json`, `marks` ..)."""

    @field_validator("readers")
    @classmethod
    def _known_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in READERS:
                raise ValueError(f"no reader is called {name!r}; {near(name, READERS)}")
        if len(set(names)) < len(names):
            raise ValueError("a reader stands twice")
        return names


class _Reading(NamedTuple):
    """What a completion says: of which task, and who read it (empty: its codec)."""

    task: str
    turns: tuple[Turn, ...]
    reader: str = ""


class DecodeStage(Stage):
    """Samples of what a generator wrote; one work item a `Generation`.

    Rejects with the reason of the `ParseError`, or `cut_off` where the completion hit its length
    limit, `other_kind` where a kind of question was asked for and another came; a failed completion
    is quarantined as `backend_error`. Space around a completion is not part of it; nothing else is
    mended.

    Lenient readers are tried where the settings name them; a sample that one has read carries its
    name in `origin.reader`. Files: `readers.json` (then only), the samples each reader has read.
    """

    name = "decode"
    version = 3
    Settings = DecodeSettings

    def items(self, step: Step) -> int:
        """Generations that come in."""
        return step.count()

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Read generations `first` to `first + count`."""
        for row in step.rows(Generation, first, count):
            if row.completion.finish == "error":
                out.quarantine(row.id, "backend_error", row.completion.text, encode_row(row))
                continue
            cut_off = row.completion.finish == "length"
            read = ParseError("cut_off") if cut_off else _of_kind(self._read(row), row.request.kind)
            scores = _scores(row)
            if isinstance(read, ParseError):
                out.reject(row.id, read.reason, row, scores)
            else:
                origin = _origin(row, scores, read.reader)
                out.keep(Sample.of(read.task, row.request.image, read.turns, origin))

    def finish(self, step: Step, out: FileWriter, rows: StepOutput) -> None:
        """Count the samples of every reader, those of the codecs included."""
        if not self.settings.readers:
            return
        counts = Counter(dict.fromkeys((CODEC, *self.settings.readers), 0))
        counts.update(sample.origin.reader or CODEC for sample in rows.rows(Sample))
        out.file("readers.json", encode_row(counts))

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        """About 20000 completions a second; how many parse is not known before."""
        items = super().estimate(inputs).items
        return Estimate(items, None, seconds=(items or 0) / 20_000, bytes=(items or 0) * 600)

    def _read(self, row: Generation) -> _Reading | ParseError:
        image, request = row.request.image, row.request
        canvas = Canvas(check_frame(row.frame), row.decimals, image.width, image.height)
        if request.mode != "agnostic" and not request.task:
            raise ConfigError(f"request {request.id} is in mode {request.mode!r}, names no task")
        task = "" if request.mode == "agnostic" else request.task

        def decode(text: str) -> _Reading | ParseError:
            return _decode(text, task, canvas)

        text = row.completion.text.strip()
        read = decode(text)
        if not isinstance(read, ParseError):
            return read
        found = read_leniently(text, canvas, self.settings.readers, decode, read)
        return found if isinstance(found, ParseError) else found[0]._replace(reader=found[1])


def _decode(text: str, task: str, canvas: Canvas) -> _Reading | ParseError:
    """`text` as the codec of `task` reads it, or of the task it is recognised to be of."""
    if not task:
        found = recognise(text, canvas)
        return found if isinstance(found, ParseError) else _Reading(*found)
    turns = load_task(task).decode(text, canvas)
    return turns if isinstance(turns, ParseError) else _Reading(task, turns)


def _of_kind(read: _Reading | ParseError, kind: str) -> _Reading | ParseError:
    """`read`, if it is of the kind of question that was asked for."""
    if isinstance(read, ParseError) or not kind or is_of_kind(read.task, kind, read.turns):
        return read
    return ParseError("other_kind", f"{kind} was asked for")


def _scores(row: Generation) -> dict[str, float]:
    """Mean natural log-probability of the tokens, end token included; nothing without tokens."""
    logprobs = row.completion.logprobs
    return {"logprob_mean": math.fsum(logprobs) / len(logprobs)} if logprobs else {}


def _origin(row: Generation, scores: dict[str, float], reader: str) -> Origin:
    return Origin(
        "genixer",
        row.licence,
        parents=(row.request.id,),
        generator=row.generator,
        revision=row.revision,
        prompt=prompt_digest(row.request.prompt),
        mode=row.request.mode,
        seed=row.request.sampling.seed,
        question_type=row.request.kind,
        scores=scores,
        reader=reader,
    )


def prompt_digest(prompt: str) -> str:
    """What `Origin.prompt` holds: a digest of the instruction's words.

    >>> len(prompt_digest("Ask a question about the image and answer it."))
    32
    """
    return content_id("prompt", prompt)
