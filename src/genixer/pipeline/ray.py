"""Tasks done by Ray actors, on the nodes of a cluster that see the run folder by the same path.

Ray places the actors, starts lost ones again and asks for nodes where its autoscaler may add some.
What is left for this file: as many actors as there is work for, one task at a time for each, and
whether a task or its node is to blame when an actor ends.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genixer.config import RayConfig
from genixer.errors import ConfigError, IncompleteError
from genixer.pipeline.executor import Claim, Outcome, everything
from genixer.pipeline.local import first_claimed
from genixer.pipeline.state import Task
from genixer.pipeline.work import Failure, TaskFailed, Workbench
from genixer.pipeline.worker import WorkerDied, WorkerLost
from genixer.processes import THREAD_SETTINGS
from genixer.store.manifest import Receipt

# Before the import: nothing is told to anybody, and a cluster of this machine alone, which is
# started where no other one is named, can be reached from this machine alone.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
if not os.environ.get("RAY_ADDRESS"):
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as error:
    raise ConfigError("executor ray needs Ray: pip install 'genixer[ray]'") from error

__all__ = ["RayPool"]

log = logging.getLogger(__name__)

_TICK_S = 0.5
"""Seconds between two looks at nodes that may have gone."""


class Bench:
    """The life of an actor: it keeps the models it loaded between tasks."""

    def __init__(self, threads: int, folder: str) -> None:
        """Work in `folder`, where the driver works, with `threads` compute threads."""
        os.environ.update(dict.fromkeys(THREAD_SETTINGS, str(threads)))
        if Path(folder).is_dir():
            os.chdir(folder)
        self._bench = Workbench()
        self._lines = _Lines()
        root = logging.getLogger()
        root.handlers[:] = [self._lines]
        logging.getLogger("genixer").setLevel(logging.INFO)

    def node(self) -> str:
        """Id of the node it runs on."""
        return str(ray.get_runtime_context().get_node_id())

    def perform(self, task: Task) -> tuple[Receipt | Failure, list[tuple[str, int, str]]]:
        """Do `task`; the answer, and what was logged."""
        try:
            answer: Receipt | Failure = self._bench.perform(task)
        except TaskFailed as failed:
            answer = failed.failure
        lines, self._lines.lines = self._lines.lines, []
        return answer, lines


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.name, record.levelno, self.format(record)))


@dataclass(eq=False)
class _Actor:
    """The driver's end of one actor."""

    handle: Any
    ready: Any
    """Answers with its node as soon as it runs, also after Ray started it again."""
    node: str = ""
    task: Task | None = None
    answer: Any = None
    cause: str = ""
    """Why its task ended without an answer, while it is not known who is to blame."""
    step: str = ""
    idle_since_s: float = field(default_factory=time.monotonic)


