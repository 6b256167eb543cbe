"""A real server is killed and started again during a run: what is lost, what is asked twice.

    python benchmarks/real_server.py [--images 60] [--python PYTHON]

The server is `transformers serve` on loopback with a tiny image-text model of random weights;
PYTHON is an interpreter with its packages (`pip install fastapi uvicorn openai` beside
`genixer[train]`). Two runs of 6 requests an image: one in which the server is back within
`patience_s`, and one that ends without it and is resumed. A relay in between counts what is asked
and what is answered.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from genixer.data import Generation
from genixer.errors import BackendError
from genixer.pipeline.run import run
from genixer.store.layout import StepFolder
from genixer.store.reader import open_step

NEEDED = ("fastapi", "uvicorn", "openai", "httpx", "torch", "transformers")
PER_IMAGE = 6


def missing() -> list[str]:
    """Packages of the server that this interpreter lacks."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


class Served:
    """`transformers serve` in a process of its own."""

    def __init__(self, python: str, model: Path) -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port: int = one.getsockname()[1]
        self._command = [python, "-m", "transformers.cli.transformers", "serve", str(model)]
        self._command += ["--host", "127.0.0.1", "--port", str(self.port)]
        self._command += ["--device", "cpu", "--dtype", "float32"]
        self._log = model.parent / "server.log"
        self.start()

    def start(self) -> None:
        """Begin; it answers once its model is loaded."""
        offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # its own group, so that all of it is killed
                self._command,
                env=os.environ | offline,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """End it at once, as a crash does."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def says_something(status: int, content: bytes) -> bool:
    """Whether that is an answer: random weights may well say nothing, which is asked again."""
    return status == 200 and bool(json.loads(content)["choices"][0]["message"].get("content"))


class Relay:
    """Passes requests on, and counts per row what was asked and what was answered."""

    def __init__(self, port: int) -> None:
        self.answered: Counter[str] = Counter()
        self.again = 0
        """Requests for a row that was answered before."""
        self.failed = 0
        outer, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._pass()

            def do_POST(self) -> None:
                self._pass()

            def _pass(self) -> None:
                length = int(self.headers.get("content-length", 0))
                body = self.rfile.read(length)
                row = hashlib.sha256(body).hexdigest() if body else ""
                with lock:
                    outer.again += bool(row) and outer.answered[row] > 0
                try:
                    link = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
                    link.request(
                        self.command, self.path, body, {"Content-Type": "application/json"}
                    )
                    reply = link.getresponse()
                    content = reply.read()
                    link.close()
                except (OSError, http.client.HTTPException):
                    outer.failed += 1
                    self.close_connection = True  # as the server itself would leave it
                    return
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.getheader("Content-Type") or "")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                with lock:
                    outer.answered[row] += bool(row) and says_something(reply.status, content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Pass nothing on any more."""
        self._server.shutdown()
        self._server.server_close()


def config(place: Path, images: int, relay: Relay, model: Path, patience_s: float) -> Path:
    folder, noise = place / "images", np.random.default_rng(1)
    folder.mkdir(parents=True)
    for number in range(images):
        pixels = noise.integers(0, 255, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04d}.png")
    settings = {
        "base_url": relay.url,
        "dialect": "transformers",
        "preset": "llava_hf",
        "patience_s": patience_s,
        "concurrency_max": 4,
        "timeout_s": 120.0,
    }
    asked: dict[str, Any] = {
        "images": str(folder),
        "model": str(model),
        "backend": "openai",
        "backend_settings": settings,
        "tasks": ["common_vqa", "rec"],
        "modes": {"agnostic": 2, "specific": 2},
        "max_new_tokens": 8,
    }
    steps = {"raw": {"stage": "generate", "with": asked}}
    whole = {"name": "real", "seed": 7, "images": str(folder), "workers": 0, "steps": steps}
    path = place / "config.yaml"
    path.write_text(yaml.safe_dump(whole, sort_keys=False))
    return path


def when(relay: Relay, answers: int) -> None:
    while relay.answered.total() < answers:
        time.sleep(0.05)


def scenario(python: str, model: Path, place: Path, images: int, resumed: bool) -> dict[str, int]:
    """One run with the server killed at a third; its figures."""
    server = Served(python, model)
    relay = Relay(server.port)
    rows, out = images * PER_IMAGE, place / "run"
    path = config(place, images, relay, model, 2.0 if resumed else 600.0)

    def strike() -> None:
        when(relay, rows // 3)
        server.kill()
        if not resumed:
            time.sleep(2.0)
            server.start()

    # Before the run, whose own patience is short in the second scenario.
    wait_for(server.port)
    striker = threading.Thread(target=strike)
    striker.start()
    try:
        try:
            run(path, out=out)
            ended = 0
        except BackendError as error:
            print(f"  the run ended: {error}")
            ended = 1
            striker.join()
            server.start()
            wait_for(server.port)
            run(path, out=out)
    finally:
        striker.join()
        relay.close()
        server.kill()
    step = open_step(StepFolder(out / "raw").root)
    ids = [row.id for row in step.rows(Generation)]
    return {
        "rows": rows,
        "kept": len(ids),
        "lost": rows - len(set(ids)),
        "doubled": len(ids) - len(set(ids)),
        "failed tries": relay.failed,
        "answered twice": relay.again,
        "ended and resumed": ended,
    }


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 600
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 1.0):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def tiny_model(folder: Path) -> Path:
    """An image-text model of random weights, as the tests make them."""
    sys.path.append(str(Path(__file__).parent.parent / "tests" / "fixtures" / "models"))
    from tiny_vlms import FAMILIES
    from transformers import AutoTokenizer

    FAMILIES["llava"](folder)
    # Random weights end or say a control token at once as often as not, which is no answer.
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    path = folder / "generation_config.json"
    told = json.loads(path.read_text())
    told |= {"suppress_tokens": sorted(tokenizer.all_special_ids), "do_sample": True}
    path.write_text(json.dumps(told))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    if lacking := missing():
        sys.exit(f"not installed: {', '.join(lacking)}")
    sound = True
    with tempfile.TemporaryDirectory() as folder:
        model = tiny_model(Path(folder) / "model")
        for resumed in (False, True):
            place = Path(folder) / ("resumed" if resumed else "patient")
            print("killed, gone, resumed" if resumed else "killed and back within patience_s")
            found = scenario(options.python, model, place, options.images, resumed)
            print("  " + ", ".join(f"{name} {value}" for name, value in found.items()))
            sound &= found["kept"] == found["rows"] and not found["lost"] + found["doubled"]
            sound &= not found["answered twice"] and found["ended and resumed"] == resumed
            sound &= found["failed tries"] > 0
    print(json.dumps({"sound": sound}))
    sys.exit(not sound)


if __name__ == "__main__":
    main()
