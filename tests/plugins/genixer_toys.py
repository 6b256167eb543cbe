"""Toy stages, registered the way any other package registers its own: through entry points."""

import logging
import os
import random
import resource
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from pydantic import Field

from genixer.data import Completion, Request, Sample, decode_row, random_for
from genixer.inference.scripted import ScriptedBackend, ScriptedSettings
from genixer.stages.base import (
    Estimate,
    FileWriter,
    RowWriter,
    Stage,
    StageSettings,
    Step,
    StepOutput,
)


class Number(msgspec.Struct):
    id: str
    value: int


class NumbersSettings(StageSettings):
    count: int = 10
    pictures: bool = False
    sleep_ms: float = 0.0
    same_file: bool = False
    says: str = ""
    files: list[Path] = Field(default_factory=list)


class Numbers(Stage):
    """Numbers from nothing, one file each if asked."""

    name = "toy_numbers"
    Settings = NumbersSettings
    rows_per_shard = 4

    def items(self, step: Step) -> int:
        return self.settings.count

    def external(self) -> list[Path]:
        return self.settings.files

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        return Estimate(self.settings.count, self.settings.count, tokens=9, seconds=2.0, bytes=50)

    def prepare(self, step: Step, out: FileWriter) -> None:
        out.file("shared.txt", b"shared")

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        if self.settings.says:
            logging.getLogger("genixer.toys").info(self.settings.says)
        if self.settings.same_file:
            out.file("same.txt", b"")
        for index in range(first, first + count):
            time.sleep(self.settings.sleep_ms / 1000)
            rng = random_for(step.seed, step.name, str(index))
            out.keep(Number(f"{step.name}-{index}", rng.randrange(1000)))
            if self.settings.pictures:
                out.file(f"images/{index}.bin", str(index).encode() * 50)


class ScaleSettings(StageSettings):
    factor: int = 2
    drop_below: int = 0
    mode: str = "good"
    flag: str = ""
    sleep_ms: float = 0.0
    meet: str = ""


class Scale(Stage):
    """Scaled numbers, small ones rejected, multiples of 7 quarantined; may misbehave."""

    name = "toy_scale"
    Settings = ScaleSettings
    rows_per_shard = 3

    def items(self, step: Step) -> int:
        return step.count()

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        self._misbehave(first)
        if self.settings.meet:
            self._meet(Path(self.settings.meet), step.name)
        for row in step.rows(Number, first, count):
            time.sleep(self.settings.sleep_ms / 1000)
            if row.value % 7 == 0:
                out.quarantine(row.id, "unlucky", raw=b"\xff" + row.id.encode())
            elif row.value < self.settings.drop_below:
                out.reject(row.id, "too_small", row, {"value": row.value})
            else:
                out.keep(Number(row.id, row.value * self.settings.factor))
        if self.settings.mode == "loses_a_row":
            out.keep(Number("extra", 0))

    def _meet(self, place: Path, name: str) -> None:
        """Wait until two steps are here at the same time."""
        (place / f"{name}.here").touch()
        end = time.monotonic() + 60
        while len(list(place.glob("*.here"))) < 2:
            if time.monotonic() > end:
                raise TimeoutError("the other step never came")
            time.sleep(0.01)

    def _misbehave(self, first: int) -> None:
        mode, flag = self.settings.mode, Path(self.settings.flag or ".")
        if mode == "raises" and first > 0:
            raise ValueError("toy trouble")
        if mode == "dies" or (mode == "dies_once" and not flag.exists()):
            if mode == "dies_once":
                flag.touch()
            os._exit(11)
        if mode == "is_killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "waits":
            time.sleep(60)


class SumSettings(StageSettings):
    start: str = ""


class Sum(Stage):
    """One file with the sum of everything read, made in `finish`."""

    name = "toy_sum"
    Settings = SumSettings

    def items(self, step: Step) -> int:
        return 0

    def finish(self, step: Step, out: FileWriter, rows: StepOutput) -> None:
        total = sum(row.value for row in step.rows(Number))
        if self.settings.start:
            total += len(step.resolve(self.settings.start).read_bytes())
        folder = out.scratch()
        (folder / "sum.txt").write_text(f"{total}\n")
        out.adopt(folder, "result")


class SamplesSettings(StageSettings):
    sample: str


class Samples(Stage):
    """One given sample, kept."""

    name = "toy_samples"
    Settings = SamplesSettings

    def items(self, step: Step) -> int:
        return 1

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        out.keep(decode_row(self.settings.sample.encode(), Sample))


class Page(Stage):
    """What a report step leaves behind, without the report."""

    name = "toy_page"

    def items(self, step: Step) -> int:
        return 0

    def finish(self, step: Step, out: FileWriter, rows: StepOutput) -> None:
        out.file("summary.txt", b"2 lines\nin short\n")
        out.file("index.html", b"<p>page</p>")


class ModelSettings(ScriptedSettings):
    asked: str = ""
    """Folder of a file `asked` that gets the id of every answered request, a line each."""
    aborts_on: tuple[str, ...] = ()
    """Pictures that end the process."""
    hogs_on: tuple[str, ...] = ()
    """Pictures that need a gigabyte, of which there is none."""
    says: tuple[str, ...] = ()
    """Texts to answer with in turn, escaped as in Python source; `1000*x` is a thousand of x."""
    logprob: str = ""
    """Log-probability of a token that every answer ends with."""


class ToyModel(ScriptedBackend):
    """A model that ends its process, wants too much memory, or answers with given texts."""

    name = "toy_model"
    Settings = ModelSettings

    def __init__(self, model: str, threads: int, settings: ModelSettings) -> None:
        super().__init__(model, threads, settings)
        self.settings = settings
        if settings.hogs_on:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 28), used + (1 << 28)))

    def generate(self, requests: Sequence[Request], images: Path) -> list[Completion]:
        for request in requests:
            if request.image.path in self.settings.aborts_on:
                os.abort()
            if request.image.path in self.settings.hogs_on:
                bytearray(1 << 30)
        done = super().generate(requests, images)
        if self.settings.says:
            done = [self._say(one, request) for one, request in zip(done, requests, strict=True)]
        self._note(done)
        return done

    def _say(self, completion: Completion, request: Request) -> Completion:
        texts = self.settings.says
        number = int(request.image.path.partition(".")[0])
        times, _, text = texts[number % len(texts)].rpartition("*")
        text = text.encode().decode("unicode_escape") * int(times or 1)
        ids, logprobs = completion.token_ids, completion.logprobs
        if self.settings.logprob:
            ids, logprobs = (*ids, 1), (*logprobs, float(self.settings.logprob))
        return Completion(request.id, text, ids, logprobs, "stop")

    def _note(self, done: Sequence[Completion]) -> None:
        if self.settings.asked:
            with (Path(self.settings.asked) / "asked").open("a") as file:
                file.write("".join(f"{one.request_id}\n" for one in done))


class ToyStream(ToyModel):
    """The same as a server: request by request, in an order of its own."""

    name = "toy_stream"
    reproducible = False

    def stream(self, requests: Sequence[Request], images: Path) -> Iterator[Completion]:
        for request in random.Random(len(requests)).sample(list(requests), len(requests)):
            yield from self.generate([request], images)
