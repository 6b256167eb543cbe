"""From steps as written to steps that run: matrices spread out, names resolved, in order."""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from genixer.config import NAME, RunConfig, StepConfig
from genixer.errors import ConfigError, near

__all__ = ["Node", "expand", "in_order", "references"]


@dataclass(frozen=True)
class Node:
    """One step after the matrix: `written` is the key in the config it comes from."""

    name: str
    written: str
    stage: str
    settings: dict[str, Any]
    sources: dict[str, tuple[str, ...]]
    """Steps whose rows it reads, by role, globs resolved."""
    rows_per_shard: int | None


def expand(config: RunConfig) -> list[Node]:
    """All steps of `config`, matrices spread out, in the order they were written."""
    drafts = [
        (name, written, values, step)
        for written, step in config.steps.items()
        for name, values in _spread(written, step, config)
    ]
    names = [name for name, *_ in drafts]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"{config.where('steps')}: two steps come out as {name!r}; rename one"
            )
    return [
        Node(
            name,
            written,
            step.stage,
            _fill(step.with_, values),
            {
                role: _resolve(
                    name, written, role, [_fill(one, values) for one in many], names, config
                )
                for role, many in step.from_.items()
            },
            step.rows_per_shard,
        )
        for name, written, values, step in drafts
    ]


def _spread(
    written: str, step: StepConfig, config: RunConfig
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and matrix values of every variant; one variant when there is no matrix."""
    for combination in itertools.product(*step.matrix.values()):
        values = dict(zip(step.matrix, combination, strict=True))
        name = "-".join([written, *map(str, combination)])
        if not NAME.fullmatch(name):
            where = config.where("steps", written, "matrix")
            raise ConfigError(f"{where}: step name {name!r} would not do as a folder name")
        yield name, values
    if not all(step.matrix.values()):
        raise ConfigError(f"{config.where('steps', written, 'matrix')}: a key has no values")


def _fill(value: Any, values: Mapping[str, Any]) -> Any:
    """`value` with every `{key}` of the matrix replaced.

    A text that is nothing but `{key}` takes the value's type.
    """
    if isinstance(value, dict):
        return {key: _fill(inner, values) for key, inner in value.items()}
    if isinstance(value, list):
        return [_fill(inner, values) for inner in value]
    if not isinstance(value, str):
        return value
    for key, replacement in values.items():
        if value == f"{{{key}}}":
            return replacement
        value = value.replace(f"{{{key}}}", str(replacement))
    return value


def _resolve(
    name: str, written: str, role: str, sources: list[str], names: list[str], config: RunConfig
) -> tuple[str, ...]:
    """Step names that `sources` mean; a glob never means the step itself."""
    found: list[str] = []
    for source in sources:
        if any(sign in source for sign in "*?["):
            others = [one for one in names if one != name]
            matches = fnmatch.filter(others, source)
        else:
            matches = [source] if source in names else []
        if not matches:
            where = config.where("steps", written, "from")
            spread = source in config.steps and f"it has a matrix: write {source}-*"
            hint = spread or near(source, names)
            raise ConfigError(f"{where}: no step is called {source!r} (role {role}); {hint}")
        found += [one for one in matches if one not in found]
    return tuple(found)


def references(value: Any) -> Iterator[str]:
    """Names of the steps that `@step/...` texts anywhere in `value` refer to.

    >>> list(references({"model": "@generator/model", "more": ["@world", "me@home"]}))
    ['generator', 'world']
    """
    if isinstance(value, str) and value.startswith("@"):
        yield value[1:].partition("/")[0]
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from references(inner)


def in_order(depends: Mapping[str, Iterable[str]]) -> list[str]:
    """Names so that each comes after what it depends on, else in the order given.

    A circle is a `ConfigError`.

    >>> in_order({"mix": ["collect"], "collect": []})
    ['collect', 'mix']
    """
    left = {name: set(needed) for name, needed in depends.items()}
    order: list[str] = []
    while left:
        ready = next((name for name, needed in left.items() if not needed & left.keys()), None)
        if ready is None:
            raise ConfigError(
                f"steps wait for each other in a circle: {' -> '.join(_circle(left))}"
            )
        order.append(ready)
        del left[ready]
    return order


def _circle(left: Mapping[str, set[str]]) -> list[str]:
    path = [next(iter(left))]
    while True:
        following = sorted(left[path[-1]] & left.keys())[0]
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)
