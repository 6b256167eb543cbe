"""Runs of the command line as processes of their own, to be killed, starved and interrupted."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import yaml
from PIL import Image

from genixer.inference import BACKENDS
from genixer.store.layout import StepFolder
from genixer.store.manifest import read_manifest

FIXTURES = Path(__file__).parent.parent / "fixtures"


class Bench:
    """Starts runs below one folder and does bad things to them."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def start(self, *words: object, first: str = "", **options: object) -> "subprocess.Popen[str]":
        """`genixer` with these words, as the leader of a process group; it does `first` before.

        Ctrl-C counts there even where whoever started the tests ignores it (`nohup`).
        """
        code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); " + first
        code += "from genixer.cli import main; main()"
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)],
            cwd=self.home,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def receipts(self, run: Path) -> int:
        """How many units of work are committed."""
        return len(list(run.glob("*/receipts/[!.]*.json")))

    def wait_for(
        self, process: "subprocess.Popen[str]", run: Path, committed: int, timeout_s: float = 100
    ) -> bool:
        """Wait until so many units are committed; False when the process ended before."""
        end = time.monotonic() + timeout_s
        while self.receipts(run) < committed:
            if process.poll() is not None:
                return False
            assert time.monotonic() < end, "nothing happens"
            time.sleep(0.002)
        return True

    def signal_group(self, process: "subprocess.Popen[str]", number: int) -> None:
        """What a terminal does on Ctrl-C, and `kill -9 -PGID`."""
        os.killpg(process.pid, number)

    def data_of(self, run: Path) -> dict[str, bytes]:
        """All shards and files, and manifests without seconds and host."""
        found = {}
        for path in sorted(run.glob("[!.]*/**/*")):
            if path.is_file() and path.parent.name != "receipts" and path.name != "manifest.json":
                found[str(path.relative_to(run))] = path.read_bytes()
        for path in sorted(run.glob("*/manifest.json")):
            manifest = read_manifest(StepFolder(path.parent))
            assert manifest is not None
            same = msgspec.structs.replace(manifest, seconds=0.0, host={})
            found[str(path.relative_to(run))] = msgspec.json.encode(same)
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A place for runs that come to harm."""
    return Bench(tmp_path)


PICTURES = 12


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A folder of a few pictures, `0.png` to `11.png`."""
    (tmp_path / "pictures").mkdir()
    for number in range(PICTURES):
        path = tmp_path / "pictures" / f"{number}.png"
        Image.new("RGB", (8, 8 + number), (20 * number, 90, 90)).save(path)
    return tmp_path / "pictures"


@pytest.fixture
def generate(
    toys: None, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Writes a config that asks a toy backend two things about every picture.

    Keywords are settings of the backend, `steps` more steps, `more` settings of the stage.
    """
    monkeypatch.setattr(BACKENDS, "_all", None)

    def write(
        backend: str,
        steps: dict[str, object] | None = None,
        more: dict[str, object] | None = None,
        **settings: object,
    ) -> Path:
        given = {"images": str(pool), "backend": backend, "block": 8, "tasks": ["rec"]}
        given |= {"backend_settings": settings, **(more or {})}
        step = {"stage": "generate", "rows_per_shard": 16, "with": given}
        config = {"name": "c", "seed": 5, "images": str(pool)}
        config["steps"] = {"generate": step, **(steps or {})}
        path = tmp_path / f"{backend}.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    return write


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The tiny config, its preset in place."""
    config = tmp_path / "tiny.yaml"
    text = (FIXTURES / "tiny.yaml").read_text(encoding="utf-8")
    config.write_text(
        text.replace("PRESET", str(FIXTURES / "models" / "small.yaml")), encoding="utf-8"
    )
    return config
