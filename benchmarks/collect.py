"""Collecting with one worker and with two: the same rows, images decoded in full and hashed.

Command:  python benchmarks/collect.py [IMAGES] [--order file|shuffled|both]
Target:   two workers of one thread at least 1.7 times as fast as one, their start included.

On a machine that others use too the clock says little; the seconds of the processor say how much
work two workers do twice, and so what the ratio is on two idle cores.
"""

import argparse
import io
import json
import logging
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import genixer

QUESTIONS = 3
"""Questions about an image: side by side (`file`), or anywhere as in GQA and VQAv2 (`shuffled`)."""
CONFIG = """\
name: collect
images: {images}
steps:
  collect:
    stage: collect
    rows_per_shard: 128
    with:
      sources:
        - {{name: gqa, questions: {questions}}}
"""


def photograph(rng: np.random.Generator) -> bytes:
    """JPEG of 640 x 480 px, about 90 kB, as much work to decode as a real one."""
    coarse = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    data = io.BytesIO()
    coarse.resize((640, 480), Image.Resampling.BICUBIC).save(data, "JPEG", quality=90)
    return data.getvalue()


def write_dataset(folder: Path, images: int, order: str) -> Path:
    """GQA's layout: one dictionary of questions, one folder of images."""
    rng = np.random.default_rng(1)
    originals = [photograph(rng) for _ in range(32)]
    (folder / "images").mkdir()
    entries = {}
    for image in range(images):
        # Bytes after the end of a JPEG are ignored: other content, the same work.
        data = originals[image % len(originals)] + image.to_bytes(8, "big")
        (folder / "images" / f"{image}.jpg").write_bytes(data)
        for question in range(QUESTIONS):
            text = f"What is on the left, number {question}?"
            entry = {"question": text, "imageId": str(image), "answer": "chair", "entailed": []}
            entries[f"{image:07d}{question}"] = entry
    keys = list(entries)
    if order == "shuffled":
        rng.shuffle(keys)
    entries = {key: entries[key] for key in keys}
    path = folder / "train_balanced_questions.json"
    path.write_text(json.dumps(entries))
    return path


def collect(config: Path, out: Path, workers: int) -> tuple[float, float, int]:
    """Seconds on the clock, seconds of the workers' processors, rows kept."""
    began, busy = time.perf_counter(), processor_s()
    result = genixer.run(config, out=out, workers=workers)
    kept = result.manifests["collect"].counts.kept
    return time.perf_counter() - began, processor_s() - busy, kept


def processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compare(images: int, order: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        questions = write_dataset(folder, images, order)
        config = folder / "collect.yaml"
        config.write_text(CONFIG.format(images=folder, questions=questions))
        one, one_cpu, rows = collect(config, folder / "one", 1)
        two, two_cpu, same = collect(config, folder / "two", 2)
    if rows != same:
        raise SystemExit(f"one worker kept {rows} rows, two kept {same}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"order {order}: {images} images, {rows} rows; at most {peak:.0f} MB a worker")
    print(f"1 worker:  {one:.1f} s, {rows / one:.0f} rows/s, {one_cpu:.1f} s of the processor")
    print(f"2 workers: {two:.1f} s, {rows / two:.0f} rows/s, {two_cpu:.1f} s of the processor")
    print(f"by the processor: {2 * one_cpu / two_cpu:.2f} times as fast on two idle cores")
    print(f"ratio: {one / two:.2f}; at least 1.7: {one / two >= 1.7}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=int, nargs="?", default=4000)
    parser.add_argument("--order", choices=["file", "shuffled", "both"], default="both")
    given = parser.parse_args()
    logging.disable()
    for order in ["file", "shuffled"] if given.order == "both" else [given.order]:
        compare(given.images, order)


if __name__ == "__main__":
    main()
