"""Completions to samples: read by the codec of the task asked for, or told by their form."""

from __future__ import annotations

import math
from collections.abc import Mapping

from genixer.data import Generation, Origin, Sample, Turn, content_id, encode_row
from genixer.errors import ConfigError
from genixer.frames import check_frame
from genixer.stages.base import Estimate, RowWriter, Stage, Step
from genixer.tasks import load_task
from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.recognise import recognise

__all__ = ["DecodeStage", "prompt_digest"]


class DecodeStage(Stage):
    """Samples of what a generator wrote; one work item a `Generation`.

    Rejects with the reason of the `ParseError`, or `cut_off` where the completion hit its length
    limit; a failed completion is quarantined as `backend_error`. Space around a completion is not
    part of it; nothing else is mended.
    """

    name = "decode"

    def items(self, step: Step) -> int:
        """Generations that come in."""
        return step.count()

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Read generations `first` to `first + count`."""
        for row in step.rows(Generation, first, count):
            if row.completion.finish == "error":
                out.quarantine(row.id, "backend_error", row.completion.text, encode_row(row))
                continue
            read = ParseError("cut_off") if row.completion.finish == "length" else _read(row)
            scores = _scores(row)
            if isinstance(read, ParseError):
                out.reject(row.id, read.reason, row, scores)
            else:
                task, turns = read
                out.keep(Sample.of(task, row.request.image, turns, _origin(row, scores)))

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        """About 20000 completions a second; how many parse is not known before."""
        items = super().estimate(inputs).items
        return Estimate(items, None, seconds=(items or 0) / 20_000, bytes=(items or 0) * 600)


def _read(row: Generation) -> tuple[str, tuple[Turn, ...]] | ParseError:
    image, request = row.request.image, row.request
    canvas = Canvas(check_frame(row.frame), row.decimals, image.width, image.height)
    text = row.completion.text.strip()
    if request.mode == "agnostic":
        return recognise(text, canvas)
    if not request.task:
        raise ConfigError(f"request {request.id} is in mode {request.mode!r} but names no task")
    turns = load_task(request.task).decode(text, canvas)
    return turns if isinstance(turns, ParseError) else (request.task, turns)


def _scores(row: Generation) -> dict[str, float]:
    """Mean natural log-probability of the tokens, end token included; nothing without tokens."""
    logprobs = row.completion.logprobs
    return {"logprob_mean": math.fsum(logprobs) / len(logprobs)} if logprobs else {}


def _origin(row: Generation, scores: dict[str, float]) -> Origin:
    return Origin(
        "genixer",
        parents=(row.request.id,),
        generator=row.generator,
        revision=row.revision,
        prompt=prompt_digest(row.request.prompt),
        mode=row.request.mode,
        seed=row.request.sampling.seed,
        scores=scores,
    )


def prompt_digest(prompt: str) -> str:
    """What `Origin.prompt` holds: a digest of the instruction's words.

    >>> len(prompt_digest("Ask a question about the image and answer it."))
    32
    """
    return content_id("prompt", prompt)
