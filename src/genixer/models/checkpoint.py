"""Tensors of a checkpoint on disk, each read when it is asked for.

Files are mapped, not read: what is looked at is the system's to cache and to drop, and takes no
memory of the process.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from genixer.errors import ConfigError

__all__ = ["Checkpoint"]

_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_PATTERNS = ("model.safetensors", "pytorch_model.bin", "model-*.safetensors", "pytorch_model-*.bin")


class Checkpoint:
    """Tensors by name, from safetensors or from torch's files (`.bin`, tensors only, mapped)."""

    def __init__(self, files: list[Path]) -> None:
        """Open `files`; raises `ConfigError` for one that is broken or holds more than tensors."""
        self._get: dict[str, Callable[[], Any]] = {}
        self._file: dict[str, Path] = {}
        for path in files:
            reader = _mapped_safetensors if path.suffix == ".safetensors" else _mapped_torch
            for name, get in reader(path):
                if name in self._get:
                    raise ConfigError(f"{path}: tensor {name!r} is in {self._file[name].name} too")
                self._get[name], self._file[name] = get, path

    @classmethod
    def of(cls, folder: Path) -> Checkpoint:
        """The whole model in `folder`, sharded or not; raises `ConfigError` where there is none."""
        return cls(_model_files(folder))

    def __iter__(self) -> Iterator[str]:
        """Names, in the order of the files."""
        return iter(self._get)

    def __contains__(self, name: object) -> bool:
        """Whether there is a tensor called `name`."""
        return name in self._get

    def get(self, name: str) -> Tensor:
        """The tensor called `name`: a view of the file, not to be written to."""
        value = self._get[name]()
        if not isinstance(value, Tensor):
            raise ConfigError(f"{self.where(name)}: a {type(value).__name__}, not a tensor")
        return value

    def where(self, name: str) -> str:
        """File and name, for people."""
        return f"{self._file[name].name}:{name}"


def _model_files(folder: Path) -> list[Path]:
    for index in (folder / name for name in _INDEXES):
        if index.is_file():
            listed: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            files = [folder / name for name in sorted(set(listed.values()))]
            missing = [path.name for path in files if not path.is_file()]
            if missing:
                raise ConfigError(f"{index} names files that are not there: {', '.join(missing)}")
            return files
    for pattern in _PATTERNS:
        if files := sorted(folder.glob(pattern)):
            return files
    raise ConfigError(f"{folder} holds no weights; looked for {', '.join(_INDEXES + _PATTERNS)}")


def _mapped_safetensors(path: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    try:
        file: Any = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path}: {error}") from error
    # The handle is no mapping: it is asked for its keys by name.
    for name in file.keys():  # noqa: SIM118
        yield name, _getter(file, name)


def _getter(file: Any, name: str) -> Callable[[], Any]:
    return lambda: file.get_tensor(name)


def _mapped_torch(path: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    try:
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, OSError, pickle.UnpicklingError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"{path}: not a file of tensors alone in torch's zip format, and nothing else is read "
            f"from a pickle: {first}"
        ) from error
    if not isinstance(held, Mapping):
        raise ConfigError(f"{path}: holds a {type(held).__name__}, not tensors by name")
    for name in held:
        yield str(name), _holder(held, name)


def _holder(held: Mapping[str, Any], name: str) -> Callable[[], Any]:
    return lambda: held[name]
