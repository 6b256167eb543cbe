"""The small JSON files beside a model's weights: configs, indexes, lists of tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from genixer.errors import ConfigError

__all__ = ["listed_files", "read_object"]


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; raises `ConfigError` where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: holds a {type(found).__name__}, not an object")
    return found


def listed_files(index: Path) -> list[Path]:
    """Weight files that `index` names, each once; raises `ConfigError` where one is not there."""
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ConfigError(f"{index}: has no weight_map, so it is no index of weights")
    files = [index.parent / str(name) for name in sorted(set(map(str, places.values())))]
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise ConfigError(f"{index} names files that are not there: {', '.join(missing)}")
    return files
