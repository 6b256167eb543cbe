"""What a block costs: beside one request at a time, beside a loop by hand, and its images.

    python benchmarks/generation.py [--model base] [--rows 64] [--threads 1]

Ways are timed in turn, round by round, and the best round of each counts: other load on the machine
hits all of them. Without shipped weights the `tiny` preset is used with random ones.

Bars: same greedy tokens, at most 5 % slower than the loop by hand, which batches and reads each
image once as we do; at least 2.5 x as fast as the library one by one; and with a model that only
sleeps 20 ms a block, at most 1.15 x the slower of sleeping and of opening images.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from genixer.data import ImageRef, Message, Request, Sampling
from genixer.inference.ahead import announce
from genixer.inference.transformers import TransformersBackend
from genixer.models.base import load_preset, shipped_models
from genixer.models.llava import LoadedModel, create, load
from genixer.models.tokenizer import train_tokenizer
from genixer.store.images import open_image
from genixer.tasks import instructions

TASKS = ("common_vqa", "adv_vqa", "mc_vqa", "rec", "reg")


def model_called(name: str) -> LoadedModel:
    if name in shipped_models() or Path(name).is_dir():
        return load(name)
    print(f"no weights called {name}: the tiny preset with random weights, which never ends a text")
    words = [*instructions.lines("general"), *instructions.lines("rec"), "[0.10,0.20,0.30,0.40]"]
    preset = load_preset("tiny")
    return create(preset, train_tokenizer(words * 3, preset.vocabulary, preset.decimals), seed=1)


def questions(folder: Path, rows: int, per_image: int, tokens: int) -> list[Request]:
    """Requests as the generate stage plans them: several about each image, side by side."""
    rng, noise = random.Random(1), np.random.default_rng(1)
    asked = []
    for number in range(rows):
        image = number // per_image
        if number % per_image == 0:
            colours = noise.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(colours).resize((160, 120)).save(folder / f"{image}.png")
        ref = ImageRef(f"{image}.png", 160, 120, f"{image:04x}")
        task = TASKS[number % len(TASKS)]
        prompt = instructions.ask(task, rng, "specific")
        asked.append(Request.of(ref, task, "specific", number, prompt, Sampling(tokens)))
    return asked


def library(model: LoadedModel, asked: list[Request], folder: Path) -> list[tuple[int, ...]]:
    """The same block through the library's own `generate`, as one would write it by hand."""
    prompts = [model.prompt_ids([Message("user", request.prompt)]) for request in asked]
    longest = max(map(len, prompts))
    ids = torch.tensor([[model.pad_id] * (longest - len(p)) + p for p in prompts])
    with torch.inference_mode():
        out = model.model.generate(
            input_ids=ids,
            attention_mask=(ids != model.pad_id).long(),
            pixel_values=model.pixels([open_image(folder, r.image.path) for r in asked]),
            max_new_tokens=asked[0].sampling.max_new_tokens,
            do_sample=False,
            eos_token_id=model.end_id,
            pad_token_id=model.pad_id,
        )
    return [_until(row[longest:].tolist(), model.end_id) for row in out]


def by_hand(model: LoadedModel, asked: list[Request], folder: Path) -> list[tuple[int, ...]]:
    """The least code that does it well: images once, a batch, the library's cache, argmax."""
    prompts = [model.prompt_ids([Message("user", request.prompt)]) for request in asked]
    paths = list(dict.fromkeys(request.image.path for request in asked))
    longest, llava = max(map(len, prompts)), model.model.model
    ids = torch.tensor([[model.pad_id] * (longest - len(p)) + p for p in prompts])
    mask = (ids != model.pad_id).long()
    places = (mask.cumsum(1) - 1).clamp(min=0)
    written: list[Any] = []
    done = torch.zeros(len(asked), dtype=torch.bool)
    with torch.inference_mode():
        pixels = model.pixels([open_image(folder, path) for path in paths])
        seen = torch.stack(tuple(llava.get_image_features(pixels).pooler_output))
        rows = seen[[paths.index(request.image.path) for request in asked]]
        embeds = llava.get_input_embeddings()(ids)
        embeds[ids == model.image_id] = rows.reshape(-1, rows.shape[-1])
        out = model.model(
            inputs_embeds=embeds, attention_mask=mask, position_ids=places, logits_to_keep=1
        )
        for _ in range(asked[0].sampling.max_new_tokens):
            tokens = out.logits[:, -1].argmax(-1)
            written.append(tokens)
            done |= tokens == model.end_id
            if done.all():
                break
            mask = torch.cat([mask, torch.ones_like(tokens)[:, None]], 1)
            out = model.model(
                input_ids=tokens[:, None],
                attention_mask=mask,
                position_ids=mask.sum(1, keepdim=True) - 1,
                past_key_values=out.past_key_values,
            )
    return [_until(row, model.end_id) for row in torch.stack(written, 1).tolist()]


