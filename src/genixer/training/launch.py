"""Several processes on this machine that work on one training, each a child of this process."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from genixer import errors
from genixer.errors import ConfigError, GenixerError, IncompleteError
from genixer.processes import Child, die_with

__all__ = ["launch"]

Note = Callable[[dict[str, Any]], None]


def launch(target: str, job: object, processes: int, threads: int, note: Note) -> Any:
    """Call `target`, `module:function`, with `job` and a way to note lines, in `processes`.

    A process group is open while they work: `gloo` on CPUs, `nccl` on GPUs, one each. Gives what
    the first process gives; its lines go to `note`. When one process fails all are ended, and its
    error is raised here.
    """
    check_devices(processes)
    with tempfile.TemporaryDirectory(prefix="genixer-") as folder:
        children = [_start(rank, processes, threads, Path(folder)) for rank in range(processes)]
        try:
            for child in children:
                child.connection.send((target, job))
            return _listen(children, note)
        finally:
            for child in children:
                child.close()


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


def _listen(children: list[Child], note: Note) -> Any:
    """Until every child has answered; gives the first one's answer."""
    busy = {rank: child.connection for rank, child in enumerate(children)}
    answer = None
    while busy:
        ready = wait(list(busy.values()))
        for rank, connection in list(busy.items()):
            if connection not in ready:
                continue
            try:
                kind, what = connection.recv()
            except (EOFError, OSError) as error:
                cause = children[rank].cause_of_death()
                raise IncompleteError(f"process {rank} of {len(children)}: {cause}") from error
            if kind == "note":
                note(what)
            elif kind == "failure":
                raise _error(*what)
            else:
                del busy[rank]
                answer = what if rank == 0 else answer
    return answer


def _error(kind: str, message: str, trace: str) -> GenixerError:
    found: GenixerError = getattr(errors, kind, GenixerError)(message)
    found.add_note(trace)
    return found


def serve(connection: int, alive: int, parent: int) -> None:
    """Life of one child: join the others, do the job, answer."""
    import torch
    from torch import distributed

    pipe = die_with(connection, alive, parent)
    target, job = pipe.recv()
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(rank)
    distributed.init_process_group(
        "nccl" if on_gpu else "gloo",
        init_method=f"file://{os.environ['GENIXER_RENDEZVOUS']}",
        rank=rank,
        world_size=world,
    )
    module, _, function = target.partition(":")

    def note(line: dict[str, Any]) -> None:
        if rank == 0:
            pipe.send(("note", line))

    try:
        answer = getattr(import_module(module), function)(job, note)
    except Exception as error:
        pipe.send(("failure", _in_words(error, rank)))
        raise SystemExit(1) from error
    pipe.send(("answer", answer))
    # Whoever leaves first takes the connections of the others along.
    pipe.poll(None)


def _in_words(error: Exception, rank: int) -> tuple[str, str, str]:
    """Class in `genixer.errors`, message and traceback of `error`: what crosses to the parent."""
    kind = type(error).__name__ if hasattr(errors, type(error).__name__) else "GenixerError"
    ours = isinstance(error, GenixerError)
    message = str(error) if ours else f"process {rank}: {type(error).__name__}: {error}"
    return kind, message, traceback.format_exc()
