"""A run as the user writes it: YAML, `key=value` overrides, environment, mistakes named by line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from genixer.errors import ConfigError, near
from genixer.yaml_source import Key, YamlSource, read_yaml

__all__ = [
    "Costs",
    "ExecutorName",
    "RayConfig",
    "RunConfig",
    "StepConfig",
    "environment_executor",
    "environment_workers",
    "executor_name",
    "load_config",
    "parse_config",
    "parse_override",
    "runs_folder",
    "settings_errors",
    "shipped_configs",
]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""What runs and steps may be called: they become folders."""
RESERVED = ("run.json", "external.json", "errors.log", "events.jsonl")


def _sources_by_role(value: object) -> object:
    """`from` in its one inner form: role -> list of step names."""
    if isinstance(value, str | list):
        value = {"rows": value}
    if isinstance(value, dict):
        return {role: [one] if isinstance(one, str) else one for role, one in value.items()}
    raise ValueError("write a list of steps, or roles with a step or list of steps each")


class StepConfig(BaseModel):
    """One entry of `steps`: a stage, where its rows come from, its settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: str
    """Name of a stage (`genixer list stages`)."""
    from_: Annotated[dict[str, list[str]], BeforeValidator(_sources_by_role)] = Field(
        default_factory=dict, alias="from"
    )
    """Steps whose rows it reads, by role; a plain list has the role `rows`. `student-*` globs."""
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    """Settings of the stage; a text that begins with `@step/` is a file of that step."""
    matrix: dict[str, list[str | int | float | bool]] = Field(default_factory=dict)
    """Runs the step once for every combination; `{key}` is the value in `from` and `with`."""
    rows_per_shard: int | None = Field(default=None, ge=1)
    """Work items in one shard; the stage's own number by default."""


class Costs(BaseModel):
    """What work costs: for `genixer plan` and `--max-cost`, and no part of any fingerprint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input_per_million: float = Field(0.0, ge=0.0)
    """Price of a million tokens that a model reads."""
    output_per_million: float = Field(0.0, ge=0.0)
    """Price of a million tokens that it writes."""
    per_hour: float = Field(0.0, ge=0.0)
    """Price of an hour of one worker."""
    currency: str = "USD"
    """What prices are in."""
    gpus: float = Field(0.0, ge=0.0)
    """GPUs that one worker uses, for GPU-hours."""
    prompt_tokens: float = Field(700.0, ge=0.0)
    """Tokens a model reads for one request, those of its image among them."""
    answer_tokens: float = Field(20.0, ge=0.0)
    """Tokens it writes for one, where `--probe` has not counted them."""
    tokens_per_second: float = Field(2000.0, gt=0.0)
    """Tokens that one worker writes a second, where `--probe` has not timed it."""

    @property
    def free(self) -> bool:
        """Whether nothing has a price."""
        return not (self.input_per_million or self.output_per_million or self.per_hour)

    def of(self, requests: float, written: float, seconds: float) -> float:
        """Price of so many requests, tokens written and seconds of a worker.

        >>> Costs(input_per_million=1.0, output_per_million=4.0).of(1000, 50_000, 60.0)
        0.9
        """
        read = requests * self.prompt_tokens
        tokens = read * self.input_per_million + written * self.output_per_million
        return tokens / 1e6 + seconds / 3600 * self.per_hour


ExecutorName = Literal["local", "leases", "ray"]


class RayConfig(BaseModel):
    """Actors of the executor `ray`, and what each of them asks the cluster for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str | None = None
    """A running cluster, `auto` for the one of this machine; without one, Ray is started here."""
    cpus: float = Field(default=1, ge=0)
    """CPUs of one actor."""
    gpus: float = Field(default=0, ge=0)
    """GPUs of one actor; fractions share one."""
    resources: dict[str, float] = Field(default_factory=dict)
    """Other resources of one actor, as the nodes name them."""
    min_actors: int = Field(default=0, ge=0)
    """Actors that are kept while the run lasts."""
    max_actors: int | None = Field(default=None, ge=1)
    """Most actors at a time; the run's `workers` by default. As many are asked for as have work."""
    idle_s: float = Field(default=60.0, ge=0)
    """Seconds without work after which an actor above `min_actors` gives back what it holds."""


