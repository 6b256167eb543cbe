"""The whole loop with a real model, end to end, and killed in the middle of it."""

import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from genixer.pipeline.run import run
from genixer.pipeline.verify import verify

POINTS = 3
"""SIGKILLs to survive."""


@pytest.mark.slow
def test_the_loop_with_a_real_model_runs_verifies_and_survives_kills(
    bench: Any, tiny: Path, tmp_path: Path
) -> None:
    one_go = run(tiny, out=tmp_path / "one_go", workers=1)
    assert verify(one_go.folder).ok
    assert (one_go.folder / "report" / "files" / "index.html").stat().st_size > 10_000
    expected = bench.data_of(one_go.folder)
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  (what a failure is repeated with)
    rng, folder, total = random.Random(seed), tmp_path / "killed", bench.receipts(one_go.folder)
    for point in range(POINTS):
        with bench.start("run", tiny, "--out", folder) as process:
            goal = rng.randrange(total * point // POINTS, total * (point + 1) // POINTS)
            if bench.wait_for(process, folder, max(1, goal)):
                time.sleep(rng.random())
                bench.signal_group(process, signal.SIGKILL)
            process.communicate()
    with bench.start("run", tiny, "--out", folder) as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert bench.data_of(folder) == expected, f"seed {seed}"
    assert verify(folder).ok
