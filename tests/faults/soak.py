"""Kills runs at random moments, stage by stage, and counts what is lost, doubled or done again.

    python -m tests.faults.soak [--kills 200] [--seed N] [--stages world,generate] [--workers 1]
                                [--executor local|leases|ray|together]

Each process is the leader of its group and is killed with it: at random among the next units of its
stage, one in ten before it has begun. A run goes on in the same folder until it is complete, is
compared byte by byte with one that was left alone, and starts over from the step before the stage.

`leases` are two shells that share a folder, `ray` is a driver on three raylets whose actors are
killed as well, and `together` a driver and a shell in one folder.
"""

import argparse
import contextlib
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from genixer.pipeline.run import run
from genixer.store.layout import StepFolder
from tests.faults.raylets import actors, raylets
from tests.faults.tally import Sign, Tally, committed, in_flight, signs

FIXTURES = Path(__file__).parent.parent / "fixtures"
SMALL = [
    "steps.world.with.pools.labelled.images=5",
    "steps.world.with.pools.unlabelled.images=6",
    "steps.world.rows_per_shard=2",
    "steps.collect.rows_per_shard=16",
    "steps.instruct.rows_per_shard=32",
    "steps.generate.rows_per_shard=16",
    "steps.generate.with.block=8",
    "steps.generate.with.backend_settings.delay_s=0.004",
    "steps.decode.rows_per_shard=8",
    "steps.rules.rows_per_shard=8",
    "steps.rules.with.block=8",
    "steps.dedup.rows_per_shard=4",
    "steps.mix.rows_per_shard=16",
]
SLOW = ["steps.generate.with.backend_settings.delay_s=0.5"]
"""An actor takes seconds to start: units that are not all done before."""
TINY = [
    "steps.generator.with.steps=6",
    "steps.generator.with.save_every=1",
    "steps.generate.rows_per_shard=8",
    # Rows of people, since a model that has hardly learned writes none.
    "steps.judge.from=[collect]",
    "steps.judge.rows_per_shard=8",
    "steps.judge.with.block=8",
    "steps.evaluate.rows_per_shard=2",
]
IN_PASSING = ("measure", "correct", "report")
"""Steps of the tiny config that are left out."""
MACHINERY = ("world", "collect", "instruct", "generate", "decode", "rules", "dedup", "mix-kept")
MODEL = {
    "train": "generator",
    "generate with a model": "generate",
    "judge": "judge",
    "evaluate": "evaluate",
}
WARM = ("torch", "transformers", "accelerate", "genixer.training.llava", "genixer.training.run")
WARM += ("genixer.inference.transformers", "genixer.models.loading")
"""Imported before processes are forked, for the stages with a model."""
LONGEST_S = 600
EARLY = 0.1
"""Share of kills that come before the process has begun a unit."""
AHEAD = 3
"""How many units further a kill comes at most."""

EXECUTORS = {
    "local": ("local",),
    "leases": ("leases", "leases"),
    "ray": ("ray",),
    "together": ("ray", "leases"),
}
"""The processes that work on one run folder."""


@dataclass(frozen=True)
class Pace:
    """How an undisturbed process goes through the stage."""

    start_s: float
    """Until it begins the first unit."""
    unit_s: float
    """Of a shard; a stage that has no more than one does its work in any of its units."""
    units: int


