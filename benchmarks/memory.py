"""Memory and resume time against the number of records, each run in a process of its own.

Command:  python benchmarks/memory.py [ROWS ...]
Target:   at most 5 MB more per 100 000 records; a rerun of 1 000 000 within 2 s, and so is going on
          where the last shard is missing, which is made again; at most 150 MB.
"""

import logging
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import genixer
from genixer.store.layout import FINISH, StepFolder, shard_unit

PLUGINS = Path(__file__).parents[1] / "tests" / "plugins"
CONFIG = """\
name: memory
steps:
  numbers: {{stage: toy_numbers, rows_per_shard: 512, with: {{count: {rows}}}}}
  scale: {{stage: toy_scale, rows_per_shard: 512, from: [numbers]}}
"""


def measure(config: Path, out: Path) -> None:
    """Runs in a process of its own, so that the peak is this run's alone."""
    logging.disable()
    began = time.perf_counter()
    result = genixer.run(config, out=out, workers=0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = sum(one.counts.kept for one in result.manifests.values())
    print(len(result.worked), rows, f"{peak:.0f}", f"{time.perf_counter() - began:.2f}")


def child(config: Path, out: Path) -> tuple[int, float, float]:
    words = [sys.executable, __file__, "--measure", str(config), str(out)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    _, rows, peak, seconds = done.stdout.split()
    return int(rows), float(peak), float(seconds)


def lose_the_last_shard(step: StepFolder) -> None:
    """As after a kill: everything is committed but one shard and what follows from it."""
    last = max(int(path.stem) for path in step.receipts.glob("*.json") if path.stem.isdecimal())
    for unit in (shard_unit(last), FINISH):
        step.receipt(unit).unlink()
    step.manifest.unlink()


def main(sizes: list[int]) -> None:
    peaks = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as place:
            config, run = Path(place) / "memory.yaml", Path(place) / "run"
            config.write_text(CONFIG.format(rows=size))
            rows, peak, seconds = child(config, run)
            _, rerun_peak, rerun_s = child(config, run)
            lose_the_last_shard(StepFolder(run / "scale"))
            again, resume_peak, resume_s = child(config, run)
        if again != rows:
            raise SystemExit(f"{rows} rows before, {again} after")
        peaks.append(peak)
        print(
            f"{size} items, {rows} rows kept: {peak:.0f} MB, {seconds:.0f} s; "
            f"rerun: {rerun_peak:.0f} MB, {rerun_s:.2f} s; "
            f"resume without the last shard: {resume_peak:.0f} MB, {resume_s:.2f} s"
        )
    growth = (peaks[-1] - peaks[0]) / (sizes[-1] - sizes[0]) * 100_000
    print(f"memory: {growth:.1f} MB more for 100 000 more items")


if __name__ == "__main__":
    sys.path.insert(0, str(PLUGINS))
    if sys.argv[1:2] == ["--measure"]:
        measure(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main([int(word) for word in sys.argv[1:]] or [100_000, 1_000_000])
