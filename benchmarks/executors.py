"""One worker and two, local and by leases, and what a unit costs over Ray.

Command:  python benchmarks/executors.py [--images N] [--rounds N] [--ray]
Target:   two workers of one thread at least 1.7 times as fast as one, their start included, for
          local processes and for two shells that share the work by leases.

The work is that of `collect`: images are decoded in full and hashed. On a machine that others use
too the clock says little; the seconds of the processor say how much work two workers do twice, and
so what the ratio is on two idle cores. With `--ray` a cluster of this machine does tiny units.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from collect import write_dataset

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


def timed(config: Path, out: Path, shells: int, *words: str) -> tuple[float, float]:
    """Seconds of the clock and of the processor for a run in so many shells."""
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
    return seconds, used


def compare(config: Path, home: Path, rounds: int) -> None:
    ways = {
        "local, 1 worker": (1, "--workers", "1"),
        "local, 2 workers": (1, "--workers", "2"),
        "leases, 1 shell": (1, "--workers", "1", "--executor", "leases"),
        "leases, 2 shells": (2, "--workers", "1", "--executor", "leases"),
    }
    best = dict.fromkeys(ways, (float("inf"), float("inf")))
    for number in range(rounds):
        for name, (shells, *words) in ways.items():
            seconds, used = timed(config, home / f"{number}-{name}", shells, *words)
            best[name] = (min(best[name][0], seconds), min(best[name][1], used))
    for name, (seconds, used) in best.items():
        print(f"{name:17} {seconds:6.1f} s of the clock, {used:6.1f} s of the processor")
    for kind, one, two in (("local", *list(ways)[:2]), ("leases", *list(ways)[2:])):
        clock = best[one][0] / best[two][0]
        idle = 2 * best[one][1] / best[two][1]
        print(f"{kind}: two are {clock:.2f} x one by the clock; {idle:.2f} x on two idle cores")


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
    parser.add_argument("--images", type=int, default=3000)
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
