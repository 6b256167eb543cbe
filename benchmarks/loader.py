"""Batches of pixels for training, beside `datasets` and torch's loader: same files, same tensors.

    python benchmarks/loader.py [--images 256] [--rounds 3]

Target: at least 2 x, both with two workers. Theirs: a `datasets.Dataset` of paths whose transform
pads to a square and calls CLIP's processor, a `DataLoader` with its default collation and two
processes, kept alive. Ours: two threads. Rounds take turns; the best of each counts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from torch.utils.data import DataLoader
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from genixer.models import pixels
from genixer.models.base import load_preset
from genixer.training.loader import ahead

PRESET = load_preset("llava_1_5_7b")
SIDE, BATCH, WORKERS = PRESET.image_side_px, 16, 2
PROCESSOR = CLIPImageProcessorPil(
    size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
)


def transform(rows: dict[str, list[str]]) -> dict[str, Any]:
    padded = []
    for path in rows["path"]:
        with Image.open(path) as file:
            image = file.convert("RGB")
        longer = max(image.size)
        square = Image.new("RGB", (longer, longer), PRESET.pad_colour)
        square.paste(image, ((longer - image.width) // 2, (longer - image.height) // 2))
        padded.append(square)
    return {"pixel_values": PROCESSOR(padded, return_tensors="pt")["pixel_values"]}


def theirs(folder: Path, names: list[str]) -> DataLoader[Any]:
    data = Dataset.from_dict({"path": [str(folder / name) for name in names]})
    return DataLoader(
        data.with_transform(transform),  # type: ignore[arg-type]
        batch_size=BATCH,
        num_workers=WORKERS,
        persistent_workers=True,
    )


def ours(folder: Path, names: list[str]) -> Iterator[torch.Tensor]:
    def batch(part: list[str]) -> torch.Tensor:
        squares = [pixels.read(folder, name, PRESET) for name in part]
        return torch.from_numpy(pixels.normalise(squares, PRESET))

    parts = [names[i : i + BATCH] for i in range(0, len(names), BATCH)]
    return ahead(parts, batch, WORKERS, depth=2 * WORKERS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        names = [f"{n}.jpg" for n in range(args.images)]
        for name in names:
            small = rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)
            image = Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC)
            image.save(folder / name, quality=85)
        loader = theirs(folder, names)
        pairs = zip(loader, ours(folder, names), strict=True)
        assert all(torch.equal(one["pixel_values"], other) for one, other in pairs)
        best = {"datasets + DataLoader": float("inf"), "genixer": float("inf")}
        for _ in range(args.rounds):
            for name in best:
                start = time.perf_counter()
                for _ in ours(folder, names) if name == "genixer" else loader:
                    pass
                best[name] = min(best[name], time.perf_counter() - start)
    usual = best["datasets + DataLoader"]
    for name, seconds in best.items():
        print(f"{name:22} {args.images / seconds:6.0f} images/s  {usual / seconds:4.1f} x")


if __name__ == "__main__":
    main()
