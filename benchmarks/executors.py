"""One worker and two, local and by leases, and what a unit costs over Ray.

Command:  python benchmarks/executors.py [--images N] [--rounds N] [--ray]
Target:   two workers of one thread at least 1.7 times as fast as one in the part that keeps the
          processor busy, for local processes and for two shells that share the work by leases.

The work is that of `collect`: images are decoded in full and hashed. The part is that of the
shards: from the receipt of `prepare`, when the first worker is warm and the second one has yet to
start, to that of the last shard. The whole command, with the start of Python, is told beside it: it
gets nearer to the same the longer the work is.

On a machine that others use too the clock says little; the seconds of the processor say how much
work two workers do twice, and so what the whole command would take on two idle cores: that ratio is
an upper bound, as it leaves out waiting. With `--ray` a cluster of this machine does tiny units.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from collect import write_dataset

from genixer.pipeline.meter import read_events
from genixer.pipeline.verify import verify

CONFIG = """\
name: bench
images: {images}
steps:
  collect:
    stage: collect
    rows_per_shard: 144
    with:
      sources:
        - {{name: gqa, questions: {questions}}}
"""


class Seconds(NamedTuple):
    """What a run took: of the clock for all of it and for its shards, and of the processor."""

    whole: float = float("inf")
    shards: float = float("inf")
    processor: float = float("inf")


def timed(config: Path, out: Path, shells: int, *words: str) -> Seconds:
    """Seconds of a run in so many shells."""
    command = [sys.executable, "-m", "genixer.cli", "run", str(config), "--out", str(out), *words]
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    running = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(shells)
    ]
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    seconds = time.perf_counter() - clock
    report = verify(out)
    kept = {name: one.counts.kept for name, one in report.manifests.items()}
    assert report.ok, report.problems
    assert all(kept.values()), kept
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Seconds(seconds, shards_s(out), used)


def shards_s(out: Path) -> float:
    """Seconds from the receipt of `prepare` to that of the last shard, by the run's events."""
    when: dict[str, datetime] = {}
    for event in read_events(out):
        if event["event"] == "advance":  # each shell notes what the others did, but later
            at = datetime.fromisoformat(event["time"])
            when[event["unit"]] = min(at, when.get(event["unit"], at))
    last = max(at for unit, at in when.items() if unit.isdecimal())
    return (last - when["prepare"]).total_seconds()


def compare(config: Path, home: Path, rounds: int) -> None:
    ways = {
        "local, 1 worker": (1, "--workers", "1"),
        "local, 2 workers": (1, "--workers", "2"),
        "leases, 1 shell": (1, "--workers", "1", "--executor", "leases"),
        "leases, 2 shells": (2, "--workers", "1", "--executor", "leases"),
    }
    best = dict.fromkeys(ways, Seconds())
    for number in range(rounds):
        for name, (shells, *words) in ways.items():
            took = timed(config, home / f"{number}-{name}", shells, *words)
            best[name] = Seconds(*map(min, best[name], took))
    for name, took in best.items():
        print(
            f"{name:17} {took.whole:6.1f} s of the clock, {took.shards:6.1f} s of it for shards, "
            f"{took.processor:6.1f} s of the processor"
        )
    for kind, one, two in (("local", *list(ways)[:2]), ("leases", *list(ways)[2:])):
        whole, shards, _ = (a / b for a, b in zip(best[one], best[two], strict=True))
        idle = 2 * best[one].processor / best[two].processor
        print(
            f"{kind}: two are {shards:.2f} x one in the shards, {whole:.2f} x with their start; "
            f"{idle:.2f} x at most on two idle cores"
        )


def overhead_of_ray(units: int) -> None:
    """Milliseconds of a round trip through an actor, and of one through a worker process."""
    from genixer.config import RayConfig, load_config
    from genixer.pipeline.executor import Pool
    from genixer.pipeline.local import ProcessPool
    from genixer.pipeline.plan import make_plan
    from genixer.pipeline.ray import RayPool
    from genixer.pipeline.state import look

    def seconds_of(pool: Pool, run: Path) -> float:
        config = run.with_suffix(".yaml")
        world = "{labelled: {images: 1, backgrounds: [sky]}}"
        config.write_text(
            f"name: x\nsteps: {{world: {{stage: scenes, with: {{pools: {world}}}}}}}\n"
        )
        (step,) = make_plan(load_config(config), run).steps
        task = look(step, {}).tasks()[0]
        clock = 0.0
        for number in range(units + 1):
            if number == 1:  # the first one starts the worker and loads the stage
                clock = time.perf_counter()
            ended = []
            pending = [task]
            while not ended:
                pending = [] if pool.submit({step.name: pending}) else pending
                ended = list(pool.collect(1.0))
        pool.close()
        return (time.perf_counter() - clock) / units

    with tempfile.TemporaryDirectory() as folder:
        here = seconds_of(ProcessPool(1, 1), Path(folder) / "local")
        over = seconds_of(RayPool(RayConfig(), 1, 1), Path(folder) / "ray")
    print(f"one small unit: {here * 1e3:.1f} ms in a worker process, {over * 1e3:.1f} ms over Ray")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--ray", action="store_true", help="also the cost of a unit over Ray")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        questions = write_dataset(home, options.images, "file")
        config = home / "bench.yaml"
        config.write_text(CONFIG.format(images=home, questions=questions))
        compare(config, home, options.rounds)
    if options.ray:
        overhead_of_ray(100)


if __name__ == "__main__":
    main()
