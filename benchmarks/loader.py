"""Images a second from JPEG files to batches: beside `datasets` with torch's DataLoader.

Command:  python benchmarks/loader.py [--images 320] [--workers 2]
Target:   at least twice as fast with two workers, to the same tensors, which is checked.

`datasets` reads a column of images and transforms rows as they are asked for (`with_transform`),
the DataLoader's processes collate them; ours reads ahead in threads. Both give the numbers that
LLaVA-1.5 was trained on. On the clock: what a training loop waits for.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from pixels import library, make_photos

from genixer.models.base import load_preset
from genixer.models.pixels import Pixels
from genixer.training.loader import ahead

BATCH, ROUNDS = 16, 3


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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        paths = make_photos(folder, given.images, 640, 480)
        ways = {
            "datasets": lambda: theirs(folder, paths, given.workers),
            "exact": lambda: ours(folder, paths, given.workers, "exact"),
            "fast": lambda: ours(folder, paths, given.workers, "fast"),
        }
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(ROUNDS):
            for name, way in ways.items():
                began = time.perf_counter()
                for _ in way():
                    pass
                best[name] = min(best[name], time.perf_counter() - began)
        same = torch.equal(torch.cat(list(ways["datasets"]())), torch.cat(list(ways["exact"]())))
    print(", ".join(f"{name}: {given.images / s:.0f} images/s" for name, s in best.items()))
    print(f"exact: {best['datasets'] / best['exact']:.2f} x datasets (wanted 2), same: {same}")
    print(f"fast:  {best['datasets'] / best['fast']:.2f} x datasets")


if __name__ == "__main__":
    main()