class RayPool:
    """Actors on a cluster, between `min_actors` and `max_actors` as there is work."""

    def __init__(
        self, config: RayConfig, workers: int, threads: int, claim: Claim = everything
    ) -> None:
        """Join the cluster; `workers` actors of `threads` compute threads at most, by default."""
        self._config, self._threads, self._claim = config, threads, claim
        self._most = max(config.max_actors or workers, config.min_actors)
        self._actors: list[_Actor] = []
        self._joined = _join(config, self._most)
        self._kind = ray.remote(
            num_cpus=config.cpus,
            num_gpus=config.gpus,
            resources=config.resources,
            max_restarts=-1,
            max_task_retries=0,
        )(Bench)

    def submit(self, pending: Mapping[str, list[Task]]) -> list[Task]:
        """Give every idle actor a task, of the step it has loaded if there is one."""
        left = {name: list(tasks) for name, tasks in pending.items() if tasks}
        self._scale(sum(map(len, left.values())))
        idle = [one for one in self._actors if one.node and one.task is None]
        idle.sort(key=lambda one: one.step not in left)
        sent: list[Task] = []
        while left and idle:
            name = idle[0].step if idle[0].step in left else next(iter(left))
            task = first_claimed(left, name, self._claim)
            if task is not None:
                actor = idle.pop(0)
                actor.task, actor.step = task, name
                actor.answer = actor.handle.perform.remote(task)
                sent.append(task)
        return sent

    def collect(self, timeout_s: float | None = None) -> Iterator[tuple[Task, Outcome]]:
        """Wait for an answer, for an actor that is ready, or for news of a lost one."""
        waiting = [ref for one in self._actors for ref in (one.answer, one.ready) if ref]
        if not waiting:
            return
        lost = [one for one in self._actors if one.cause]
        wait_s = _TICK_S if lost else timeout_s
        try:
            ended, _ = ray.wait(waiting, num_returns=1, timeout=wait_s)
            alive = _nodes_alive() if lost else set()
        except RayError as error:
            raise IncompleteError(
                f"the Ray cluster is gone: {_first_line(error)}; run the same command again"
            ) from error
        for actor in self._actors:
            if actor.answer in ended:
                yield from self._answered(actor)
            if actor.ready in ended:
                yield from self._started(actor)
            elif actor in lost and actor.node not in alive:
                yield self._given_back(actor, WorkerLost(f"its node is gone ({actor.cause})"))

    def close(self) -> None:
        """End all actors."""
        for actor in self._actors:
            ray.kill(actor.handle)
        self._actors.clear()
        if self._joined:
            ray.shutdown()

    def _scale(self, pending: int) -> None:
        """Ask for an actor more a pending task, and let those go that have had none for long."""
        busy = sum(one.task is not None for one in self._actors)
        wanted = min(self._most, max(self._config.min_actors, busy + pending))
        while len(self._actors) < wanted:
            handle: Any = self._kind.remote(self._threads, str(Path.cwd()))
            self._actors.append(_Actor(handle, handle.node.options(max_task_retries=-1).remote()))
        before_s = time.monotonic() - self._config.idle_s
        for one in reversed(self._actors):
            if len(self._actors) > wanted and one.task is None and one.idle_since_s < before_s:
                ray.kill(one.handle)
                self._actors.remove(one)

    def _answered(self, actor: _Actor) -> Iterator[tuple[Task, Outcome]]:
        try:
            answer, lines = ray.get(actor.answer)
        except RayTaskError as error:
            raise IncompleteError(f"{actor.task}: {_first_line(error)}") from error
        except RayError as error:
            # Dead, out of memory, or its answer lost with its node. Ray starts it again; where that
            # is tells whether its node is alive.
            actor.answer, actor.cause = None, _first_line(error)
            actor.ready = actor.handle.node.options(max_task_retries=-1).remote()
            return
        for name, level, message in lines:
            logging.getLogger(name).log(level, "%s", message)
        actor.answer = None
        yield self._given_back(actor, answer)

    def _started(self, actor: _Actor) -> Iterator[tuple[Task, Outcome]]:
        """An actor runs, for the first time or again."""
        before = actor.node
        try:
            actor.node = ray.get(actor.ready)
        except RayError as error:
            raise IncompleteError(f"an actor cannot start: {_first_line(error)}") from error
        actor.ready = None
        if actor.cause:
            lost = before not in _nodes_alive()
            yield self._given_back(actor, (WorkerLost if lost else WorkerDied)(actor.cause))

    def _given_back(self, actor: _Actor, outcome: Outcome) -> tuple[Task, Outcome]:
        task = actor.task
        actor.task, actor.cause, actor.idle_since_s = None, "", time.monotonic()
        if actor.ready is not None:
            actor.node, actor.step = "", ""
        if task is None:
            raise IncompleteError("an actor answered that had no task")
        return task, outcome


def _join(config: RayConfig, actors: int) -> bool:
    """Connect to the cluster, or start one here; False where somebody has connected already."""
    if ray.is_initialized():
        return False
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        cpus = max(1, math.ceil(config.cpus * actors))
        own = {name: amount * actors for name, amount in config.resources.items()}
        options.update(num_cpus=cpus, resources=own, include_dashboard=False)
    try:
        ray.init(address=address or "local", **options)
    except (RayError, ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"ray.address {address or 'local'}: {_first_line(error)}; "
            "start Ray on this machine, or leave the address out"
        ) from error
    return True


def _nodes_alive() -> set[str]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return {str(node["NodeID"]) for node in nodes if node["Alive"]}


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
