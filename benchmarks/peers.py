"""Environments for the projects that benchmarks compare with, each apart from ours.

A benchmark asks for `python_of("datatrove", "datatrove==0.10.1", ...)` and runs the peer's half of
itself with that interpreter. The first time the environment is made, in `.peers/` of the working
folder or in `GENIXER_PEERS`.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["python_of"]


def python_of(name: str, *packages: str) -> Path:
    """Interpreter of the environment called `name`, which has `packages` installed."""
    home = Path(os.environ.get("GENIXER_PEERS", ".peers")) / name
    python, stamp = home / "bin" / "python", home / "installed.txt"
    wanted = "\n".join(packages)
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    print(f"installing {', '.join(packages)} into {home}", file=sys.stderr, flush=True)
    venv.create(home, clear=True, with_pip=True)
    words = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*words, *packages], check=True, stdout=subprocess.DEVNULL)
    stamp.write_text(wanted)
    return python
