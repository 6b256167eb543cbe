"""A real server, killed and started again during a run."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "real_server.py"
NEEDED = {
    "transformers": ("fastapi", "uvicorn", "openai", "httpx", "torch", "transformers"),
    "vllm": ("vllm",),
}


@pytest.mark.slow
@pytest.mark.parametrize("server", NEEDED)
def test_nothing_is_lost_or_asked_twice_when_a_real_server_is_killed(server: str) -> None:
    missing = [name for name in NEEDED[server] if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"the server {server} needs {', '.join(missing)}")
    command = [sys.executable, str(SCRIPT), "--server", server, "--images", "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.count("lost 0, doubled 0") == 2
    assert done.stdout.count("answered twice 0") == 2
