"""How much an image-text model of the library gains when an image is looked at once for all rows.

    python benchmarks/sights.py [--images 8] [--per-image 8] [--tokens 16] [--threads 1]

A SmolVLM of random weights, of half the width of the published one of 256 million parameters and a
part of its layers, is asked about each of `images` several times; then it is trained on as many
conversations. `apart` runs the tower for each row, as the library by itself does. Ways are timed in
turn, in seconds of the processor; tokens and losses must agree.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from genixer.data import ImageRef, Message, Request, Sampling, SftRow
from genixer.inference.vlm import VlmBackend, VlmSettings
from genixer.models.vlm import LoadedVlm, load_vlm
from genixer.training.batch import Visit
from genixer.training.chat import VlmLesson, encode_chat

sys.path.append(str(Path(__file__).parents[1] / "tests" / "fixtures" / "models"))


def model_in(folder: Path) -> LoadedVlm:
    """The toy SmolVLM of the tests, grown."""
    import tiny_vlms
    from transformers import SmolVLMConfig

    def grown(**parts: Any) -> SmolVLMConfig:
        parts["text_config"] |= {
            "hidden_size": 288, "intermediate_size": 768, "num_hidden_layers": 8,
            "num_attention_heads": 6, "num_key_value_heads": 3, "max_position_embeddings": 2048,
        }  # fmt: skip
        parts["vision_config"] |= {
            "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6,
            "num_attention_heads": 6, "image_size": 256, "patch_size": 16,
        }  # fmt: skip
        return SmolVLMConfig(**{**parts, "scale_factor": 4})

    usual, transformers = SmolVLMConfig, tiny_vlms.transformers
    transformers.SmolVLMConfig = grown
    try:
        tiny_vlms.FAMILIES["smolvlm"](folder)
    finally:
        transformers.SmolVLMConfig = usual
    (folder / "processor_config.json").write_text('{"image_seq_len": 16}')
    path = folder / "preprocessor_config.json"
    sizes = path.read_text().replace('"longest_edge": 64', '"longest_edge": 512')
    path.write_text(sizes.replace('"longest_edge": 32', '"longest_edge": 256'))
    return load_vlm(str(folder), "smolvlm")


def timed(ways: dict[str, Callable[[], Any]]) -> tuple[dict[str, float], dict[str, Any]]:
    """CPU seconds of the best of three rounds, and what came out, for each way."""
    seconds: dict[str, float] = {}
    results: dict[str, Any] = {}
    for _ in range(3):
        for name, way in ways.items():
            start = time.process_time()
            results[name] = way()
            seconds[name] = min(seconds.get(name, 1e9), time.process_time() - start)
    return seconds, results


def questions(
    model: LoadedVlm, folder: Path, images: int, per_image: int, tokens: int
) -> tuple[list[Request], list[Visit]]:
    """What is asked about every image, and the same as conversations to learn from."""
    asked, visits = [], []
    for image in range(images):
        noise = np.random.default_rng(image).integers(0, 255, (384, 512, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{image}.png")
        ref = ImageRef(f"{image}.png", 512, 384, f"{image:04x}")
        said = []
        for number in range(per_image):
            words = f"Where is the cup {number}?"
            asked.append(Request.of(ref, "rec", "specific", number, words, Sampling(tokens)))
            turns = Message("user", words), Message("assistant", "a longer answer")
            row = SftRow(f"{image}/{number}", "", "rec", "student", ref, turns, decimals=3,
                         frame="unit")  # fmt: skip
            found = encode_chat(row, model)
            assert not isinstance(found, str), found
            said.append(found)
        visits.append(Visit(ref, tuple(said)))
    return asked, visits


def learn(model: LoadedVlm, visits: list[Visit], folder: Path) -> float:
    """Losses of a pass over `visits`, gradients and all, the tower frozen."""
    lesson, lost = VlmLesson(model, folder), 0.0
    lesson.parts()["tower"].requires_grad_(False)
    for visit in visits:
        total, weight = lesson.loss(lesson.batch([(visit,)]))
        total.backward()
        lost += float(total.detach() / weight)
    lesson.network.zero_grad()
    return lost


def compared(what: str, model: LoadedVlm, do: Callable[[], Any], rows: int) -> dict[str, Any]:
    """Print how fast `do` is when an image is looked at once, and when it is not."""

    def way(once: bool) -> Callable[[], Any]:
        def run() -> Any:
            vars(model)["shares_sights"] = once
            return do()

        return run

    seconds, results = timed({"once": way(True), "apart": way(False)})
    for name, took in seconds.items():
        print(f"{what}, {name:6} {took:8.2f} s {rows / took:8.1f} rows/s")
    ratio = seconds["apart"] / seconds["once"]
    print(f"{what} is {ratio:.2f} x as fast when an image is looked at once")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--per-image", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = model_in(folder / "model")
        backend = VlmBackend.of(model, given.threads, VlmSettings(batch=8))
        asked, visits = questions(model, folder, given.images, given.per_image, given.tokens)

        def write() -> list[tuple[int, ...]]:
            return [one.token_ids for one in backend.generate(asked, folder)]

        found = compared("generation", model, write, len(asked))
        same = sum(a == b for a, b in zip(found["once"], found["apart"], strict=True))
        print(f"same tokens in {same} of {len(asked)} rows")
        found = compared("training", model, lambda: learn(model, visits, folder), len(asked))
        print(f"losses differ by {abs(found['once'] - found['apart']):.1e}")


if __name__ == "__main__":
    main()
