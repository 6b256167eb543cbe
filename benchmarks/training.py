"""Words a second: this project's loop against the usual one, on the same rows in one run.

    python benchmarks/training.py [--model base] [--images 64] [--threads 1] [--order packed]

The usual one is `transformers.Trainer`: a row a conversation, in random order, padded to the
longest of its batch. Both go once over the same conversations with AdamW, the same number of them a
step, the same pixels from the same files. Counted are tokens of conversations, which is what there
is to learn; the image's own tokens and padding count for nothing. Efficiency is the share of a
batch's places that are no padding.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import Trainer, TrainingArguments

from genixer.data import ImageRef, Message
from genixer.models.llava import LoadedModel, load
from genixer.store.images import open_image
from genixer.training.batch import Batch, Conversation
from genixer.training.llava import LlavaLesson
from genixer.training.order import order_of
from genixer.training.run import train
from genixer.training.schedule import Schedule

NAMES = ("dog", "red book", "green book", "umbrella", "bicycle", "blue heart")
ALONE = 16
"""Conversations of one step of the usual loop."""

Rows = dict[ImageRef | None, list[Conversation]]


def rows(model: LoadedModel, folder: Path, images: int) -> Rows:
    """Conversations of 10 to 100 tokens, most of them short; 1 to 12 an image, a tenth without."""
    rng, noise = random.Random(1), np.random.default_rng(1)
    found: Rows = {}
    for number in range(images):
        colours = noise.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(colours).resize((256, 208)).save(folder / f"{number}.png")
        image = ImageRef(f"{number}.png", 256, 208, "") if number % 10 else None
        for _ in range(rng.randint(1, 12)):
            question = f"Is there a {rng.choice(NAMES)} in the image?"
            answer = " ".join(rng.choice(NAMES) for _ in range(1 + int(rng.expovariate(1 / 8))))
            ids, own = model.turns(
                [Message("user", question), Message("assistant", answer[:300])], image is not None
            )
            talk = Conversation("", "", np.asarray(ids, np.int32), np.asarray(own, bool))
            found.setdefault(image, []).append(talk)
    return found


class Counter:
    """Counts places and tokens of the batches that are made."""

    def __init__(self) -> None:
        self.places = self.tokens = self.words = 0

    def add(self, ids: torch.Tensor, tokens: int, words: int) -> None:
        """Take in a batch of `ids` that holds `tokens`, of which `words` are of conversations."""
        self.places, self.tokens = self.places + ids.numel(), self.tokens + tokens
        self.words += words


class UsualRows(torch.utils.data.Dataset[Any]):
    """A row a conversation, its image in front."""

    def __init__(self, model: LoadedModel, by_image: Rows, folder: Path) -> None:
        self.model, self.folder = model, folder
        self.rows = [(image, one) for image, many in by_image.items() for one in many]
        self.counter = Counter()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Any:
        return self.rows[place]

    def collate(self, many: list[tuple[ImageRef | None, Conversation]]) -> dict[str, torch.Tensor]:
        """The usual batch, padded on the right."""
        ids, labels = [], []
        for image, one in many:
            prefix = self.model.prefix(image is not None)
            ids.append([*prefix, *one.ids.tolist()])
            own = np.where(one.own, one.ids, -100).tolist()
            labels.append([-100] * len(prefix) + own)
        longest = max(map(len, ids))
        pad = self.model.pad_id
        batch = {
            "input_ids": torch.tensor([one + [pad] * (longest - len(one)) for one in ids]),
            "labels": torch.tensor([one + [-100] * (longest - len(one)) for one in labels]),
            "attention_mask": torch.tensor([[1] * len(o) + [0] * (longest - len(o)) for o in ids]),
        }
        pictures = [open_image(self.folder, image.path) for image, _ in many if image]
        if pictures:
            batch["pixel_values"] = self.model.pixels(pictures)
        words = sum(len(one.ids) for _, one in many)
        self.counter.add(batch["input_ids"], sum(map(len, ids)), words)
        return batch


def usual(model: LoadedModel, by_image: Rows, folder: Path) -> Counter:
    """One epoch of `transformers.Trainer`."""
    data = UsualRows(model, by_image, folder)
    settings = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=ALONE,
        num_train_epochs=1,
        learning_rate=1e-4,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        logging_strategy="no",
        remove_unused_columns=False,
        seed=1,
    )
    model.model.model.vision_tower.requires_grad_(False)
    Trainer(model.model, settings, data_collator=data.collate, train_dataset=data).train()
    return data.counter


class CountingLesson(LlavaLesson):
    """Counts what its batches hold."""

    counter = Counter()

    def batch(self, rows: Any) -> Batch:
        """The usual one, counted."""
        made = super().batch(rows)
        words = int((made.segment_ids > 0).sum())
        self.counter.add(made.input_ids, made.tokens, words)
        return made


def ours(model: LoadedModel, by_image: Rows, folder: Path, order: str, threads: int) -> Counter:
    """One epoch of this project's loop, about as many conversations a step."""
    talks = sum(map(len, by_image.values()))
    plan = Schedule(order=order, epochs=1, images_per_step=1, lr=1e-4, save_every=0)  # type: ignore[arg-type]
    room = CountingLesson(model, plan, folder).room()
    size = max(1, round(ALONE / (talks / order_of(by_image, plan, 1, room).steps)))
    schedule = plan.model_copy(update={"images_per_step": size})
    lesson = CountingLesson(model, schedule, folder)
    lesson.counter = Counter()
    rows_in_order = order_of(by_image, schedule, 1, room)
    train(lesson, rows_in_order, schedule, 1, lambda line: None, threads=threads)
    return lesson.counter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="base")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--order", choices=("packed", "grouped"), default="packed")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    speeds = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = load(args.model, args.threads)
        by_image = rows(model, folder, args.images)
        # Both once before they count: the first passes of a process are slow.
        warm = dict(list(by_image.items())[:4])
        usual(model, warm, folder)
        ours(model, warm, folder, args.order, args.threads)
        for way in ("usual", "ours"):
            started, busy = time.perf_counter(), time.process_time()
            if way == "usual":
                found = usual(model, by_image, folder)
            else:
                found = ours(model, by_image, folder, args.order, args.threads)
            took, worked = time.perf_counter() - started, time.process_time() - busy
            speeds[way] = found.words / worked
            print(
                f"{way:<6} {found.words / took:7.0f} tokens/s   {speeds[way]:7.0f} a CPU second   "
                f"efficiency {found.tokens / found.places:.3f}   {found.places} places"
            )
    print(f"ratio {speeds['ours'] / speeds['usual']:.2f} (by CPU time)")


if __name__ == "__main__":
    main()
