"""From JPEG files to tensors: images a second, beside pad-to-square and the library's processor.

Command:  python benchmarks/pixels.py [--images 24]
Target:   `fast` at least 1.8 times as fast at 640x480 and 5 times at 2048x1536. `exact` gives the
          same bits, which is checked.

One thread. Ways are timed in turn, round by round, and the best round of each counts.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from genixer.models.base import load_preset
from genixer.models.pixels import Pixels

ROUNDS = 3
Way = Callable[[str], torch.Tensor]


def make_photos(folder: Path, images: int, width: int, height: int) -> list[str]:
    rng = np.random.default_rng(1)
    for number in range(images):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        grain = rng.normal(0, 6, (height, width, 3))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) + grain
        Image.fromarray(smooth.clip(0, 255).astype(np.uint8)).save(
            folder / f"{number}.jpg", quality=85
        )
    return [f"{number}.jpg" for number in range(images)]


def library(folder: Path) -> Way:
    """As LLaVA does it: a square of the mean colour, then the stock processor."""
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}
    )
    colour = tuple(int(mean * 255) for mean in processor.image_mean)

    def read(picture: str | Image.Image) -> torch.Tensor:
        opened = Image.open(folder / picture) if isinstance(picture, str) else picture
        image = opened.convert("RGB")
        longer = max(image.size)
        square = Image.new("RGB", (longer, longer), colour)
        square.paste(image, ((longer - image.width) // 2, (longer - image.height) // 2))
        return processor(square, return_tensors="pt")["pixel_values"]

    return read


def ours(folder: Path, mode: str) -> Way:
    pixels = Pixels(load_preset("llava_1_5_7b").model_copy(update={"pixels": mode}))
    return lambda path: pixels.tensor([pixels.read(folder, path)])


def compare(images: int, width: int, height: int, wanted: float) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        paths = make_photos(folder, images, width, height)
        ways = {
            "library": library(folder),
            "exact": ours(folder, "exact"),
            "fast": ours(folder, "fast"),
        }
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(ROUNDS):
            for name, way in ways.items():
                began = time.process_time()
                for path in paths:
                    way(path)
                best[name] = min(best[name], time.process_time() - began)
        exact = all(torch.equal(ways["library"](path), ways["exact"](path)) for path in paths)
        off = float(
            np.mean([float((ways["library"](p) - ways["fast"](p)).abs().mean()) for p in paths])
        )
    print(
        f"{width}x{height}: " + ", ".join(f"{n} {images / s:.0f} images/s" for n, s in best.items())
    )
    print(f"   exact: {best['library'] / best['exact']:.2f} x the library, same bits: {exact}")
    print(
        f"   fast:  {best['library'] / best['fast']:.2f} x the library (wanted {wanted}), "
        f"{off:.4f} off in the mean, in normalised units"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=24)
    images = parser.parse_args().images
    torch.set_num_threads(1)
    compare(images, 640, 480, 1.8)
    compare(images, 2048, 1536, 5)


if __name__ == "__main__":
    main()
