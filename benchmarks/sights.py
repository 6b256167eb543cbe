"""How much an image-text model of the library gains when an image is looked at once for all rows.

    python benchmarks/sights.py [--images 8] [--per-image 8] [--tokens 16] [--threads 1]

A SmolVLM of random weights whose tower and decoder have the proportions of the published one of 256
million parameters, at half its width, is asked about each of `images` several times; then it is
trained on as many conversations. `apart` runs the tower for each row, as the library by itself
does. Ways are timed in turn and the best of three rounds counts; tokens and losses must agree.
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
            "hidden_size": 288, "intermediate_size": 768, "num_hidden_layers": 15,
            "num_attention_heads": 6, "num_key_value_heads": 3, "max_position_embeddings": 2048,
        }  # fmt: skip
        parts["vision_config"] |= {
            "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12,
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
    seconds: dict[str, float] = {}
    results: dict[str, Any] = {}
    for _ in range(3):
        for name, way in ways.items():
            start = time.perf_counter()
            results[name] = way()
            seconds[name] = min(seconds.get(name, 1e9), time.perf_counter() - start)
    return seconds, results


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
        asked, visits = [], []
        for image in range(given.images):
            noise = np.random.default_rng(image).integers(0, 255, (384, 512, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{image}.png")
            ref = ImageRef(f"{image}.png", 512, 384, f"{image:04x}")
            said = []
            for number in range(given.per_image):
                words = f"Where is the cup {number}?"
                request = Request.of(ref, "rec", "specific", number, words, Sampling(given.tokens))
                asked.append(request)
                turns = Message("user", words), Message("assistant", "a longer answer")
                row = SftRow(f"{image}/{number}", "", "rec", "student", ref, turns, decimals=3,
                             frame="unit")  # fmt: skip
                found = encode_chat(row, model)
                assert not isinstance(found, str), found
                said.append(found)
            visits.append((Visit(ref, tuple(said)),))

        def way(once: bool, what: Callable[[], Any]) -> Callable[[], Any]:
            def run() -> Any:
                vars(model)["shares_sights"] = once
                return what()

            return run

        def write() -> list[tuple[int, ...]]:
            return [one.token_ids for one in backend.generate(asked, folder)]

        def learn() -> float:
            lesson, lost = VlmLesson(model, folder), 0.0
            lesson.parts()["tower"].requires_grad_(False)
            for visit in visits:
                total, weight = lesson.loss(lesson.batch([visit]))
                total.backward()
                lost += float(total.detach() / weight)
            lesson.network.zero_grad()
            return lost

        assert model.shares_sights
        for what, do, unit in (("generation", write, "rows"), ("training", learn, "rows")):
            seconds, results = timed({"once": way(True, do), "apart": way(False, do)})
            rows = len(asked)
            for name, took in seconds.items():
                print(f"{what}, {name:6} {took:8.2f} s {rows / took:8.1f} {unit}/s")
            ratio = seconds["apart"] / seconds["once"]
            same = (
                sum(a == b for a, b in zip(results["once"], results["apart"], strict=True)) == rows
                if what == "generation"
                else abs(results["once"] - results["apart"]) < 1e-3
            )
            print(f"{what}: {ratio:.2f} x as fast when an image is looked at once; same: {same}")


if __name__ == "__main__":
    main()