class Sleeper(TransformersBackend):
    """A model that takes 20 ms a block and says nothing; its images are opened all the same."""

    def _write(self, asked: Any, samplings: Any) -> list[Any]:
        time.sleep(0.02)
        return [([self.loaded.end_id], [0.0]) for _ in asked.rows]


def photographs(folder: Path, blocks: int, each: int) -> list[list[Request]]:
    """Blocks of requests about JPEGs of 640 x 480 px, every image another one."""
    noise, made = np.random.default_rng(2), []
    for number in range(blocks * each):
        colours = noise.integers(0, 255, (24, 32, 3), dtype=np.uint8)
        name = f"photo{number}.jpg"
        Image.fromarray(colours).resize((640, 480)).save(folder / name)
        ref = ImageRef(name, 640, 480, f"{number:04x}")
        made.append(Request.of(ref, "rec", "specific", 0, "Where is it?", Sampling(1)))
    return [made[start : start + each] for start in range(0, len(made), each)]


def overlap(model: LoadedModel, folder: Path, rounds: int) -> None:
    """Print the wall time of sleeping and opening images, each by itself and both together."""
    blocks = photographs(folder, 40, 4)
    backend = Sleeper.of(model)

    def both(ahead: bool) -> None:
        for block, following in zip(blocks, [*blocks[1:], []], strict=True):
            if ahead:
                announce(backend, following, folder)
            backend.generate(block, folder)

    seconds, _ = best(
        {
            "sleeping": lambda: [time.sleep(0.02) for _ in blocks],
            "opening": lambda: [
                backend._read((folder, request.image.path)) for block in blocks for request in block
            ],
            "both, in turn": lambda: both(False),
            "both, reading ahead": lambda: both(True),
        },
        rounds,
    )
    slower = max(seconds["sleeping"], seconds["opening"])
    for name, value in seconds.items():
        print(f"{name:22} {value:8.3f} s {value / slower:6.2f} x the slower of the two")


def _until(ids: list[int], end: int) -> tuple[int, ...]:
    return tuple(ids[: ids.index(end) + 1] if end in ids else ids)


def best(
    ways: dict[str, Callable[[], Any]], rounds: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """Seconds of the best round, and what came out, for each way."""
    seconds: dict[str, float] = {}
    results: dict[str, Any] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            results[name] = way()
            seconds[name] = min(seconds.get(name, 1e9), time.perf_counter() - start)
    return seconds, results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="base", help="shipped name or folder")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--per-image", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = model_called(given.model)
    backend = TransformersBackend.of(model, given.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked = questions(folder, given.rows, given.per_image, given.tokens)
        short = questions(folder, given.rows, given.per_image, 10)

        def block(requests: list[Request]) -> list[tuple[int, ...]]:
            return [one.token_ids for one in backend.generate(requests, folder)]

        def loop(requests: list[Request]) -> list[tuple[int, ...]]:
            return [block([request])[0] for request in requests]

        seconds, tokens = best(
            {
                "block": lambda: block(asked),
                "one by one": lambda: loop(asked),
                "library, one batch": lambda: library(model, asked, folder),
                "by hand, one batch": lambda: by_hand(model, asked, folder),
                "library, one by one": lambda: [library(model, [r], folder)[0] for r in asked],
                "10 tokens, block": lambda: block(short),
                "10 tokens, one by one": lambda: loop(short),
                "choose, block": lambda: backend.choose(asked, ["Yes", "No"], folder),
            },
            given.rounds,
        )
        report(seconds, tokens, given.rows)
        overlap(model, folder, given.rounds)


def report(seconds: dict[str, float], tokens: dict[str, Any], rows: int) -> None:
    for name, value in seconds.items():
        written = tokens[name]
        count = 0 if name.startswith("choose") else sum(map(len, written))
        print(f"{name:22} {value:8.3f} s {rows / value:8.0f} rows/s {count / value:8.0f} tokens/s")
    for name in ("one by one", "by hand, one batch", "library, one batch", "library, one by one"):
        same = sum(a == b for a, b in zip(tokens["block"], tokens[name], strict=True))
        ratio = seconds[name] / seconds["block"]
        print(f"block is {ratio:.2f} x as fast as: {name}; same tokens in {same} of {rows} rows")
    for name in ("10 tokens, block", "10 tokens, one by one"):
        print(f"choose is {seconds[name] / seconds['choose, block']:.1f} x as fast as: {name}")


if __name__ == "__main__":
    main()
