"""How many conversations a second are trained on: one a row, or many behind one image prefix.

    python benchmarks/prefix.py [--model base] [--images 12] [--conversations 8] [--threads 1]

`one a row` is the usual layout: every conversation repeats its image, and a plain attention mask
hides padding. Both compute the same loss and the same gradients, which is checked. Ways are timed
in turn, round by round, and the best round of each counts.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from genixer.data import ImageRef, Message
from genixer.models.llava import LoadedModel, load
from genixer.training.batch import Batch, Conversation, Visit, collate
from genixer.training.gradients import Gradients
from genixer.training.lesson import Learner
from genixer.training.llava import LlavaLesson, loss_of, shared_prefix
from genixer.training.parallel import Together
from genixer.training.schedule import Schedule
from genixer.training.spread import spread_of

NAMES = ("dog", "red book", "green book", "umbrella", "bicycle", "blue heart")
ROUNDS = 4


def visits(model: LoadedModel, folder: Path, images: int, conversations: int) -> list[Visit]:
    rng, noise, found = random.Random(1), np.random.default_rng(1), []
    for number in range(images):
        colours = noise.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(colours).resize((256, 208)).save(folder / f"{number}.png")
        asked = []
        for _ in range(conversations):
            name = rng.choice(NAMES)
            question, answer = rng.choice(
                [
                    (f"Is there a {name} in the image?", "yes"),
                    (f"Where is the {name}?", "[0.10,0.20,0.30,0.40]"),
                    (f"Question: How many {name}s are there? Answer: 2\nIs it right?", "No"),
                ]
            )
            ids, own = model.turns([Message("user", question), Message("assistant", answer)])
            asked.append(Conversation("", "", np.asarray(ids, np.int32), np.asarray(own, bool)))
        found.append(Visit(ImageRef(f"{number}.png", 256, 208, ""), tuple(asked)))
    return found


def plain_loss(model: LoadedModel, batch: Batch) -> torch.Tensor:
    """Mean loss of rows that hold one conversation each, through the library's own forward."""
    logits = model.model(
        input_ids=batch.input_ids,
        pixel_values=batch.pixel_values,
        attention_mask=(batch.segment_ids >= 0).long(),
        use_cache=False,
    ).logits
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), batch.labels[:, 1:], reduction="none", ignore_index=-100
    )
    return (losses * batch.loss_weight[:, 1:]).sum() / batch.loss_weight.sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="base")
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--conversations", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = load(args.model, args.threads)
    seconds: dict[str, float] = {}
    losses: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        together = visits(model, folder, args.images, args.conversations)
        alone = [Visit(v.image, (c,)) for v in together for c in v.conversations]

        def one_a_row() -> float:
            loss = plain_loss(model, collate([(v,) for v in alone], model, folder, 0.5))
            loss.backward()
            return float(loss.detach())

        def one_prefix() -> float:
            with shared_prefix(model):
                batch = collate([(v,) for v in together], model, folder, 0.5)
                total, weight = loss_of(model, batch, spread_of(model, 0.0))
            (total / weight).backward()
            return float((total / weight).detach())

        def two_lanes() -> float:
            schedule = Schedule(lanes=2, tower_lr=1e-3)
            lesson = LlavaLesson(model, schedule, folder)
            learner = Learner(lesson)
            with lesson.ready(), Gradients(learner, lesson, schedule, Together()) as gradients:
                return gradients.compute(gradients.cut([(v,) for v in together]), 1).loss

        for _ in range(ROUNDS):
            for way in (one_a_row, one_prefix, two_lanes):
                model.model.zero_grad()
                started = time.perf_counter()
                losses[way.__name__] = way()
                took = time.perf_counter() - started
                seconds[way.__name__] = min(took, seconds.get(way.__name__, took))
    count = len(alone)
    for way, took in seconds.items():
        speed, gain = count / took, seconds["one_a_row"] / took
        print(f"{way:<12} {speed:8.0f} conversations/s   {gain:5.1f} x   loss {losses[way]:.4f}")


if __name__ == "__main__":
    main()
