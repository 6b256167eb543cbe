"""Where the log of a training goes while it trains: files, or the programs that draw curves."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import msgspec

from genixer.errors import ConfigError

__all__ = ["Trackers"]

log = logging.getLogger(__name__)
_PAUSE_S = 30.0
"""Between two lines that people see."""


class Trackers:
    """Tells every line of the log to files below `folder`, to trackers, and to people at times."""

    def __init__(self, names: Sequence[str], folder: Path, step: str) -> None:
        """Open the trackers called `names`; `step` is what they call the training."""
        self._step, self._told = step, time.monotonic()
        self._file: TextIO | None = None
        if names:
            folder.mkdir(parents=True, exist_ok=True)
        if "jsonl" in names:
            self._file = (folder / "log.jsonl").open("w", encoding="utf-8")
        self._trackers = [_open(name, folder, step) for name in names if name != "jsonl"]

    def __enter__(self) -> Trackers:
        """Ready."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        if self._file is not None:
            self._file.close()
        for tracker in self._trackers:
            tracker.finish()

    def tell(self, line: dict[str, Any]) -> None:
        """Pass on one line; its numbers are drawn over its step."""
        if self._file is not None:
            self._file.write(msgspec.json.encode(line).decode() + "\n")
            self._file.flush()
        phase = line.get("phase", "")
        numbers = {
            f"{phase}/{key}".strip("/"): value
            for key, value in line.items()
            if key != "step" and not isinstance(value, str)
        }
        for tracker in self._trackers:
            tracker.log(numbers, step=line["step"])
        if time.monotonic() - self._told > _PAUSE_S:
            self._told = time.monotonic()
            log.info("%s: %s", self._step, ", ".join(f"{k} {v:g}" for k, v in numbers.items()))


def _open(name: str, folder: Path, step: str) -> Any:
    """One of accelerate's trackers, for use by this process alone."""
    from accelerate import PartialState, tracking

    PartialState()  # the trackers ask it which process they are in
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "tensorboard": (tracking.TensorBoardTracker, {"logging_dir": folder}),
        "wandb": (tracking.WandBTracker, {"mode": "offline", "dir": str(folder)}),
        "trackio": (tracking.TrackioTracker, {}),
    }
    kind, settings = kinds[name]
    try:
        tracker = kind(step, **settings)
        tracker.start()
    except ImportError as error:
        raise ConfigError(f"track: {name} is not installed: pip install {name}") from error
    return tracker
