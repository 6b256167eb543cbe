"""A real server, killed and started again during a run."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "real_server.py"
NEEDED = ("fastapi", "uvicorn", "openai", "httpx", "torch", "transformers")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"transformers serve needs {', '.join(MISSING)}")
def test_nothing_is_lost_or_asked_twice_when_a_real_server_is_killed() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--images", "10"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.count("lost 0, doubled 0") == 2
    assert done.stdout.count("answered twice 0") == 2
