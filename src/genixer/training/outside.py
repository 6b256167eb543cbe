"""Processes that a launcher from outside started: `torchrun`, `accelerate launch`, a cluster's own.

The first of them does the run; it alone has lock, store and log. The others wait, join the
trainings that it opens, and leave when it is done. They speak through the store of keys at
`MASTER_ADDR:MASTER_PORT`, where such launchers let processes meet.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genixer.errors import ConfigError, IncompleteError
from genixer.processes import Child

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

__all__ = ["Outside", "Training", "run_together"]

log = logging.getLogger(__name__)

Failure = tuple[str, str, str]
"""Class in `genixer.errors`, message and traceback of an error in another process."""

_NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_PAUSE_S = 0.1
_FAREWELL_S = 10.0


class Outside:
    """The processes that were started together, as one of them sees them."""

    def __init__(self, rank: int, world: int, local_world: int) -> None:
        """Process `rank` of `world`, of which `local_world` are on this machine."""
        self.rank, self.world, self.local_world = rank, world, local_world

    @classmethod
    def here(cls) -> Outside | None:
        """By the environment; None in a process that was started alone."""
        rank, world, *_ = (os.environ.get(name, "") for name in _NAMES)
        if not all(os.environ.get(name) for name in _NAMES) or int(world) < 2:
            return None
        return cls(int(rank), int(world), int(os.environ.get("LOCAL_WORLD_SIZE", "1")))

    def store(self, prefix: str = "", host: bool = False) -> Store:
        """Keys that all processes share; `host`: kept by this process, if not by the launcher."""
        from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

        ours = host and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        place, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(place, port, is_master=ours, wait_for_workers=False)
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return PrefixStore(f"genixer/{attempt}/{prefix}", store)

    def check(self, processes: int) -> None:
        """Raise `ConfigError` where a training wants another number of processes."""
        if processes != self.world:
            raise ConfigError(
                f"processes: {processes}, but {self.world} were started; set "
                f"processes={self.world}, or start as many"
            )

    @contextmanager
    def training(self, threads: int, folder: Path) -> Iterator[Training]:
        """Open a training; the first process calls it, the others join one after the other."""
        store = self.store()
        number = store.add("trainings", 1)
        store.set(f"{number}/begin", json.dumps({"threads": threads, "folder": str(folder)}))
        try:
            while store.add(f"{number}/ready", 0) < self.world - 1:
                time.sleep(_PAUSE_S)
            yield Training(store, number, self.world)
        finally:
            store.set(f"{number}/end", "")

    def join(self) -> None:
        """Life of a process that is not the first: one training after the other, until it is over.

        Raises `IncompleteError` when the first process is gone.
        """
        from torch.distributed import DistNetworkError

        try:
            store = self.store()
            for number in count(1):
                while not store.check([f"{number}/begin"]):
                    if store.check(["over"]):
                        store.add("left", 1)
                        return
                    time.sleep(_PAUSE_S)
                self._take_part(store, number, **json.loads(store.get(f"{number}/begin")))
        except DistNetworkError as error:
            raise IncompleteError(f"process {self.rank}: the first process is gone") from error

    def _take_part(self, store: Store, number: int, threads: int, folder: str) -> None:
        store.add(f"{number}/ready", 1)
        training = Training(store, number, self.world)
        if not Path(folder).is_dir():
            where = f"process {self.rank} on {os.uname().nodename}"
            training.fail(("ConfigError", f"{where} does not see {folder}: share it", ""))
            return
        child = training.child(threads)
        try:
            answered = False
            while not training.ended():
                if answered or not child.connection.poll(_PAUSE_S):
                    time.sleep(_PAUSE_S * answered)
                    continue
                answered = True
                training.take(self._answer(child))
        finally:
            child.close()

    def _answer(self, child: Child) -> Failure | None:
        try:
            kind, what = child.connection.recv()
        except (EOFError, OSError):
            cause = f"process {self.rank} of {self.world}: {child.cause_of_death()}"
            return "IncompleteError", cause, ""
        return what if kind == "failure" else None


class Training:
    """One training of all processes, by what they say of it in their store."""

    def __init__(self, store: Store, number: int, world: int) -> None:
        """Training `number` (from 1) of `world` processes."""
        self._store, self._number, self.world = store, number, world

    def child(self, threads: int) -> Child:
        """A process for this machine's part: fresh, so that nothing is left over between two."""
        return Child(
            "genixer.training.launch:serve", threads, {"GENIXER_TRAINING": str(self._number)}
        )

    def take(self, failure: Failure | None) -> None:
        """Tell the first process how this one's part ended."""
        if failure is not None:
            self.fail(failure)
        self._store.add(f"{self._number}/answers", 1)

    def fail(self, failure: Failure) -> None:
        """Tell the first process of an error; the first one told is the training's."""
        self._store.compare_set(f"{self._number}/failure", "", json.dumps(failure))

    def failure(self) -> Failure | None:
        """An error in another process."""
        if not self._store.check([f"{self._number}/failure"]):
            return None
        kind, message, trace = json.loads(self._store.get(f"{self._number}/failure"))
        return kind, message, trace

    def answered(self) -> bool:
        """Whether all other processes are done."""
        return self._store.add(f"{self._number}/answers", 0) == self.world - 1

    def ended(self) -> bool:
        """Whether the first process has closed it."""
        return self._store.check([f"{self._number}/end"])


def run_together(work: Callable[[], Any]) -> None:
    """Call `work` in the first process, and join its trainings in the others."""
    outside = Outside.here()
    if outside is None:
        work()
    elif outside.rank:
        outside.join()
    else:
        store = outside.store(host=True)
        try:
            work()
        finally:
            store.set("over", "")
            end = time.monotonic() + _FAREWELL_S
            while store.add("left", 0) < outside.world - 1 and time.monotonic() < end:
                time.sleep(_PAUSE_S)
