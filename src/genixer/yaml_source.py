"""YAML with line numbers: safe types only, duplicate keys refused, places remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from genixer.errors import ConfigError

__all__ = ["Key", "YamlSource", "read_yaml"]

Key = str | int
"""One step of a path into a config: a key of a mapping, a position in a list."""


class YamlSource:
    """Where the keys of a config were written.

    >>> YamlSource("demo.yaml", {("seed",): 2}).where(("seed",))
    'demo.yaml:2: seed'
    """

    def __init__(self, name: str, lines: dict[tuple[Key, ...], int]) -> None:
        """Remember the `name` of the file and the 1-based line of every path in it."""
        self.name, self._lines = name, lines
        self._overridden: set[tuple[Key, ...]] = set()
        self._grafts: dict[tuple[Key, ...], YamlSource] = {}

    def override(self, path: tuple[Key, ...]) -> None:
        """Note that `path` was given as `key=value`, not in the file."""
        self._overridden.add(path)

    def graft(self, path: tuple[Key, ...], source: YamlSource) -> None:
        """Note that all below `path` was written in another file, at the same path."""
        self._grafts[path] = source

    def where(self, path: tuple[Key, ...]) -> str:
        """Place of `path`, or of the nearest key above it that was written down."""
        dotted = ".".join(str(key) for key in path)
        for length in range(len(path), 0, -1):
            if path[:length] in self._overridden:
                return f"override {dotted}"
            if path[:length] in self._grafts:
                return self._grafts[path[:length]].where(path)
            if path[:length] in self._lines:
                return f"{self.name}:{self._lines[path[:length]]}: {dotted}"
        return f"{self.name}: {dotted}" if dotted else self.name


def read_yaml(path: Path) -> tuple[dict[str, Any], YamlSource]:
    """Mapping in the file at `path` and where its keys stand; `ConfigError` names the line."""
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[tuple[Key, ...], int] = {}
        if node is not None:
            _walk(node, (), lines, str(path), [], set())
        value = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{path}{line}: not YAML: {problem}") from error
    if not isinstance(value, dict):
        raise ConfigError(
            f"{path}: expected keys such as name and steps, got {type(value).__name__}"
        )
    return value, YamlSource(str(path), lines)


def _walk(
    node: yaml.Node,
    path: tuple[Key, ...],
    lines: dict[tuple[Key, ...], int],
    file: str,
    above: list[int],
    seen: set[int],
) -> None:
    """Collect the lines of all keys below `node`; aliased nodes once, lest aliases explode."""
    if id(node) in above:
        raise ConfigError(f"{file}:{node.start_mark.line + 1}: an alias refers to itself")
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for name, child in _children(node, file):
            lines[(*path, name)] = child[0]
            _walk(child[1], (*path, name), lines, file, [*above, id(node)], seen)
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            lines[(*path, position)] = item.start_mark.line + 1
            _walk(item, (*path, position), lines, file, [*above, id(node)], seen)


def _children(node: yaml.MappingNode, file: str) -> list[tuple[str, tuple[int, yaml.Node]]]:
    """Keys of one mapping with line and value; raises for keys that are not text or stand twice."""
    found: dict[str, tuple[int, yaml.Node]] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.tag == "tag:yaml.org,2002:merge":
            continue
        if key.tag != "tag:yaml.org,2002:str":
            raise ConfigError(f"{file}:{line}: key {key.value!r} is not text; put it in quotes")
        if key.value in found:
            raise ConfigError(
                f"{file}:{line}: key {key.value!r} stands twice, "
                f"first in line {found[key.value][0]}"
            )
        found[key.value] = (line, value)
    return list(found.items())
