"""Lazy tables of plugins: names are known without importing anything heavy.

Classes are loaded when first asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any

import msgspec
from pydantic import ValidationError

from genixer.errors import ConfigError, UnknownNameError, near

__all__ = ["Entry", "Registry"]

GROUP = "genixer.plugins"
"""Entry-point group: the entry's name is `kind.name`.

`filter.my_rule`, its value `module:Class`.
"""


class Entry(msgspec.Struct, frozen=True):
    """One line of a table.

    Where the class is (`module:Class`), a line about it, licence and capability if any. `settings`
    is where its settings are, if these can be had without its libraries.
    """

    target: str
    about: str
    licence: str = ""
    capability: str = ""
    settings: str = ""


class Registry(Mapping[str, Entry]):
    """Table of one kind of plugin, ours plus what other packages register.

    A duplicate name is a `ConfigError`.

    >>> table = Registry("filter", {"rules": Entry("genixer.errors:DataError", "an example")})
    >>> table.load("rules").__name__
    'DataError'
    >>> table.load("rule")
    Traceback (most recent call last):
    ...
    genixer.errors.UnknownNameError: no filter is called 'rule'; did you mean rules?
    """

    def __init__(self, kind: str, own: Mapping[str, Entry]) -> None:
        """Start a table of `kind` (a singular noun) with the project's `own` entries."""
        self.kind = kind
        self._own = dict(own)
        self._all: dict[str, Entry] | None = None

    def _entries(self) -> dict[str, Entry]:
        if self._all is None:
            entries = dict(self._own)
            for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
                kind, _, name = point.name.partition(".")
                if kind != self.kind:
                    continue
                if name in entries:
                    raise ConfigError(
                        f"{self.kind} {name!r} is registered twice: "
                        f"{entries[name].target}, {point.value}"
                    )
                entries[name] = Entry(
                    point.value, f"from {point.dist.name if point.dist else 'a plugin'}"
                )
            self._all = entries
        return self._all

    def __getitem__(self, name: str) -> Entry:
        """Entry called `name`; raises `UnknownNameError` naming the near ones."""
        entries = self._entries()
        if name not in entries:
            raise UnknownNameError(self.kind, name, entries)
        return entries[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is a plugin called `name`."""
        return name in self._entries()

    def __iter__(self) -> Iterator[str]:
        """Names in alphabetical order."""
        return iter(sorted(self._entries()))

    def __len__(self) -> int:
        """How many plugins there are."""
        return len(self._entries())

    def load(self, name: str) -> Any:
        """Import and return the class called `name`."""
        return _imported(self[name].target)

    def settings(self, name: str, values: Mapping[str, Any]) -> Any:
        """Checked `Settings` of the plugin called `name`; `ConfigError` says which key is wrong."""
        return self._checked(name, self.load(name).Settings, values)

    def settings_class(self, name: str) -> Any:
        """Class of its settings, None without one; loads the plugin if its entry says no more."""
        light = self[name].settings
        return _imported(light) if light else getattr(self.load(name), "Settings", None)

    def light_settings(self, name: str, values: Mapping[str, Any]) -> Any:
        """Checked settings of a plugin whose entry says where they are, without loading it."""
        return self._checked(name, _imported(self[name].settings), values)

    def _checked(self, name: str, kind: Any, values: Mapping[str, Any]) -> Any:
        try:
            return kind.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in first["loc"])
            where = f"{self.kind} {name}"
            if first["type"] == "extra_forbidden":
                message = f"{where} has no setting {key!r}; {near(key, kind.model_fields)}"
            elif first["type"] == "missing":
                message = f"{where} needs the setting {key!r}"
            else:
                place = f"{where}, setting {key}" if key else where
                message = f"{place}: {first['msg']}, got {first['input']!r}"
            raise ConfigError(message) from error


def _imported(target: str) -> Any:
    """What `module:Name` leads to."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