class RunConfig(BaseModel):
    """A whole run. Make one with `load_config`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """What the run is called; its folder is `runs/<name>` unless told otherwise."""
    seed: int = 0
    """Seed of everything random in the run."""
    images: str = "."
    """Image root: every image path is relative to it; `@step/folder` is a folder a step writes."""
    workers: int = Field(default=1, ge=0)
    """Worker processes; 0 works inside this process."""
    threads: int = Field(default=1, ge=1)
    """Compute threads a worker may use; results may depend on it, so fingerprints do."""
    costs: Costs = Costs()
    """What work costs, for `genixer plan` and `--max-cost`; may change while a run goes on."""
    executor: ExecutorName = "local"
    """Who does the work: `local` processes, shells that share it by `leases`, or `ray`."""
    stale_s: float = Field(default=30.0, gt=0)
    """Seconds without a heartbeat after which others take over what a process began."""
    ray: RayConfig = RayConfig()
    """Of the executor `ray` only."""
    steps: dict[str, StepConfig] = Field(min_length=1)
    """Steps by name, in any order."""

    _source: YamlSource = YamlSource("config", {})

    def where(self, *path: Key) -> str:
        """Place of a key for error messages: `demo.yaml:12: steps.mix.with.arm`."""
        return self._source.where(path)

    @property
    def source(self) -> YamlSource:
        """Where each key was written."""
        return self._source

    def raw(self) -> dict[str, Any]:
        """The config as plain values, defaults included; `parse_config` reads it back."""
        return self.model_dump(mode="json", by_alias=True)


def shipped_configs() -> dict[str, Path]:
    """Configs that come with the package, by name.

    >>> "smoke" in shipped_configs()
    True
    """
    folder = Path(str(resources.files("genixer"))) / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def runs_folder() -> Path:
    """Folder that holds the runs: `GENIXER_RUNS`, else `runs`."""
    return Path(os.environ.get("GENIXER_RUNS") or "runs")


def environment_workers() -> int | None:
    """Worker count that `GENIXER_WORKERS` asks for, if it is set."""
    text = os.environ.get("GENIXER_WORKERS", "")
    if not text:
        return None
    if not text.isdecimal():
        raise ConfigError(f"GENIXER_WORKERS={text!r} is not a whole number of at least 0")
    return int(text)


def environment_executor() -> ExecutorName | None:
    """Executor that `GENIXER_EXECUTOR` asks for, if it is set."""
    return executor_name(os.environ.get("GENIXER_EXECUTOR") or None, "GENIXER_EXECUTOR")


def executor_name(text: str | None, where: str) -> ExecutorName | None:
    """`text` if it names an executor; `ConfigError` that says `where` if not.

    >>> executor_name("ray", "--executor")
    'ray'
    """
    known: tuple[ExecutorName, ...] = get_args(ExecutorName)
    for name in known:
        if text == name:
            return name
    if text is not None:
        raise ConfigError(f"{where}: no executor is called {text!r}; {near(text, known)}")
    return None


def load_config(config: str | Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Config from a file or a shipped name, `key=value` overrides laid over it, in that order.

    Raises `ConfigError` with file, line and near names for anything that does not fit.

    >>> load_config("smoke", ["seed=9"]).seed
    9
    """
    path = _find(config)
    value, source = read_yaml(path)
    if "extends" in value:
        value, source = _extended(value, source)
    for override in overrides:
        _override(value, override, source)
    return parse_config(value, source)


def _extended(value: dict[str, Any], source: YamlSource) -> tuple[dict[str, Any], YamlSource]:
    """Another config under a new name, with changes: keys `extends`, `name`, `set` and `steps`.

    `set` holds `key=value` texts, as on the command line. `steps` come after those of the other.
    """
    for key in value:
        if key not in ("extends", "name", "set", "steps"):
            raise ConfigError(
                f"{source.where((key,))}: a config that extends another has extends, name, set and "
                "steps only; write the change as a line of set"
            )
    base, base_source = read_yaml(_find(str(value["extends"])))
    if "extends" in base:
        base, base_source = _extended(base, base_source)
    for name, step in (value.get("steps") or {}).items():
        if name in base.get("steps", {}):
            raise ConfigError(
                f"{source.where(('steps', name))}: {value['extends']} has a step {name!r} already; "
                "change it by lines of set, or give the new one another name"
            )
        base["steps"][name] = step
        base_source.graft(("steps", name), source)
    base["name"] = value.get("name", base.get("name"))
    for override in value.get("set", ()):
        _override(base, str(override), base_source)
    return base, base_source


