"""Microseconds a request over HTTP, kept durably, beside datatrove's inference runner.

    python benchmarks/server.py [--requests 2000] [--rounds 3] [--peer PYTHON]

Target: at most a fifth of datatrove's time a request with its checkpoints on; syncing to disk costs
at most 20 %.

Both ask the same stub on loopback, 64 at a time, about the same tiny picture. PYTHON is an
interpreter with datatrove; without one an environment is made for it. Each way runs in a process
of its own and is warmed up by a first run of 64 requests; ways in turn, the best round of each
counts. `unsynced` is ours with `fsync` made to do nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
import venv
from multiprocessing.connection import Connection
from pathlib import Path

CONCURRENCY = 64
REPLY = json.dumps(
    {
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Question: What? Answer: a cat"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 50, "completion_tokens": 8, "total_tokens": 58},
    }
).encode()
MODELS = b'{"data": [{"id": "stub"}]}'


class Stub(asyncio.Protocol):
    """Answers whatever is asked at once; as little work as there can be."""

    def __init__(self) -> None:
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to write to."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._data) < end + 4 + length:
                return
            body = MODELS if head.startswith(b"get") else REPLY
            self._data = self._data[end + 4 + length :]
            close = b"connection: close" in head
            kind = b"Connection: close\r\n" if close else b""
            self._transport.write(  # type: ignore[attr-defined]
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n"
                % (kind, len(body))
                + body
            )
            if close:
                self._transport.close()


def serve(told: Connection) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def ours(url: str, requests: int, place: Path, sync: bool) -> float:
    """Seconds of a whole run of the stage `generate`."""
    import yaml
    from PIL import Image

    from genixer.pipeline.run import run

    if not sync:
        os.fsync = lambda _: None  # type: ignore[assignment]
    pool = place / "pool"
    pool.mkdir()
    for number in range(requests // 8):
        Image.new("RGB", (8, 8), (number % 256, number // 256, 9)).save(pool / f"{number:05d}.png")
    asked = {
        "images": str(pool),
        "model": "stub",
        "backend": "openai",
        "backend_settings": {"base_url": f"{url}/v1", "concurrency_max": CONCURRENCY},
        "tasks": ["common_vqa"],
        "modes": {"agnostic": 4, "specific": 4},
    }
    config = place / "stub.yaml"
    steps = {"raw": {"stage": "generate", "with": asked}}
    config.write_text(yaml.safe_dump({"name": "stub", "images": str(pool), "steps": steps}))
    run(config, out=place / "warm", workers=0, limit=CONCURRENCY)
    begun = time.perf_counter()
    run(config, out=place / "run", workers=0)
    return time.perf_counter() - begun


def theirs(url: str, requests: int, place: Path, checkpoints: bool) -> float:
    """Seconds of a whole run of datatrove's executor."""
    _theirs(url, CONCURRENCY, place / "warm", checkpoints)
    return _theirs(url, requests, place / "run", checkpoints)


def _theirs(url: str, requests: int, place: Path, checkpoints: bool) -> float:
    from datatrove.data import Document
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
    from datatrove.pipeline.writers import JsonlWriter

    grey = "data:image/png;base64," + "A" * 100

    async def rollout(document: Document, generate):  # type: ignore[no-untyped-def]
        parts = [
            {"type": "image_url", "image_url": {"url": grey}},
            {"type": "text", "text": document.text},
        ]
        return await generate({"messages": [{"role": "user", "content": parts}], "max_tokens": 64})

    config = InferenceConfig(
        server_type="endpoint",
        endpoint_url=url,
        model_name_or_path="stub",
        max_concurrent_generations=CONCURRENCY,
    )
    runner = InferenceRunner(
        rollout_fn=rollout,
        config=config,
        output_writer=JsonlWriter(
            str(place / "out"), output_filename="${rank}_${chunk_index}.jsonl", compression=None
        ),
        checkpoints_local_dir=str(place / "checkpoints") if checkpoints else None,
        records_per_chunk=requests // 4,
    )
    documents = [Document(text=f"Ask {number}.", id=str(number)) for number in range(requests)]
    executor = LocalPipelineExecutor(
        pipeline=[documents, runner], tasks=1, workers=1, logging_dir=str(place / "logs")
    )
    begun = time.perf_counter()
    executor.run()
    seconds = time.perf_counter() - begun
    written = [line for path in (place / "out").rglob("*.jsonl") for line in path.open()]
    if len(written) != requests:
        raise SystemExit(f"datatrove wrote {len(written)} of {requests}")
    return seconds


WAYS = {
    "ours": lambda *told: ours(*told, sync=True),
    "unsynced": lambda *told: ours(*told, sync=False),
    "datatrove": lambda *told: theirs(*told, checkpoints=True),
    "datatrove without checkpoints": lambda *told: theirs(*told, checkpoints=False),
}


def timed(way: str, python: str, url: str, requests: int) -> float:
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env = own if way.startswith("datatrove") else dict(os.environ)
    with tempfile.TemporaryDirectory() as place:
        told = ["--way", way, "--url", url, "--requests", str(requests), "--place", place]
        done = subprocess.run(
            [python, __file__, *told], capture_output=True, text=True, check=False, env=env
        )
    if done.returncode:
        sys.exit(f"{way}: {done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


def peer_python(given: str, place: Path) -> str:
    if given:
        return given
    print("making an environment with datatrove in it")
    venv.create(place, with_pip=True)
    python = str(place / "bin" / "python")
    wanted = ["datatrove", "orjson", "aiosqlite", "xxhash", "httpx", "aiofiles"]
    subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True)
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", default="")
    for hidden in ("--way", "--url", "--place"):
        parser.add_argument(hidden, default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        place = Path(options.place)
        print(WAYS[options.way](options.url, options.requests, place))
        return
    here, there = multiprocessing.Pipe()
    stub = multiprocessing.Process(target=serve, args=(there,), daemon=True)
    stub.start()
    url = f"http://127.0.0.1:{here.recv()}"
    best = dict.fromkeys(WAYS, float("inf"))
    with tempfile.TemporaryDirectory() as place:
        peer = peer_python(options.peer, Path(place))
        for _ in range(options.rounds):
            for way in WAYS:
                python = peer if way.startswith("datatrove") else sys.executable
                best[way] = min(best[way], timed(way, python, url, options.requests))
    stub.terminate()
    for way, seconds in best.items():
        print(f"{way:30} {seconds / options.requests * 1e6:9.0f} us a request")
    print(f"ours / datatrove    {best['ours'] / best['datatrove']:.3f}   (target <= 0.2)")
    print(f"ours / unsynced     {best['ours'] / best['unsynced']:.3f}   (target <= 1.2)")


if __name__ == "__main__":
    main()
