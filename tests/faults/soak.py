"""Kills runs at random moments, stage by stage, and counts what is lost, doubled or done again.

    python -m tests.faults.soak [--kills 200] [--seed N] [--stages world,generate] [--workers 1]
                                [--executor local|leases|ray]

Each process is the leader of its group and is killed with it. A run goes on in the same folder
until it is complete, is compared byte by byte with one that was left alone, and starts over from
the step before the stage.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genixer.pipeline.run import run
from genixer.pipeline.verify import verify
from genixer.store.layout import StepFolder
from genixer.store.manifest import read_receipt

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
    "steps.dedup.rows_per_shard=8",
    "steps.mix.rows_per_shard=32",
]
TINY = [
    "steps.generator.with.steps=6",
    "steps.generator.with.save_every=1",
    "steps.evaluate.rows_per_shard=8",
]
MACHINERY = ("world", "collect", "instruct", "generate", "decode", "rules", "dedup", "mix-kept")
MODEL = {"train": "generator", "generate with a model": "generate", "evaluate": "evaluate"}
LONGEST_S = 300

EXECUTORS = ("local", "leases", "ray")


@dataclass
class Tally:
    """What happened to one stage."""

    stage: str
    kills: int = 0
    runs: int = 0
    lost: int = 0
    doubled: int = 0
    redone: int = 0
    """Units of work that a kill took before they were committed."""
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        return (
            f"{self.stage:24}{self.kills:>6} kills {self.runs:>5} runs {self.lost:>4} rows lost "
            f"{self.doubled:>4} doubled {self.redone:>5} units redone"
        )


class Soak:
    """One config, run once undisturbed, and then killed in the stages one asks for."""

    def __init__(
        self, config: str, overrides: Sequence[str], home: Path, executor: str, workers: int
    ) -> None:
        self._config, self._overrides, self._home = config, overrides, home
        self._shells = 2 if executor == "leases" else 1
        self._how: dict[str, Any] = {"executor": executor, "workers": workers}
        self._whole = home / "whole"
        home.mkdir()
        if self._wait(self._start(self._whole)) != 0:
            raise SystemExit(f"the undisturbed run failed:\n{(home / 'log').read_text()}")
        self._order = [step.name for step in self._steps()]

    def _steps(self) -> list[StepFolder]:
        folders = [StepFolder(path.parent) for path in self._whole.glob("*/manifest.json")]
        return sorted(folders, key=lambda place: place.manifest.stat().st_mtime_ns)

    def kill(self, stage: str, step: str, kills: int, rng: random.Random) -> Tally:
        """Kill runs in `step` until there were `kills`."""
        tally, start = Tally(stage), self._home / f"before-{step}"
        self._copy_before(step, start)
        span = self._span(start, step)
        while tally.kills < kills and not tally.problems:
            folder = self._home / "killed"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(start, folder)
            code = None
            while code != 0:
                code = self._kill_once(folder, step, span, rng, tally, tally.kills < kills)
                if code > 0:
                    tally.problems.append((self._home / "log").read_text()[-2000:])
                    return tally
            tally.runs += 1
            self._compare(folder, tally)
        return tally

    def _copy_before(self, step: str, target: Path) -> None:
        """The run as it was before `step`: what was finished later goes."""
        shutil.copytree(self._whole, target)
        for name in self._order[self._order.index(step) :]:
            shutil.rmtree(target / name)

    def _span(self, start: Path, step: str) -> float:
        """Seconds from the first sign of `step` to the end of the run."""
        folder = self._home / "timed"
        shutil.copytree(start, folder)
        pid = self._start(folder)
        self._first_sign(pid, folder / step)
        began = time.monotonic()
        manifest = folder / step / "manifest.json"
        while not manifest.is_file() and not self._ended(pid):
            time.sleep(0.001)
        span = time.monotonic() - began
        self._wait(pid)
        shutil.rmtree(folder)
        return span

    def _kill_once(
        self, folder: Path, step: str, span: float, rng: random.Random, tally: Tally, again: bool
    ) -> int:
        """Start, kill unless it is enough; exit code, negative for a signal.

        Of several shells each is killed at a moment of its own; one that got through counts.
        """
        pids = [self._start(folder) for _ in range(self._shells)]
        if again:
            self._first_sign(pids[0], folder / step)
            for pid in pids:
                time.sleep(rng.random() * span)
                if not self._ended(pid):
                    os.killpg(pid, signal.SIGKILL)
        codes = [self._wait(pid) for pid in pids]
        killed = codes.count(-signal.SIGKILL)
        tally.kills += killed
        tally.redone += _in_flight(folder) if killed else 0
        return max(codes)

    def _start(self, folder: Path) -> int:
        """Process id of a child that leads a group of its own; imports are done already."""
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            os.setsid()
            log = os.open(self._home / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            run(self._config, self._overrides, out=folder, **self._how)
            code = 0
        except Exception as error:  # noqa: BLE001  (a child ends here, whatever it was)
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(code)

    def _first_sign(self, pid: int, step: Path) -> None:
        while not step.is_dir() and not self._ended(pid):
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

    def _compare(self, folder: Path, tally: Tally) -> None:
        expected, found = _rows(self._whole), _rows(folder)
        tally.lost += (expected - found).total()
        tally.doubled += (found - expected).total()
        if _files(folder) != _files(self._whole):
            tally.problems.append(f"files differ from those of {self._whole}")
        error = verify(folder).error()
        if error:
            tally.problems.append(f"verify: {error}")


def _in_flight(run_folder: Path) -> int:
    """Units of work that were begun and are not committed."""
    begun = list(run_folder.glob("*/.tmp/*/"))
    return sum(read_receipt(StepFolder(one.parent.parent), one.name) is None for one in begun)


def _rows(run_folder: Path) -> Counter[tuple[str, bytes]]:
    """Every row of every step, the file it stands in left out."""
    rows = Counter[tuple[str, bytes]]()
    for path in run_folder.glob("*/*.jsonl"):
        kind = path.name.partition("-")[0]
        rows.update((f"{path.parent.name} {kind}", line) for line in path.read_bytes().split(b"\n"))
    return rows


def _files(run_folder: Path) -> dict[str, bytes]:
    paths = [path for path in run_folder.glob("*/files/**/*") if path.is_file()]
    paths += run_folder.glob("*/*.jsonl")
    return {str(path.relative_to(run_folder)): path.read_bytes() for path in paths}


def soak(
    stages: Sequence[str], kills: int, seed: int, executor: str, workers: int, home: Path
) -> list[Tally]:
    """Kill every one of `stages` so often, and say line by line how it went."""
    tallies = list[Tally]()
    print(f"seed {seed}, executor {executor}, {workers} workers, {kills} kills a stage", flush=True)
    plain = [name for name in stages if name in MACHINERY]
    with_model = [name for name in stages if name in MODEL]
    if plain:
        small = Soak("smoke", SMALL, home / "smoke", executor, workers)
        for name in plain:
            tallies.append(small.kill(name, name, kills, random.Random(f"{seed} {name}")))
            print(tallies[-1].line(), flush=True)
    if with_model:
        text = (FIXTURES / "tiny.yaml").read_text(encoding="utf-8")
        config = home / "tiny.yaml"
        config.write_text(text.replace("PRESET", str(FIXTURES / "models" / "small.yaml")))
        tiny = Soak(str(config), TINY, home / "tiny", executor, workers)
        for name in with_model:
            rng = random.Random(f"{seed} {name}")
            tallies.append(tiny.kill(name, MODEL[name], kills, rng))
            print(tallies[-1].line(), flush=True)
    return tallies


def main() -> None:
    """Print a line a stage and the sum; exit code 1 if anything was lost, doubled or damaged."""
    every = ",".join([*MACHINERY, *MODEL])
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--kills", type=int, default=200, help="kills a stage")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--stages", default=every, help=f"some of {every}")
    parser.add_argument("--executor", choices=EXECUTORS, default="local")
    parser.add_argument("--workers", type=int, default=1, help="0: in the killed process itself")
    given = parser.parse_args()
    stages = given.stages.split(",")
    with tempfile.TemporaryDirectory(prefix="soak-") as home:
        tallies = soak(stages, given.kills, given.seed, given.executor, given.workers, Path(home))
    total = Tally("sum")
    for one in tallies:
        for name in ("kills", "runs", "lost", "doubled", "redone", "problems"):
            setattr(total, name, getattr(total, name) + getattr(one, name))
    print(total.line())
    for problem in total.problems:
        print(f"PROBLEM: {problem}")
    sys.exit(bool(total.lost or total.doubled or total.problems))


if __name__ == "__main__":
    main()
