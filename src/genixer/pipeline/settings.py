"""What a run folder was made with, and what changed since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from genixer import __version__
from genixer.config import RunConfig, parse_config
from genixer.data import SCHEMA
from genixer.errors import SettingsChangedError, StoreError
from genixer.pipeline.plan import Plan
from genixer.store.disk import write_atomic
from genixer.store.fence import create_once
from genixer.store.manifest import check_schema, encode_stored, seal
from genixer.yaml_source import YamlSource

__all__ = ["RunFile", "StepIdentity", "check_unchanged", "read_run", "run_path", "write_run"]

# The same for every step of a run: shown once, not once a step.
_RUN_WIDE = ("images", "limit", "schema", "seed", "threads")
_SHOWN = 20


class StepIdentity(msgspec.Struct, frozen=True):
    """One step as it was planned."""

    fingerprint: str
    identity: dict[str, Any]


class RunFile(msgspec.Struct, frozen=True):
    """The file `run.json`: the resolved config and every step's identity, in running order."""

    schema: int
    genixer: str
    name: str
    limit: int | None
    config: dict[str, Any]
    order: list[str]
    steps: dict[str, StepIdentity]
    check: str = ""
    """`seal` of all the others, in the file alone."""

    def run_config(self, run: Path) -> RunConfig:
        """The config that the run was made with."""
        return parse_config(self.config, YamlSource(str(run_path(run)), {}))


def run_path(run: Path) -> Path:
    """Where a run folder keeps what it was made with."""
    return run / "run.json"


def read_run(run: Path) -> RunFile | None:
    """What `run` was made with; None when it is no run folder.

    Raises `StoreError` for an unreadable one.
    """
    path = run_path(run)
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    check_schema(path, data)
    try:
        known = msgspec.json.decode(data, type=RunFile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unreadable(path, f"{error}") from error
    bare = msgspec.structs.replace(known, check="")
    if known.check not in ("", seal(bare)):
        raise _unreadable(path, f"its digest is {seal(bare)} instead of {known.check}")
    return bare


def _unreadable(path: Path, why: str) -> StoreError:
    return StoreError(
        f"{path}: not readable: {why}; it was damaged or changed by hand: use another run folder"
    )


def write_run(config: RunConfig, plan: Plan, *, once: bool = False) -> bool:
    """Write `run.json` for `plan`, unless it says the same already; says whether it was new.

    With `once`, one that is there is left as it is: another process may read it.
    """
    steps = {step.name: StepIdentity(step.fingerprint, step.identity) for step in plan.steps}
    order = [step.name for step in plan.steps]
    new = RunFile(SCHEMA, __version__, plan.name, plan.limit, config.raw(), order, steps)
    data = encode_stored(new)
    path = run_path(plan.run)
    if once:
        return create_once(path, data)
    new_here = not path.is_file()
    if new_here or path.read_bytes() != data:
        write_atomic(path, data)
    return new_here


def check_unchanged(plan: Plan) -> None:
    """Raise `SettingsChangedError` with the difference if the folder was made otherwise."""
    old = read_run(plan.run)
    if old is None:
        return
    lines = list(dict.fromkeys(_changes(old, plan)))
    if not lines:
        return
    shown = [f"  {line}" for line in lines[:_SHOWN]]
    if len(lines) > _SHOWN:
        shown.append(f"  ... and {len(lines) - _SHOWN} more")
    changes = "\n".join(shown)
    raise SettingsChangedError(
        f"{plan.run} was made with other settings:\n{changes}\n"
        "Go back to the old settings, or add --new-run DIR: it takes over every finished step "
        "that is unchanged and does the rest in DIR."
    )


def _changes(old: RunFile, plan: Plan) -> Iterator[str]:
    for name in sorted(plan.by_name.keys() - old.steps.keys()):
        yield f"steps.{name}: new"
    for name, before in old.steps.items():
        now = plan.by_name.get(name)
        if now is None:
            yield f"steps.{name}: gone"
        elif now.fingerprint != before.fingerprint:
            yield from _step_changes(name, before.identity, now.identity)


def _step_changes(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    before, after = dict(_flat(old)), dict(_flat(new))
    for key in [*before, *(key for key in after if key not in before)]:
        if before.get(key) == after.get(key):
            continue
        if key.startswith("external"):
            yield f"steps.{name}: a file outside the run that it reads has changed"
            continue
        where = key if key in _RUN_WIDE else f"steps.{name}.{key}"
        yield f"{where}: {_show(before, key)} -> {_show(after, key)}"


def _show(values: Mapping[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else "(not there)"


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and plain values of a nested one, keys sorted."""
    if isinstance(value, Mapping) and value:
        for key in sorted(value):
            yield from _flat(value[key], f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and value:
        for position, inner in enumerate(value):
            yield from _flat(inner, f"{path}.{position}")
    else:
        yield path, value
