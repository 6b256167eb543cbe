"""A real server is killed and started again during a run: what is lost, what is asked twice.

    python benchmarks/real_server.py [--images 60] [--server transformers|vllm] [--python PYTHON]

The server is `transformers serve` or vLLM on loopback with a tiny image-text model of random
weights; PYTHON is an interpreter with its packages (`pip install fastapi uvicorn openai` beside
`genixer[train]`, or vLLM). Two runs of 6 requests an image: one in which the server is back within
`patience_s`, and one that ends without it and is resumed. A relay in between counts what is asked
and what is answered. vLLM then judges, and writes JSON of a given form; its verdicts are compared
with those of the same weights on the backend `vlm`.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import yaml
from PIL import Image

from genixer.data import Generation, ImageRef, Request, Sampling
from genixer.errors import BackendError
from genixer.pipeline.run import run
from genixer.store.layout import StepFolder
from genixer.store.reader import open_step

NEEDED = {
    "transformers": ("fastapi", "uvicorn", "openai", "httpx", "torch", "transformers"),
    "vllm": ("vllm",),
}
PER_IMAGE = 6
WORDS = ("Yes", "No")
MOST_GAP = 0.001
"""Most that a share may differ."""


def missing(server: str, python: str) -> list[str]:
    """Packages of the server that interpreter `python` lacks."""
    told = "import sys; from importlib.util import find_spec as find\n"
    told += "print(*(name for name in sys.argv[1:] if not find(name)))"
    command = [python, "-c", told, *NEEDED[server]]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def command_of(server: str, python: str, model: Path, port: int) -> list[str]:
    """What starts `server`."""
    place = ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    if server == "transformers":
        start = ["-m", "transformers.cli.transformers", "serve", str(model), "--device", "cpu"]
        return [python, *start, *place]
    # Free to, a model that is unsure writes spaces until it is cut.
    form = json.dumps({"backend": "xgrammar", "disable_any_whitespace": True})
    small = ["--enforce-eager", "--max-num-seqs", "8", "--structured-outputs-config", form]
    start = ["-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    return [python, *start, *place, *small]


class Served:
    """A server in a process of its own."""

    def __init__(self, server: str, python: str, model: Path) -> None:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port: int = one.getsockname()[1]
        self._command = command_of(server, python, model, self.port)
        self._log = model.parent / "server.log"
        self.start()

    def start(self) -> None:
        """Begin; it answers once its model is loaded."""
        offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        offline |= {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
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


def noise_images(folder: Path, images: int, height: int = 24, width: int = 32) -> Path:
    noise = np.random.default_rng(1)
    folder.mkdir(parents=True)
    for number in range(images):
        pixels = noise.integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04d}.png")
    return folder


def settings_of(server: str, url: str, model: Path) -> dict[str, Any]:
    """How the backend `openai` is told of the server."""
    settings: dict[str, Any] = {"base_url": url, "dialect": server, "preset": "llava_hf"}
    if server == "vllm":  # random weights write control tokens and half signs, which are no text
        tokenizer = words_of(model)
        halves = tokenizer.convert_tokens_to_ids([f"<0x{byte:02X}>" for byte in range(128, 256)])
        silent = {str(one): -100 for one in (*tokenizer.all_special_ids, *halves)}
        settings["extra"] = {"ignore_eos": True, "logit_bias": silent}
    return settings


def words_of(model: Path) -> Any:
    """The tokenizer of a folder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model, local_files_only=True)


