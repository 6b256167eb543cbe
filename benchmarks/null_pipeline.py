"""What the pipeline itself costs a row: a model that answers at once, all durable, and distilabel.

Command:  python benchmarks/null_pipeline.py [--rows 20000] [--rounds 3] [--alone]
Target:   at most 100 us a row with everything synced; at least 4 times as fast as distilabel.

Ours plans requests about real image files, writes, digests and syncs generations (step `raw`), then
reads them again, decodes them into samples and writes, digests and syncs those (step `decoded`).
distilabel loads as many rows from memory, hands them to a model that answers at once and writes its
result to its cache. Both in one process tree started anew; the seconds are of the whole process,
what one run of a single row takes is told and taken off for the figure a row. `--alone` leaves
distilabel out; otherwise it is installed in an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

HERE = Path(__file__).parent
PEER = ("distilabel==1.5.3", "requests", "beautifulsoup4")
PER_IMAGE = 10
CONFIG = """\
name: null_model
workers: 0
images: {images}
steps:
  raw:
    stage: generate
    with:
      images: {images}
      backend: null_model
      tasks: [common_vqa]
      modes: {{agnostic: 0, specific: {per_image}}}
  decoded: {{stage: decode, from: [raw]}}
"""
DISTILABEL = """\
import sys
from distilabel.models import LLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration


class Null(LLM):
    def load(self):
        pass

    @property
    def model_name(self):
        return "null"

    def generate(self, inputs, num_generations=1):
        return [{"generations": ["Question: what? Answer: a dog"]} for _ in inputs]


if __name__ == "__main__":
    rows = [{"instruction": f"Ask something about picture {n}."} for n in range(int(sys.argv[1]))]
    with Pipeline(name="null", cache_dir=sys.argv[2]) as pipeline:
        LoadDataFromDicts(data=rows) >> TextGeneration(llm=Null())
    done = pipeline.run(use_cache=True)
    print(len(done["default"]["train"]))
"""


def null_backend() -> Any:
    """The model that answers at once; made where it is needed, so that the rest loads nothing."""
    from genixer.data import Completion, Request
    from genixer.inference.base import BackendSettings, Choice
    from genixer.tasks.base import Canvas

    class NullBackend:
        """Gives the same well-formed text to every request."""

        name: ClassVar[str] = "null_model"
        reproducible: ClassVar[bool] = True
        Settings: ClassVar[type[BackendSettings]] = BackendSettings
        revision = "0"

        def __init__(self, model: str, threads: int, settings: BackendSettings) -> None: ...

        def canvas(self, width: int, height: int) -> Canvas:
            return Canvas("unit", 3, width, height)

        def generate(self, requests: Sequence[Request], images: Path) -> list[Completion]:
            text = "Question: What is on the table? Answer: a dog"
            ids, logprobs = tuple(range(12)), (-0.125,) * 12
            return [Completion(one.id, text, ids, logprobs, "stop") for one in requests]

        def choose(
            self, requests: Sequence[Request], options: Sequence[str], images: Path
        ) -> list[Choice]:
            raise NotImplementedError

    return NullBackend


def __getattr__(name: str) -> Any:
    """`NullBackend`, for the plugin table."""
    if name == "NullBackend":
        return null_backend()
    raise AttributeError(name)


def prepare(place: Path, rows: int) -> Path:
    """Images, a plugin that names the null model, a config."""
    from PIL import Image

    images = place / "images"
    images.mkdir()
    for number in range(-(-rows // PER_IMAGE)):
        colour = (number % 251, number // 251 % 251, number % 13)
        Image.new("RGB", (64, 48), colour).save(images / f"{number:06d}.png")
    plugin = place / "genixer_null-1.0.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: genixer_null\nVersion: 1.0\n")
    (plugin / "entry_points.txt").write_text(
        "[genixer.plugins]\nbackend.null_model = null_pipeline:NullBackend\n"
    )
    config = place / "null.yaml"
    config.write_text(CONFIG.format(images=images, per_image=PER_IMAGE))
    return config


def timed(words: Sequence[str], **environment: str) -> tuple[float, str]:
    """Seconds of a process, and what it printed."""
    began = time.perf_counter()
    done = subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return time.perf_counter() - began, done.stdout


def ours(rows: int) -> tuple[float, int]:
    """Seconds of `genixer run`, and the rows of its last step."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        config = prepare(place, rows)
        words = [sys.executable, "-m", "genixer.cli", "run", str(config), "--json"]
        paths = os.pathsep.join([str(place), str(HERE), os.environ.get("PYTHONPATH", "")])
        seconds, said = timed(
            [*words, "--out", str(place / "run")], PYTHONPATH=paths, OMP_NUM_THREADS="1"
        )
        return seconds, int(json.loads(said)["steps"]["decoded"]["kept"])


def distilabel(python: Path, rows: int) -> tuple[float, int]:
    """Seconds of the same in distilabel, and its rows."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "null.py"
        script.write_text(DISTILABEL)
        words = [str(python), str(script), str(rows), str(Path(folder) / "cache")]
        seconds, said = timed(words, PYTHONPATH="", HF_HUB_OFFLINE="1", HF_HOME=folder)
        return seconds, int(said.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="without distilabel")
    given = parser.parse_args()
    ways: dict[str, Any] = {"genixer": ours}
    if not given.alone:
        from peers import python_of

        python = python_of("distilabel", *PEER)
        ways["distilabel"] = lambda rows: distilabel(python, rows)
    best = dict.fromkeys(ways, (1e9, 1e9))
    for _ in range(given.rounds):
        for name, way in ways.items():
            whole, made = way(given.rows)
            start, _ = way(PER_IMAGE)
            if made != given.rows:
                raise SystemExit(f"{name}: {made} rows of {given.rows}")
            best[name] = (min(best[name][0], whole), min(best[name][1], start))
    cost = {name: (whole - start) / given.rows * 1e6 for name, (whole, start) in best.items()}
    for name, (whole, start) in best.items():
        each = f"{cost[name]:.0f} us a row"
        print(f"{name}: {given.rows} rows in {whole:.2f} s, start {start:.2f} s: {each}")
    if "distilabel" in best:
        print(
            f"ratio: {cost['distilabel'] / cost['genixer']:.1f} a row, "
            f"{best['distilabel'][0] / best['genixer'][0]:.1f} on the clock from start to end"
        )


if __name__ == "__main__":
    main()
