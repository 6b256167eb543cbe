"""What every pool owes the executor: inline, processes, leases, Ray."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from genixer.config import RayConfig, load_config
from genixer.pipeline.budget import Budget
from genixer.pipeline.executor import Outcome, Pool
from genixer.pipeline.leases import LeasePool
from genixer.pipeline.local import InlinePool, ProcessPool
from genixer.pipeline.plan import PlannedStep, make_plan
from genixer.pipeline.state import Task, look
from genixer.pipeline.work import Failure
from genixer.pipeline.worker import WorkerDied
from genixer.store.leases import LeaseBook
from genixer.store.lock import RunLock
from genixer.store.manifest import Receipt, committed

Write = Callable[..., Path]
KINDS = ["inline", "processes", "leases", pytest.param("ray", marks=pytest.mark.slow)]


@pytest.fixture
def open_pool(tmp_path: Path) -> Iterator[Callable[[str], Pool]]:
    """Opens a pool of two workers by its kind; closes it in the end."""
    (tmp_path / "run").mkdir()
    with RunLock(tmp_path / "run", shared=True, stale_s=1.0) as lock:
        book = LeaseBook(tmp_path / "run", lock.holder, lock.watch, look_s=0.05)
        opened: list[Pool] = []

        def begin(kind: str) -> Pool:
            if kind == "ray":
                from genixer.pipeline.ray import RayPool

                opened.append(RayPool(RayConfig(cpus=0.5), 2, 1))
            elif kind == "leases":
                inner = partial(ProcessPool, 2, 1)
                opened.append(LeasePool(inner, book, 0.05, Budget()))
            else:
                opened.append(InlinePool() if kind == "inline" else ProcessPool(2, 1))
            return opened[-1]

        yield begin
        for pool in opened:
            pool.close()


def tasks_of(step: PlannedStep) -> list[Task]:
    return look(step, {}).tasks()


def do(pool: Pool, tasks: list[Task]) -> list[tuple[Task, Outcome]]:
    """Everything that comes of `tasks`."""
    pending, ended = list(tasks), list[tuple[Task, Outcome]]()
    end = time.monotonic() + 200
    while len(ended) < len(tasks):
        assert time.monotonic() < end, "a task is never given back"
        for task in pool.submit({tasks[0].step.name: pending}):
            pending.remove(task)
        ended += pool.collect(0.5)
    assert list(pool.collect(0.0)) == []
    return ended


@pytest.mark.parametrize("kind", KINDS)
def test_each_task_is_given_back_once_with_what_it_came_to(
    open_pool: Callable[[str], Pool], toy_config: Write, tmp_path: Path, kind: str
) -> None:
    broken = {"stage": "toy_samples", "with": {"sample": "no"}}
    config = load_config(toy_config(total=None, scale=None, broken=broken), ["images=."])
    plan = make_plan(config, tmp_path / "run").by_name
    pool = open_pool(kind)
    for _ in range(2):  # prepare, then the shards
        tasks = tasks_of(plan["numbers"])
        ended = do(pool, tasks)
        assert sorted(task.unit for task, _ in ended) == sorted(task.unit for task in tasks)
        for task, outcome in ended:
            assert isinstance(outcome, Receipt)
            assert outcome == committed(task.step.folder, task.unit, task.basis)
    assert len(tasks) == 8
    do(pool, tasks_of(plan["broken"]))
    [(task, outcome)] = do(pool, tasks_of(plan["broken"]))
    assert isinstance(outcome, Failure)
    assert "shard 0" in outcome.message
    assert committed(task.step.folder, task.unit, task.basis) is None


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_task_whose_worker_dies_is_given_back_and_others_go_on(
    open_pool: Callable[[str], Pool], toy_config: Write, tmp_path: Path, kind: str
) -> None:
    scale = {"stage": "toy_scale", "with": {"mode": "dies", "flag": "."}}
    config = load_config(toy_config(total=None, scale=scale), ["images=."])
    plan = make_plan(config, tmp_path / "run").by_name
    pool = open_pool(kind)
    do(pool, tasks_of(plan["numbers"]))
    dying = Task(plan["scale"], "00000", "basis", 0, 0)
    [(task, outcome)] = do(pool, [dying])
    assert task.unit == dying.unit
    assert isinstance(outcome, WorkerDied)
    assert all(isinstance(one, Receipt) for _, one in do(pool, tasks_of(plan["numbers"])))
    assert isinstance(do(pool, [dying])[0][1], WorkerDied)
