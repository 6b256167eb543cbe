"""MinHash beside datasketch, perceptual hash beside imagehash: same texts, same files, one thread.

Command:  python benchmarks/dedup.py [--texts 2000] [--pictures 40]
Needs:    pip install datasketch imagehash
Target:   MinHash at least 20 times as fast as datasketch, hashes of JPEG files at least 2.5 times
          as fast as imagehash.phash.

Ways are timed in turn, round by round, by the processor's clock, and the best round of each counts.
A text is split into words, runs of three words, and 128 permutations by both; datasketch is timed
the way its manual begins (`update` for each run) and with `update_batch`. A picture goes from its
file to 64 bits by both; a PNG can only be decoded in full, which sets the limit that is printed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from genixer.filters.minhash import PERMUTATIONS, signatures
from genixer.filters.ngrams import NGrams, words_of
from genixer.store.perceptual import picture_hash, picture_hash_of_file

try:
    import imagehash
    from datasketch import MinHash
except ImportError as error:
    sys.exit(f"{error}; the rivals are no part of the project: pip install datasketch imagehash")

ROUNDS, TOGETHER, SIZE = 5, 1024, 3
WORDS = ("few words, a question", 9), ("some words, a caption", 40), ("many words, a dialogue", 200)


def texts(count: int, words: int) -> list[str]:
    rng = random.Random(1)
    known = [f"word{number}" for number in range(5000)]
    lengths = (rng.randint(words // 2, words * 3 // 2) for _ in range(count))
    return [" ".join(rng.choices(known, k=length)) for length in lengths]


def ours(rows: list[str]) -> None:
    grams = NGrams(SIZE)
    for start in range(0, len(rows), TOGETHER):
        signatures(*grams.of(rows[start : start + TOGETHER]))


def runs_of(text: str) -> list[bytes]:
    words = words_of(text)
    return [b" ".join(words[at : at + SIZE]) for at in range(max(1, len(words) - SIZE + 1))]


def one_by_one(rows: list[str]) -> None:
    for text in rows:
        found = MinHash(num_perm=PERMUTATIONS)
        for run in runs_of(text):
            found.update(run)


def in_batches(rows: list[str]) -> None:
    for text in rows:
        MinHash(num_perm=PERMUTATIONS).update_batch(runs_of(text))


def picture(seed: int) -> Image.Image:
    """640 x 480 px of soft blotches under a little noise: about 65 kB as JPEG."""
    rng = np.random.default_rng(seed)
    blotches = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    pixels = np.asarray(blotches.resize((640, 480), Image.Resampling.BICUBIC), dtype=np.int64)
    noise = rng.integers(-12, 13, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def best_of(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of the processor that each way takes."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.process_time()
            way()
            best[name] = min(best[name], time.process_time() - began)
    return best


def text_ratios(count: int) -> None:
    for title, words in WORDS:
        rows = texts(count, words)
        some = rows[: max(1, count // 10)]
        took = best_of(
            {
                "ours": lambda rows=rows: ours(rows),
                "update": lambda some=some: one_by_one(some),
                "update_batch": lambda some=some: in_batches(some),
            }
        )
        each = {name: took[name] / len(some) for name in ("update", "update_batch")}
        each["ours"] = took["ours"] / len(rows)
        ratio, batch = each["update"] / each["ours"], each["update_batch"] / each["ours"]
        print(
            f"MinHash, {title}: {1e6 * each['ours']:.1f} us a text; datasketch "
            f"{1e6 * each['update']:.0f} us (ratio {ratio:.1f}, at least 20: {ratio >= 20}), "
            f"update_batch {1e6 * each['update_batch']:.0f} us (ratio {batch:.1f})"
        )


def picture_ratios(count: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for kind in ("jpg", "png"):
            names = [f"{number}.{kind}" for number in range(count)]
            for number, name in enumerate(names):
                picture(number).save(folder / name, quality=85)
            took = best_of(
                {
                    "ours": lambda names=names: [picture_hash_of_file(folder, n) for n in names],
                    "rival": lambda names=names: [theirs(folder / name) for name in names],
                    "decoding": lambda names=names: [decoded_whole(folder / n) for n in names],
                }
            )
            say_pictures(f"{kind} files", took, count, bar=kind == "jpg")
            print(
                f"  decoding alone, in full: {1e3 * took['decoding'] / count:.2f} ms; who needs it "
                f"reaches a ratio of {took['rival'] / took['decoding']:.2f} at most"
            )
    decoded = [picture(number) for number in range(count)]
    took = best_of(
        {
            "ours": lambda: [picture_hash(image) for image in decoded],
            "rival": lambda: [imagehash.phash(image) for image in decoded],
        }
    )
    say_pictures("decoded pictures", took, count, bar=False)


def decoded_whole(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def theirs(path: Path) -> object:
    with Image.open(path) as image:
        return imagehash.phash(image)


def say_pictures(title: str, took: dict[str, float], count: int, bar: bool) -> None:
    ratio = took["rival"] / took["ours"]
    wanted = f", at least 2.5: {ratio >= 2.5}" if bar else ""
    print(
        f"perceptual hash, {title}: {1e3 * took['ours'] / count:.2f} ms each; imagehash.phash "
        f"{1e3 * took['rival'] / count:.2f} ms (ratio {ratio:.2f}{wanted})"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--pictures", type=int, default=40)
    known = parser.parse_args()
    text_ratios(known.texts)
    picture_ratios(known.pictures)