def parse_config(value: Mapping[str, Any], source: YamlSource) -> RunConfig:
    """Config from plain values; `source` tells where each key was written."""
    try:
        config = RunConfig.model_validate(value)
    except ValidationError as error:
        raise settings_errors(error, RunConfig, source, ()) from error
    for kind, path, name in [("run", ("name",), config.name)] + [
        ("step", ("steps", step), step) for step in config.steps
    ]:
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"{source.where(path)}: {kind} name {name!r} must be letters, digits, '-', '_', '.'"
            )
        if name in RESERVED:
            raise ConfigError(f"{source.where(path)}: {name!r} is a file of every run; rename it")
    config._source = source
    return config


def settings_errors(
    error: ValidationError, model: type[BaseModel], source: YamlSource, at: tuple[Key, ...]
) -> ConfigError:
    """All mistakes of one validation as one error: each with file, line, key, got and expected."""
    lines = []
    for one in error.errors():
        path = (*at, *one["loc"])
        if one["type"] == "extra_forbidden":
            known = _keys_at(model, one["loc"][:-1])
            hint = near(str(one["loc"][-1]), known) if known else "remove it"
            lines.append(f"{source.where(path)}: unknown key; {hint}")
        elif one["type"] == "missing":
            lines.append(f"{source.where(path)}: this key is missing")
        else:
            got = repr(one["input"])
            shown = got if len(got) <= 60 else got[:57] + "..."
            lines.append(f"{source.where(path)}: {one['msg']}; got {shown}")
    return ConfigError("\n".join(lines))


def _find(config: str | Path) -> Path:
    path = Path(config)
    if path.is_file():
        return path
    shipped = shipped_configs()
    if str(config) in shipped:
        return shipped[str(config)]
    hint = near(str(config), shipped)
    raise ConfigError(f"no config file {str(config)!r} and no shipped config of that name; {hint}")


def parse_override(override: str) -> tuple[str, Any]:
    """Key and value of one `key=value`; the value is YAML.

    >>> parse_override("steps.mix.with.size=50")
    ('steps.mix.with.size', 50)
    """
    dotted, sign, text = override.partition("=")
    if not sign or not dotted:
        raise ConfigError(f"override {override!r} is not key=value, as in seed=7")
    try:
        # A reference to a step is plain text, although YAML reserves the sign.
        return dotted, text if text.startswith("@") else yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: {text!r} is not a YAML value") from error


def _override(value: dict[str, Any], override: str, source: YamlSource) -> None:
    """Set one dotted key of `value`; keys on the way must exist, except below `with`."""
    dotted, new = parse_override(override)
    path: tuple[Key, ...] = ()
    here: Any = value
    for key in dotted.split(".")[:-1]:
        here, step = _enter(here, key, path, override)
        path = (*path, step)
    last = dotted.split(".")[-1]
    if isinstance(here, list):
        position = _position(here, last, override)
        here[position], path = new, (*path, position)
    elif isinstance(here, dict):
        here[last], path = new, (*path, last)
    else:
        raise ConfigError(f"override {override!r}: {'.'.join(map(str, path))} holds a plain value")
    source.override(path)


def _enter(here: Any, key: str, path: tuple[Key, ...], override: str) -> tuple[Any, Key]:
    if isinstance(here, list):
        position = _position(here, key, override)
        return here[position], position
    if not isinstance(here, dict):
        raise ConfigError(f"override {override!r}: {'.'.join(map(str, path))} holds a plain value")
    inside_step = len(path) >= 2 and path[0] == "steps"
    if key not in here and not inside_step:
        raise ConfigError(f"override {override!r}: no key {key!r}; {near(key, map(str, here))}")
    if here.get(key) is None:
        here[key] = {}
    return here[key], key


def _position(here: list[Any], key: str, override: str) -> int:
    if not key.isdecimal() or int(key) >= len(here):
        raise ConfigError(f"override {override!r}: {key!r} is not one of 0 to {len(here) - 1}")
    return int(key)


def _keys_at(model: Any, loc: tuple[Key, ...]) -> list[str]:
    """Keys that the model nested at `loc` knows; empty when there is no telling."""
    here = _models_in(model)
    for key in loc:
        inner = []
        for one in here:
            names = {field.alias or name: field for name, field in one.model_fields.items()}
            if key in names:
                inner += _models_in(names[str(key)].annotation)
        here = inner or here
    return sorted({f.alias or name for one in here for name, f in one.model_fields.items()})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
