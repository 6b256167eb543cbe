"""Images a second from JPEG files to batches: beside `datasets` with torch's DataLoader.

Command:  python benchmarks/loader.py [--images 320] [--rounds 5] [--workers 2]
Target:   at least twice as fast with two workers, to the same tensors, which is checked.

`datasets` reads a column of images and transforms rows as they are asked for (`with_transform`),
the DataLoader's processes collate them; ours reads ahead in threads. Both give the numbers that
LLaVA-1.5 was trained on. On the clock: what a training loop waits for, the start of the workers
included. Ways take turns, and a ratio is the median of those of the rounds. CPU time is that of
this process and its workers; it tells what is saved where other programs want the cores, too.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from pixels import library, make_photos

from genixer.models.base import load_preset
from genixer.models.pixels import Pixels
from genixer.training.loader import ahead

BATCH = 16


def theirs(folder: Path, paths: list[str], workers: int) -> Iterator[torch.Tensor]:
    from datasets import Dataset, Image
    from torch.utils.data import DataLoader

    read = library(folder)
    rows = Dataset.from_dict({"image": [str(folder / path) for path in paths]})
    rows = rows.cast_column("image", Image())

    def transform(batch: dict[str, list]) -> dict[str, list]:
        return {"pixel_values": [read(image) for image in batch["image"]]}

    loader = DataLoader(rows.with_transform(transform), BATCH, num_workers=workers)
    for batch in loader:
        yield batch["pixel_values"].flatten(0, 1)


def ours(folder: Path, paths: list[str], workers: int, mode: str) -> Iterator[torch.Tensor]:
    pixels = Pixels(load_preset("llava_1_5_7b").model_copy(update={"pixels": mode}))
    batches = [paths[at : at + BATCH] for at in range(0, len(paths), BATCH)]
    return ahead(
        batches, lambda some: pixels.tensor([pixels.read(folder, path) for path in some]), workers
    )


def cpu_seconds() -> float:
    return sum(os.times()[:4])


def compare(width: int, height: int, images: int, rounds: int, workers: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        paths = make_photos(folder, images, width, height)
        ways = {
            "datasets": lambda: theirs(folder, paths, workers),
            "exact": lambda: ours(folder, paths, workers, "exact"),
            "fast": lambda: ours(folder, paths, workers, "fast"),
        }
        took: dict[str, list[float]] = {name: [] for name in ways}
        worked: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                began, busy = time.perf_counter(), cpu_seconds()
                for _ in way():
                    pass
                took[name].append(time.perf_counter() - began)
                worked[name].append(cpu_seconds() - busy)
        same = torch.equal(torch.cat(list(ways["datasets"]())), torch.cat(list(ways["exact"]())))
    speeds = [f"{name} {images / min(seconds):.0f} images/s" for name, seconds in took.items()]
    print(f"{width}x{height}, best round: {', '.join(speeds)}")
    for name in ("exact", "fast"):
        ratios = sorted(a / b for a, b in zip(took["datasets"], took[name], strict=True))
        cpu = [a / b for a, b in zip(worked["datasets"], worked[name], strict=True)]
        told = f"same bits: {same}" if name == "exact" else "not the same bits"
        print(
            f"   {name}: {statistics.median(ratios):.2f} x datasets (wanted 2), "
            f"rounds {ratios[0]:.2f} to {ratios[-1]:.2f}; {statistics.median(cpu):.2f} x by CPU "
            f"time; {told}"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    compare(640, 480, given.images, given.rounds, given.workers)
    compare(480, 640, given.images, given.rounds, given.workers)


if __name__ == "__main__":
    main()
