"""Step 2: samples to training text, for a generator, a student or a judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, Field, field_validator

from genixer.data import (
    ImageRef,
    Message,
    Mode,
    Sample,
    SftRow,
    content_id,
    decode_row,
    encode_row,
    random_for,
)
from genixer.errors import CannotEncodeError, near
from genixer.frames import Frame
from genixer.stages.base import Estimate, FileWriter, RowWriter, Stage, StageSettings, Step
from genixer.stages.keyed_rows import KeyedRows, key_of, write_keyed_rows
from genixer.tasks import TASKS, load_task
from genixer.tasks.base import Canvas, Purpose
from genixer.tasks.judging import JUDGE_OPTIONS, judge_prompts
from genixer.tasks.shape import are_pairs
from genixer.tasks.twins import is_judgeable, wrong_twin
from genixer.tasks.voices import SHORT_ANSWER_TASKS, messages

__all__ = ["InstructSettings", "InstructStage"]

GENERAL_ONLY = {
    "common_vqa": 0.2,
    "adv_vqa": 0.2,
    "mc_vqa": 0.5,
    "md": 0.2,
    "rec": 0.2,
    "reg": 0.2,
    "point_qa": 0.2,
    "qcboxa": 0.2,
    "rd": 0.2,
}
"""Share of task-agnostic rows. The paper's for common VQA and multiple choice; the rest is ours."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]

NEIGHBOURS = 64
"""Samples of one image, and of one kind of question, that a wrong answer is looked for in."""


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class InstructSettings(StageSettings):
    """What the rows are for and how their text is written."""

    purpose: Annotated[
        tuple[Literal["generator", "student", "judge"], ...], BeforeValidator(_as_list)
    ] = Field(("generator",), min_length=1)
    """One or several of `generator` (ask and answer), `student` (answer), `judge` (Yes or No)."""
    frame: Frame = "unit"
    """Coordinate frame of the text; must be the one of the model that is trained.

    `unit`, `pixel`, `padded_square`, `per_999`, `per_1000`, `loc_1024`, or `resized_F_MIN_MAX`.
    """
    decimals: int = Field(3, ge=0, le=6)
    """Decimals of a coordinate in the text."""
    general_only: dict[str, Share] = Field(default_factory=dict)
    """Share of generator rows whose instruction names no task; other tasks keep their default."""
    judge_negatives: Share = 0.5
    """Share of judge rows that show a wrong answer."""
    short_answer_line: str = ""
    """Line put after a student's common and adversarial questions; empty for none."""

    @field_validator("general_only")
    @classmethod
    def _known_tasks(cls, shares: dict[str, float]) -> dict[str, float]:
        for name in shares:
            if name not in TASKS:
                raise ValueError(f"no task is called {name!r}; {near(name, TASKS)}")
        return shares

    @field_validator("purpose")
    @classmethod
    def _once_each(cls, purposes: tuple[Purpose, ...]) -> tuple[Purpose, ...]:
        if len(set(purposes)) < len(purposes):
            raise ValueError("a purpose stands twice")
        return purposes


class _Refused(NamedTuple):
    """Why a sample gives no row of this purpose."""

    reason: str


