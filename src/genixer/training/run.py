"""The training loop: gradients, a step, a line in the log, now and then a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import torch

from genixer.training.adapters import choose_trainable
from genixer.training.checkpoint import Checkpoints, load_tensors, tensors_of
from genixer.training.gradients import Gradients
from genixer.training.lesson import Learner, Lesson
from genixer.training.loader import ahead
from genixer.training.log import History
from genixer.training.optimisers import optimisers_of, rates, set_rates
from genixer.training.order import Order
from genixer.training.parallel import Together, shard
from genixer.training.schedule import Parallel, Schedule, rate

__all__ = ["train"]


def train(
    lesson: Lesson[Any],
    order: Order,
    schedule: Schedule,
    seed: int,
    log: Callable[[dict[str, Any]], None],
    *,
    threads: int = 1,
    together: Together | None = None,
    checkpoints: Checkpoints | None = None,
    parallel: Parallel = "ddp",
) -> None:
    """Train the network of `lesson` in place, on rows in `order`; `log` gets a line now and then.

    Deterministic: same arguments, same weights, whether it was killed and went on from one of its
    `checkpoints` or not. `parallel` says how the weights are cut among the processes that are
    `together`. Raises `BadLossError` at the first loss that is not a number, before it reaches the
    weights.
    """
    sharded = parallel != "ddp"
    torch.set_num_threads(threads)
    together = together or Together()
    learner = Learner(lesson)
    learner.train()
    choose_trainable(lesson, schedule)
    gradients = Gradients(learner, lesson, schedule, together, seed, threads, sharded)
    if sharded:
        shard(learner, lesson, together, gradients.dtype, let_go=parallel != "zero2")
        gradients.parameters = [p for p in learner.parameters() if p.requires_grad]
    else:
        learner.to(together.device)
    optimisers = optimisers_of(lesson, schedule)
    history = History(order.steps, log)
    saved = checkpoints.latest() if checkpoints else None
    done = 0
    if saved is not None:
        load_tensors(learner, optimisers, saved.tensors)
        gradients.scale.value, gradients.scale.good = saved.state["scale"]
        history.go_on(saved.state["history"])
        done = saved.step
    cut = partial(gradients.cut, made=schedule.loaders > 0)
    works = ahead(order.batches(done), cut, schedule.loaders)
    with lesson.ready(), gradients, closing(works):
        for step, work in enumerate(works, start=done + 1):
            found = gradients.compute(work, step)
            set_rates(optimisers, rate(step, schedule, order.steps))
            if gradients.clip(work, step):
                gradients.move(optimisers)
            history.add(step, found, rates(optimisers))
            if checkpoints and _due(step, schedule.save_every, order.steps):
                scale = (gradients.scale.value, gradients.scale.good)
                state = {"scale": scale, "history": history.state()}
                checkpoints.save(step, tensors_of(learner, optimisers), state)
    learner.eval()


def _due(step: int, every: int, steps: int) -> bool:
    """Whether a checkpoint is due; none is at the end, where the weights themselves are written."""
    return every > 0 and step % every == 0 and step < steps
