"""How little of a batch is padding: random batches, batches of like length, packed rows.

    python benchmarks/packing.py [--rows 100000] [--plan 1000000]

Lengths are synthetic, made like those of LLaVA's mix of 665K: 6 % of rows have no image; those with
one have 576 tokens of it and a text whose length is drawn from a mixture of three log-normal curves
(short answers 60 %, dialogues 25 %, long answers 15 %); rows without an image are text of a median
of 500 tokens. All are cut at 2048. Efficiency is tokens over places, padding included.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from genixer.training.packing import pack
from genixer.training.sampler import grouped

KINDS = ((0.60, 90, 0.60), (0.25, 320, 0.50), (0.15, 170, 0.40))
"""Share, median and log-deviation of text lengths beside an image, in tokens."""


def llava_like(rows: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Lengths [N] and whether each row has an image [N]."""
    rng = np.random.default_rng(seed)
    images = rng.random(rows) >= 0.06
    shares = [share for share, _, _ in KINDS]
    kind = rng.choice(len(KINDS), rows, p=shares)
    median, spread = (np.array([one[i] for one in KINDS])[kind] for i in (1, 2))
    text = median * np.exp(spread * rng.standard_normal(rows))
    alone = 500 * np.exp(0.9 * rng.standard_normal(rows))
    lengths = np.where(images, 576 + 45 + text, 45 + alone)
    return np.minimum(lengths, 2048).astype(np.int64), images


def efficiency(lengths: np.ndarray, batches: list[np.ndarray]) -> float:
    places = sum(len(one) * int(lengths[one].max()) for one in batches)
    return float(lengths.sum() / places)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--plan", type=int, default=1_000_000, help="rows whose plan is timed")
    parser.add_argument("--batch", type=int, default=16)
    args = parser.parse_args()
    lengths, images = llava_like(args.rows)
    order = np.random.default_rng(2).permutation(args.rows)
    at_random = [order[i : i + args.batch] for i in range(0, args.rows, args.batch)]
    print(f"{args.rows} rows, mean {lengths.mean():.0f} tokens, batch {args.batch}")
    print(f"random              {efficiency(lengths, at_random):.3f}")
    print(f"grouped             {efficiency(lengths, grouped(lengths, images, args.batch, 1)):.3f}")
    for budget in (2048, 4096, 8192):
        bins = pack(lengths, budget)
        print(f"packed {budget}         {lengths.sum() / (len(bins) * budget):.3f}")
    lengths, images = llava_like(args.plan)
    ways = {"grouped": lambda: grouped(lengths, images, args.batch, 1)}
    for budget in (2048, 4096, 8192):
        ways[f"packed {budget}"] = lambda budget=budget: pack(lengths, budget)
    for name, way in ways.items():
        start = time.process_time()
        way()
        print(f"plan of {args.plan} rows, {name}: {time.process_time() - start:.1f} s of CPU")


if __name__ == "__main__":
    main()
