"""Checkpoints from which a killed training goes on as if nothing had happened.

A checkpoint is a folder: the tensors each process holds (`rank-0.safetensors`), and `state.json`
with the step, the log so far and the digests of the others. It is written aside, synced and
renamed; older ones go only when it is safe. There is no random state to keep: order and dropout
depend on seed and step alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from genixer.errors import StoreError
from genixer.store.disk import digest_file, full_disk, sync_folder
from genixer.training.parallel import Together, local

__all__ = ["Checkpoints", "Saved", "load_tensors", "tensors_of"]

_NAME = "step-"


class Saved(NamedTuple):
    """A checkpoint that was read: this process's tensors, and what all share."""

    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one training, in a folder of their own."""

    def __init__(self, folder: Path, keep: int, together: Together, sharded: bool = False) -> None:
        """Keep the newest `keep` in `folder`; where nothing is `sharded` one process writes."""
        self._folder, self._keep, self._together = folder, keep, together
        self._writes = sharded or together.rank == 0
        self._file = f"rank-{together.rank if sharded else 0}.safetensors"

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Write a checkpoint of `step`; all processes call it.

        Raises `StoreError` on a full disk; the checkpoint before is untouched then.
        """
        target = self._folder / f"{_NAME}{step:08d}"
        aside = self._folder / f".{target.name}"
        if self._together.rank == 0:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
        self._together.wait()
        digest = ""
        if self._writes:
            digest = _write_tensors(aside / self._file, tensors)
        digests = {n: d for n, d in self._together.gather((self._file, digest)) if d}
        if self._together.rank == 0:
            whole = {"step": step, "world": self._together.world, "files": digests, **state}
            _write(aside / "state.json", json.dumps(whole).encode())
            sync_folder(aside)
            shutil.rmtree(target, ignore_errors=True)
            aside.replace(target)
            sync_folder(self._folder)
            for old in self._there()[self._keep :]:
                shutil.rmtree(old)
        self._together.wait()

    def latest(self) -> Saved | None:
        """The newest checkpoint that is whole, for all processes the same; None if there is none.

        Raises `StoreError` where it was written by another number of processes.
        """
        from safetensors.torch import load_file

        if not self._folder.is_dir():
            return None
        for folder in self._there():
            state = self._state(folder)
            if state is not None and state["world"] != self._together.world:
                raise StoreError(
                    f"{folder}: written by {state['world']} processes, now there are "
                    f"{self._together.world}; go on with as many, or remove it"
                )
            good = state is not None and digest_of(folder / self._file) == state["files"].get(
                self._file
            )
            if all(self._together.gather(good)) and state is not None:
                return Saved(state["step"], load_file(folder / self._file), state)
        return None

    def _there(self) -> list[Path]:
        """Folders of checkpoints, newest first."""
        return sorted(self._folder.glob(f"{_NAME}*"), reverse=True)

    def _state(self, folder: Path) -> dict[str, Any] | None:
        try:
            state: dict[str, Any] = json.loads((folder / "state.json").read_bytes())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return state


def digest_of(path: Path) -> str:
    """Digest of a file; empty where there is none."""
    return digest_file(path)[0] if path.is_file() else ""


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    whole = {k: local(v).detach().cpu().contiguous() for k, v in tensors.items()}
    needed = sum(one.numel() * one.element_size() for one in whole.values())
    with full_disk(path, needed):
        try:
            save_file(whole, path)
        except SafetensorError as error:
            raise _as_os_error(error) from error
        with path.open("rb") as file:
            os.fsync(file.fileno())
    return digest_file(path)[0]


def _as_os_error(error: Exception) -> Exception:
    """The system's error that `error` tells of in words, if it does."""
    match = re.search(r"os error (\d+)", str(error))
    return OSError(int(match[1]), os.strerror(int(match[1]))) if match else error


def _write(path: Path, data: bytes) -> None:
    with full_disk(path, len(data)), path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def tensors_of(
    network: nn.Module, optimisers: Sequence[torch.optim.Optimizer]
) -> dict[str, Tensor]:
    """Everything that training changes: weights that move, buffers, and the optimisers' memory."""
    found = {f"weight.{n}": p.data for n, p in network.named_parameters() if p.requires_grad}
    # Buffers of some models share their memory, which a file of tensors cannot.
    found.update((f"buffer.{n}", b.clone()) for n, b in network.named_buffers())
    for number, optimiser in enumerate(optimisers):
        for place, parameter in enumerate(_parameters(optimiser)):
            for name, value in optimiser.state[parameter].items():
                found[f"optimiser.{number}.{place}.{name}"] = value
    return found


def load_tensors(
    network: nn.Module, optimisers: Sequence[torch.optim.Optimizer], tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `tensors_of` gave."""
    parameters, buffers = dict(network.named_parameters()), dict(network.named_buffers())
    memory: dict[tuple[int, int], dict[str, Tensor]] = {}
    with torch.no_grad():
        for key, value in tensors.items():
            kind, _, name = key.partition(".")
            if kind == "optimiser":
                number, place, name = name.split(".", 2)
                memory.setdefault((int(number), int(place)), {})[name] = value
            else:
                target = parameters[name] if kind == "weight" else buffers[name]
                local(target).copy_(value)
    for (which, index), values in memory.items():
        parameter = _parameters(optimisers[which])[index]
        state = optimisers[which].state[parameter]
        for name, value in values.items():
            state[name] = _like(parameter, value)


def _parameters(optimiser: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [p for group in optimiser.param_groups for p in group["params"]]


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """`value` where and how `parameter` is; what is no memory of its elements stays as it is."""
    from torch.distributed.tensor import DTensor

    if value.shape != local(parameter).shape or value.ndim == 0:
        return value
    value = value.to(parameter.device)
    if not isinstance(parameter, DTensor):
        return value
    return DTensor.from_local(
        value,
        parameter.device_mesh,
        parameter.placements,
        shape=parameter.shape,
        stride=parameter.stride(),
    )