class Soak:
    """One config, run once undisturbed, and then killed in the stages one asks for."""

    def __init__(
        self, config: str, overrides: Sequence[str], home: Path, executor: str, workers: int
    ) -> None:
        self._config, self._overrides, self._home = config, overrides, home
        self._shells: tuple[Any, ...] = EXECUTORS[executor]
        self._workers = workers
        self._living = list[int]()
        self._whole = home / "whole"
        home.mkdir()
        if self._wait(self._start(self._whole, "local")) != 0:
            raise SystemExit(f"the undisturbed run failed:\n{(home / 'log').read_text()}")
        self._order = [step.name for step in self._steps()]

    def _steps(self) -> list[StepFolder]:
        folders = [StepFolder(path.parent) for path in self._whole.glob("*/manifest.json")]
        return sorted(folders, key=lambda place: place.manifest.stat().st_mtime_ns)

    def kill(self, step: str, kills: int, rng: random.Random, tally: Tally) -> None:
        """Kill runs in `step` until there were `kills`."""
        start = self._home / f"before-{step}"
        self._copy_before(step, start)
        pace = self._pace(start, step)
        while tally.kills < kills and not tally.problems:
            folder = self._home / "killed"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(start, folder)
            code = None
            while code != 0:
                enough = tally.kills >= kills
                code = self._try(folder, step, None if enough else pace, rng, tally)
                if code > 0:
                    tally.problems.append((self._home / "log").read_text()[-2000:])
                    return
            tally.runs += 1
            tally.compare(folder, self._whole)

    def end(self) -> None:
        """Kill what is left, after an interruption."""
        for pid in self._living:
            if not self._ended(pid):
                os.killpg(pid, signal.SIGKILL)

    def _copy_before(self, step: str, target: Path) -> None:
        """The run as it was before `step`: what was finished later goes."""
        shutil.copytree(self._whole, target)
        for name in self._order[self._order.index(step) :]:
            shutil.rmtree(target / name)

    def _pace(self, start: Path, step: str) -> Pace:
        folder = self._home / "timed"
        shutil.copytree(start, folder)
        began, before = time.monotonic(), signs(folder / step)
        pid = self._start(folder, self._shells[0])
        self._await(pid, lambda: bool(signs(folder / step) - before))
        first = time.monotonic()
        self._await(pid, (folder / step / "manifest.json").is_file)
        span = time.monotonic() - first
        if self._wait(pid) != 0:
            raise SystemExit(f"the timed run failed:\n{(self._home / 'log').read_text()}")
        units = len(committed(folder / step))
        shutil.rmtree(folder)
        return Pace(first - began, span / max(1, units - 2), units)

    def _try(
        self, folder: Path, step: str, pace: Pace | None, rng: random.Random, tally: Tally
    ) -> int:
        """Start, and kill unless there is no pace any more; exit code, negative for a signal.

        Of several shells each is killed at a moment of its own; one that got through counts.
        """
        place = folder / step
        before, done = signs(place), len(committed(place))
        pids = {self._start(folder, kind): kind for kind in self._shells}
        self._living = list(pids)
        late = 0
        for pid, kind in rng.sample(sorted(pids.items()), len(pids)) if pace else ():
            if kind == "ray":
                self._kill_actor(pid, place, pace, rng, tally)
            self._await_moment(pid, place, before, done, pace, rng)
            if not self._ended(pid):
                os.killpg(pid, signal.SIGKILL)
                late += (place / "manifest.json").is_file()
        codes = [self._wait(pid) for pid in pids]
        self._living = []
        killed = codes.count(-signal.SIGKILL)
        tally.kills += max(0, killed - late)
        tally.redone += in_flight(folder) if killed else 0
        return max(codes)

    def _await_moment(
        self, pid: int, place: Path, before: set[Sign], done: int, pace: Pace, rng: random.Random
    ) -> None:
        """Wait for a random moment in the life of a process."""
        if rng.random() < EARLY:
            time.sleep(rng.random() * pace.start_s)
            return
        more = rng.randrange(max(1, min(AHEAD, pace.units - done)))
        self._await(
            pid,
            lambda: bool(signs(place) - before) and len(committed(place)) >= done + more,
        )
        time.sleep(rng.random() * pace.unit_s)

    def _kill_actor(
        self, driver: int, place: Path, pace: Pace, rng: random.Random, tally: Tally
    ) -> None:
        """Kill an actor of a driver that has some before the stage is complete."""
        while not (living := actors()) and not self._ended(driver):
            time.sleep(0.05)
        time.sleep(rng.random() * AHEAD * pace.unit_s)
        if living and not (place / "manifest.json").is_file():
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(living), signal.SIGKILL)
                tally.kills += 1
                tally.actors += 1

    def _start(self, folder: Path, executor: Any) -> int:
        """Process id of a child that leads a group of its own; imports are done already."""
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            with contextlib.suppress(PermissionError, ProcessLookupError):
                os.setpgid(
                    pid, pid
                )  # whoever comes first: there is a group as soon as there is a pid
            return pid
        code = 1
        try:
            os.setpgid(0, 0)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            log = os.open(self._home / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            run(self._config, self._overrides, out=folder, executor=executor, workers=self._workers)
            code = 0
        except Exception as error:  # noqa: BLE001  (a child ends here, whatever it was)
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(code)

    def _await(self, pid: int, happened: Callable[[], bool]) -> None:
        end = time.monotonic() + LONGEST_S
        while not happened() and not self._ended(pid):
            if time.monotonic() > end:
                os.killpg(pid, signal.SIGKILL)
                raise SystemExit(f"process {pid} did nothing in {LONGEST_S} s")
            time.sleep(0.001)

    def _ended(self, pid: int) -> bool:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _wait(self, pid: int) -> int:
        end = time.monotonic() + LONGEST_S
        while not self._ended(pid):
            if time.monotonic() > end:
                os.killpg(pid, signal.SIGKILL)
                raise SystemExit(f"process {pid} did not end in {LONGEST_S} s")
            time.sleep(0.001)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _tiny(home: Path) -> Path:
    """Writes a config with real models that have hardly any weights."""
    text = (FIXTURES / "tiny.yaml").read_text(encoding="utf-8")
    given = yaml.safe_load(text.replace("PRESET", str(FIXTURES / "models" / "small.yaml")))
    for name in IN_PASSING:
        del given["steps"][name]
    path = home / "tiny.yaml"
    path.write_text(yaml.safe_dump(given, sort_keys=False), encoding="utf-8")
    return path


def soak(
    stages: Sequence[str],
    kills: int,
    seed: int,
    executor: str,
    workers: int | None,
    home: Path,
    tallies: list[Tally],
) -> None:
    """Kill every one of `stages` so often, and say line by line how it went.

    Without a number of `workers` stages with a model have none: killed is the process itself, which
    need not import torch each time.
    """
    slow = SLOW if "ray" in EXECUTORS[executor] else []
    crew = "" if workers is None else f", {workers} workers"
    print(f"seed {seed}, executor {executor}{crew}, {kills} kills a stage", flush=True)

    def go(config: Path | str, settings: list[str], names: dict[str, str], workers: int) -> None:
        one = Soak(str(config), settings, home / names[min(names)], executor, workers)
        for name, step in names.items():
            rng = random.Random(f"{seed} {name}")
            tallies.append(Tally(name))
            try:
                one.kill(step, kills, rng, tallies[-1])
            finally:
                one.end()
                print(tallies[-1].line(), flush=True)

    with raylets() if "ray" in EXECUTORS[executor] else contextlib.nullcontext():
        if plain := {name: name for name in stages if name in MACHINERY}:
            go("smoke", SMALL + slow, plain, 1 if workers is None else workers)
        if with_model := {name: MODEL[name] for name in stages if name in MODEL}:
            for module in WARM:
                importlib.import_module(module)
            go(_tiny(home), TINY, with_model, workers or 0)


def main() -> None:
    """Print a line a stage and the sum; exit code 1 if anything was lost, doubled or damaged."""
    every = ",".join([*MACHINERY, *MODEL])
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--kills", type=int, default=200, help="kills a stage")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--stages", default=every, help=f"some of {every}")
    parser.add_argument("--executor", choices=EXECUTORS, default="local")
    parser.add_argument("--workers", type=int, help="0: in the killed process itself")
    given = parser.parse_args()
    stages = given.stages.split(",")
    if unknown := sorted(set(stages) - {*MACHINERY, *MODEL}):
        parser.error(f"no such stage: {', '.join(unknown)}; there are {every}")
    tallies = list[Tally]()
    how = (given.kills, given.seed, given.executor, given.workers)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="soak-") as home:
        try:
            soak(stages, *how, Path(home), tallies)
        except KeyboardInterrupt:
            print("interrupted: these kills alone")
    total = Tally("sum")
    for one in tallies:
        for part in fields(Tally)[1:]:
            setattr(total, part.name, getattr(total, part.name) + getattr(one, part.name))
    print(total.line())
    for problem in total.problems:
        print(f"PROBLEM: {problem}")
    sys.exit(bool(total.lost or total.doubled or total.problems))


if __name__ == "__main__":
    main()