class InstructStage(Stage):
    """Training rows (`SftRow`) of samples; work items are samples times purposes.

    Rejects with the reason of `CannotEncodeError` (`no_image`: a generator or judge is taught about
    an image), and `helper_task` (no generator or judge is
    taught it), `not_pairs` (turns that do not alternate), `wrong_task` (for a judge, what has not
    the pairs and places of its task) and `no_wrong_twin` (a judge would only ever see it right).
    Words, mode and mistakes depend on the run's seed and the sample alone, and a judge's mistakes
    also on the other samples: see `genixer.tasks.twins`.

    Files: `by_image/`, `by_kind/` (judge only): where other samples are found without holding them
    in memory.
    """

    name = "instruct"
    version = 2
    Settings = InstructSettings

    def __init__(self, settings: InstructSettings) -> None:
        """Nothing open yet."""
        super().__init__(settings)
        self._general_only = {**GENERAL_ONLY, **settings.general_only}

    def items(self, step: Step) -> int:
        """Samples times purposes."""
        return step.count() * len(self.settings.purpose)

    def prepare(self, step: Step, out: FileWriter) -> None:
        """For a judge: lay out the samples by image and by kind of question."""
        if "judge" not in self.settings.purpose:
            return
        for name, rows in (("by_image", _by_image(step)), ("by_kind", _by_kind(step))):
            folder = out.scratch()
            write_keyed_rows(folder, rows)
            out.adopt(folder, name)

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Write rows `first` to `first + count`; the purposes of a sample lie side by side."""
        purposes = self.settings.purpose
        start, last = first // len(purposes), -(-(first + count) // len(purposes))
        with _Neighbours(step, "judge" in purposes) as neighbours:
            for at, sample in enumerate(step.rows(Sample, start, last - start), start):
                for number, purpose in enumerate(purposes, at * len(purposes)):
                    if first <= number < first + count:
                        self._write(step, sample, purpose, neighbours, out)

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        """About 20000 rows a second, a quarter of that for a judge."""
        rows = super().estimate(inputs).items
        if rows is None:
            return Estimate()
        items = rows * len(self.settings.purpose)
        seconds = items / (5_000 if "judge" in self.settings.purpose else 20_000)
        return Estimate(items, items, items * 60, seconds, items * 700)

    def _write(
        self, step: Step, sample: Sample, purpose: Purpose, near: _Neighbours, out: RowWriter
    ) -> None:
        try:
            row = self._row(step, sample, purpose, near)
        except CannotEncodeError as error:
            row = _Refused(error.reason)
        if isinstance(row, _Refused):
            out.reject(sample.id, row.reason, sample)
        else:
            out.keep(row)

    def _row(
        self, step: Step, sample: Sample, purpose: Purpose, near: _Neighbours
    ) -> SftRow | _Refused:
        if purpose != "student" and "helper" in TASKS[sample.task].capability:
            return _Refused("helper_task")
        if not are_pairs(sample.turns):
            return _Refused("not_pairs")
        mode = ""
        if purpose == "student":
            said = self._student(sample)
        elif purpose == "generator":
            mode, said = self._generator(step, sample, self._canvas(sample.picture))
        else:
            if not is_judgeable(sample):
                return _Refused("wrong_task")
            judged = self._judge(step, sample, self._canvas(sample.picture), near)
            if judged is None:
                return _Refused("no_wrong_twin")
            said = judged
        return SftRow(
            content_id("sft", purpose, sample.id, said),
            sample.id,
            sample.task,
            purpose,
            sample.image,
            said,
            mode,
            self.settings.frame,
            self.settings.decimals,
            sample.origin.source,
            sample.origin.question_type,
        )

    def _canvas(self, image: ImageRef) -> Canvas:
        return Canvas(self.settings.frame, self.settings.decimals, image.width, image.height)

    def _student(self, sample: Sample) -> tuple[Message, ...]:
        if sample.image is None:
            return messages(sample.turns, None)
        line = self.settings.short_answer_line if sample.task in SHORT_ANSWER_TASKS else ""
        return messages(sample.turns, self._canvas(sample.image), line)

    def _generator(
        self, step: Step, sample: Sample, canvas: Canvas
    ) -> tuple[Mode, tuple[Message, ...]]:
        rng = random_for(step.seed, "instruct/generator", sample.id)
        share = self._general_only.get(sample.task, 0.0)
        mode: Mode = "agnostic" if rng.random() < share else "specific"
        task = load_task(sample.task)
        asked = Message("user", task.ask(rng, mode))
        return mode, (asked, Message("assistant", task.encode(sample.turns, canvas)))

    def _judge(
        self, step: Step, sample: Sample, canvas: Canvas, near: _Neighbours
    ) -> tuple[Message, ...] | None:
        rng = random_for(step.seed, "instruct/judge", sample.id)
        wrong = rng.random() < self.settings.judge_negatives
        # Looked for even when the row will show the right answer: a kind of question for which no
        # mistake can be made would otherwise be taught as always right.
        twin = wrong_twin(sample, near.of(sample), rng)
        if twin is None and self.settings.judge_negatives:
            return None
        if wrong and twin is not None:
            changed = [a != b for a, b in zip(sample.turns, twin.turns, strict=True)]
            asked = judge_prompts(twin, canvas)[changed.index(True) // 2]
            return Message("user", asked), Message("assistant", JUDGE_OPTIONS[1])
        asked = rng.choice(judge_prompts(sample, canvas))
        return Message("user", asked), Message("assistant", JUDGE_OPTIONS[0])


def _by_image(step: Step) -> Iterator[tuple[int, bytes]]:
    for sample in step.rows(Sample):
        yield key_of(sample.image_sha256), encode_row(sample)


def _kind(sample: Sample) -> int:
    """Samples with equal kinds lend each other answers: same task, same question type.

    Not for regions: an expression of the same kind of object from another image may well be right.
    """
    question_type = "" if load_task(sample.task).grounding else sample.origin.question_type
    return key_of(f"{sample.task}\0{question_type}")


def _by_kind(step: Step) -> Iterator[tuple[int, bytes]]:
    """A draw of `NEIGHBOURS` samples of each kind of question, every sample as likely."""
    drawn: dict[int, list[bytes]] = {}
    seen: dict[int, int] = {}
    rng = random_for(step.seed, "instruct", "by_kind")
    for sample in step.rows(Sample):
        key = _kind(sample)
        seen[key] = seen.get(key, 0) + 1
        rows = drawn.setdefault(key, [])
        if len(rows) < NEIGHBOURS:
            rows.append(encode_row(sample))
        elif (place := rng.randrange(seen[key])) < NEIGHBOURS:
            rows[place] = encode_row(sample)
    for key, rows in drawn.items():
        for row in rows:
            yield key, row


class _Neighbours:
    """Other samples near a sample: of its image and of its kind of question."""

    def __init__(self, step: Step, wanted: bool) -> None:
        self._step, self._wanted, self._open = step, wanted, ExitStack()
        self._kinds: dict[int, list[Sample]] = {}
        self._image: tuple[str, list[Sample]] = ("", [])

    def __enter__(self) -> _Neighbours:
        if self._wanted:
            self._by_image = self._open.enter_context(KeyedRows(self._folder("by_image")))
            self._by_kind = self._open.enter_context(KeyedRows(self._folder("by_kind")))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _folder(self, name: str) -> Path:
        return self._step.resolve(f"@{self._step.name}/{name}")

    def of(self, sample: Sample) -> list[Sample]:
        kind, image = _kind(sample), sample.image_sha256
        if kind not in self._kinds:
            self._kinds[kind] = _samples(self._by_kind.get(kind, NEIGHBOURS))
        if self._image[0] != image:
            # Samples of one image mostly come one after the other.
            self._image = image, _samples(self._by_image.get(key_of(image), NEIGHBOURS))
        return [*self._image[1], *self._kinds[kind]]


def _samples(rows: list[bytes]) -> list[Sample]:
    return [decode_row(row, Sample) for row in rows]