def config(
    place: Path, images: int, server: str, relay: Relay, model: Path, patience_s: float
) -> Path:
    folder = noise_images(place / "images", images)
    settings = settings_of(server, relay.url, model) | {
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


def scenario(
    kind: str, python: str, model: Path, place: Path, images: int, resumed: bool
) -> dict[str, int]:
    """One run with the server killed at a third; its figures."""
    server = Served(kind, python, model)
    relay = Relay(server.port)
    rows, out = images * PER_IMAGE, place / "run"
    path = config(place, images, kind, relay, model, 2.0 if resumed else 600.0)

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


def judged(python: str, model: Path, place: Path, images: int) -> bool:
    """Whether vLLM's server says what the same weights say here, and keeps to a form."""
    from genixer.inference.openai import OpenAiBackend, OpenAiSettings
    from genixer.inference.vlm import VlmBackend, VlmSettings

    # As large as the model sees them: how pixels are resized is another matter.
    root, server = noise_images(place, images, 28, 28), Served("vllm", python, model)

    def asked(sampling: Sampling) -> list[Request]:
        refs = [ImageRef(one.name, 28, 28, one.stem) for one in sorted(root.iterdir())]
        words = "Is the red cup there?"
        return [Request.of(ref, "rec", "specific", 0, words, sampling) for ref in refs]

    greedy, drawn = asked(Sampling(8, temperature=0.0)), asked(Sampling(200, temperature=1.0))
    try:
        wait_for(server.port)
        told = settings_of("vllm", f"http://127.0.0.1:{server.port}/v1", model)
        silent = told.pop("extra")["logit_bias"]
        plain = OpenAiBackend(str(model), 1, OpenAiSettings(**told))
        said, chosen = plain.generate(greedy, root), plain.choose(greedy, WORDS, root)
        told |= {"guided_json": True, "hint": "json"}
        told["extra"] = {"logit_bias": silent | brevity(model)}
        written = OpenAiBackend(str(model), 1, OpenAiSettings(**told)).generate(drawn, root)
    finally:
        server.kill()
    here = VlmBackend(str(model), 1, VlmSettings())
    pairs = zip(said, here.generate(greedy, root), strict=True)
    same = [one.token_ids == two.token_ids for one, two in pairs if one.text]
    both = list(zip(chosen, here.choose(greedy, WORDS, root), strict=True))
    gaps = [abs(share(one.logprobs) - share(two.logprobs)) for one, two in both]
    ends = Counter(one.finish for one in written)
    print(f"  greedy answers with text {len(same)}, those of the backend vlm {sum(same)}")
    print(f"  share of Yes: median {median(share(two.logprobs) for _, two in both):.3f}, ", end="")
    print(f"differs from the backend vlm's by at most {max(gaps):.4f}")
    print(f"  JSON of the form: {ends['stop']}, cut {ends['length']}, of none {ends['error']}")
    # One by one: the most of them may hide a NaN.
    near = all(gap <= MOST_GAP for gap in gaps)
    return bool(same) and all(same) and near and ends["stop"] > 0 and not ends["error"]


def brevity(model: Path) -> dict[str, int]:
    """Random weights never end a string by themselves."""
    signs = words_of(model).convert_tokens_to_ids([f"<0x{ord(sign):02X}>" for sign in '"]}'])
    return {str(sign): 4 for sign in signs}


def share(weights: Sequence[float]) -> float:
    """Part of the first option in `weights`, log-probabilities."""
    most = max(weights)
    parts = [math.exp(one - most) for one in weights]
    return parts[0] / math.fsum(parts)


def tiny_model(server: str, folder: Path) -> Path:
    """An image-text model of random weights, as the tests make them."""
    sys.path.append(str(Path(__file__).parent.parent / "tests" / "fixtures" / "models"))
    import tiny_vlms

    if server == "vllm":
        from genixer.models.vlm import load_vlm

        tiny_vlms.TEXT["hidden_size"] = 128  # its attention takes heads of 32 and more
        tiny_vlms.FAMILIES["llava"](folder / "made")
        load_vlm(str(folder / "made"), "llava_hf").save(folder / "published")
        recommend(folder / "published", top_k=1, repetition_penalty=1.5)  # which nobody is to hear
        return folder / "published"
    tiny_vlms.FAMILIES["llava"](folder)
    # Random weights end or say a control token at once as often as not, which is no answer.
    recommend(folder, suppress_tokens=sorted(words_of(folder).all_special_ids))
    return folder


def recommend(folder: Path, **drawing: Any) -> None:
    """Have the makers of a model say how tokens are drawn."""
    path = folder / "generation_config.json"
    told = json.loads(path.read_text()) | {"do_sample": True, **drawing}
    path.write_text(json.dumps(told))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--server", choices=sorted(NEEDED), default="transformers")
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    if lacking := missing(options.server, options.python):
        sys.exit(f"not installed: {', '.join(lacking)}")
    sound = True
    with tempfile.TemporaryDirectory() as folder:
        model = tiny_model(options.server, Path(folder) / "model")
        for resumed in (False, True):
            place = Path(folder) / ("resumed" if resumed else "patient")
            print("killed, gone, resumed" if resumed else "killed and back within patience_s")
            found = scenario(options.server, options.python, model, place, options.images, resumed)
            print("  " + ", ".join(f"{name} {value}" for name, value in found.items()))
            sound &= found["kept"] == found["rows"] and not found["lost"] + found["doubled"]
            sound &= not found["answered twice"] and found["ended and resumed"] == resumed
            sound &= found["failed tries"] > 0
        if options.server == "vllm":
            print("judges, and writes JSON")
            sound &= judged(options.python, model, Path(folder) / "judged", options.images)
    print(json.dumps({"sound": sound}))
    sys.exit(not sound)


if __name__ == "__main__":
    main()
