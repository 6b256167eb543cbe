"""Several processes that work on one training, each a child of a process that does nothing else.

On one machine all are children of this one; where a launcher from outside started several
processes, each of these has one.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genixer import errors
from genixer.errors import ConfigError, GenixerError, IncompleteError
from genixer.processes import Child, die_with
from genixer.training.outside import Outside, Training

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

__all__ = ["launch"]

Note = Callable[[dict[str, Any]], None]


_PAUSE_S = 0.1
_LOST = r"Connection (closed|reset) by peer|Broken pipe|remote process exited"
_GRACE_S = 5.0
"""How long a process that lost another keeps quiet: what happened to that one is the news."""


def launch(target: str, job: object, processes: int, threads: int, note: Note, folder: Path) -> Any:
    """Call `target`, `module:function`, with `job` and a way to note lines, in `processes`.

    A process group is open while they work: `gloo` on CPUs, `nccl` on GPUs, one each. Gives what
    the first process gives; its lines go to `note`. When one process fails all are ended, and its
    error is raised here. Those of other machines must see `folder`, where `job` lies.
    """
    outside = Outside.here()
    check_devices(outside.local_world if outside else processes)
    if outside is not None:
        outside.check(processes)
        with outside.training(threads, folder) as training:
            return _work([training.child(threads)], (target, job), note, training)
    with tempfile.TemporaryDirectory(prefix="genixer-") as meeting:
        children = [_start(rank, processes, threads, Path(meeting)) for rank in range(processes)]
        return _work(children, (target, job), note, None)


def check_devices(processes: int) -> None:
    """Raise `ConfigError` where a machine with GPUs has fewer than `processes`."""
    import torch

    there = torch.cuda.device_count()
    if there and there < processes:
        raise ConfigError(f"processes: {processes}, but this machine has {there} GPUs")


def _start(rank: int, processes: int, threads: int, folder: Path) -> Child:
    environment = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "GENIXER_RENDEZVOUS": str(folder / "rendezvous"),
    }
    return Child("genixer.training.launch:serve", threads, environment)


def _work(
    children: list[Child], work: tuple[str, object], note: Note, others: Training | None
) -> Any:
    """Give the first child the `work`, which it hands on; gives its answer when all are done."""
    try:
        children[0].connection.send(work)
        answer = _listen(children, note, others)
        while others is not None and not others.answered():
            _raise_failure(others)
            time.sleep(_PAUSE_S)
        return answer
    finally:
        for child in children:
            child.close()


def _listen(children: list[Child], note: Note, others: Training | None) -> Any:
    """Until every child has answered; gives the first one's answer."""
    busy = {rank: child.connection for rank, child in enumerate(children)}
    answer = None
    while busy:
        _raise_failure(others)
        ready = wait(list(busy.values()), None if others is None else _PAUSE_S)
        for rank, connection in list(busy.items()):
            if connection not in ready:
                continue
            try:
                kind, what = connection.recv()
            except (EOFError, OSError) as error:
                cause = children[rank].cause_of_death()
                world = len(children) if others is None else others.world
                raise IncompleteError(f"process {rank} of {world}: {cause}") from error
            if kind == "note":
                note(what)
            elif kind == "failure":
                raise _error(*what)
            else:
                del busy[rank]
                answer = what if rank == 0 else answer
    return answer


def _raise_failure(others: Training | None) -> None:
    failure = others.failure() if others is not None else None
    if failure is not None:
        raise _error(*failure)


def _error(kind: str, message: str, trace: str) -> GenixerError:
    found: GenixerError = getattr(errors, kind, GenixerError)(message)
    found.add_note(trace)
    return found


def serve(connection: int, alive: int, parent: int) -> None:
    """Life of one child: join the others, do the job, answer."""
    import torch
    from torch import distributed

    pipe = die_with(connection, alive, parent)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        # Some clusters show each process its own GPU alone.
        place = int(os.environ.get("LOCAL_RANK", rank))
        torch.cuda.set_device(place % torch.cuda.device_count())

    def note(line: dict[str, Any]) -> None:
        if rank == 0:
            pipe.send(("note", line))

    try:
        backend = "nccl" if on_gpu else "gloo"
        distributed.init_process_group(backend, store=_meeting(world), rank=rank, world_size=world)
        work: list[Any] = [pipe.recv() if rank == 0 else None]
        distributed.broadcast_object_list(work, src=0)
        target, job = work[0]
        module, _, function = target.partition(":")
        answer = getattr(import_module(module), function)(job, note)
    except Exception as error:
        if _is_echo(error):
            time.sleep(_GRACE_S)
        pipe.send(("failure", _in_words(error, rank)))
        raise SystemExit(1) from error
    pipe.send(("answer", answer))
    # Whoever leaves first takes the connections of the others along.
    pipe.poll(None)


def _meeting(world: int) -> Store:
    """Where the processes of a training find each other."""
    from torch.distributed import FileStore  # type: ignore[attr-defined]

    outside = Outside.here() if "GENIXER_TRAINING" in os.environ else None
    if outside is not None:
        return outside.store(f"{os.environ['GENIXER_TRAINING']}/")
    return FileStore(os.environ["GENIXER_RENDEZVOUS"], world)


def _is_echo(error: Exception) -> bool:
    """Whether `error` tells no more than that another process is gone.

    >>> _is_echo(RuntimeError("[pair.cc:534] Connection closed by peer [127.0.0.1]:4242"))
    True
    """
    return isinstance(error, RuntimeError) and bool(re.search(_LOST, str(error)))


def _in_words(error: Exception, rank: int) -> tuple[str, str, str]:
    """Class in `genixer.errors`, message and traceback of `error`: what crosses to the parent."""
    kind = type(error).__name__ if hasattr(errors, type(error).__name__) else "GenixerError"
    ours = isinstance(error, GenixerError)
    message = str(error) if ours else f"process {rank}: {type(error).__name__}: {error}"
    return kind, message, traceback.format_exc()
