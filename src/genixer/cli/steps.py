"""Verbs that run one stage: the same keys as in a config, finished steps by their folder."""

from __future__ import annotations

from typing import Annotated

import typer

from genixer.cli.terminal import Json, Limit, MaxCost, MaxHours, print_json, progress_here
from genixer.errors import ConfigError

__all__ = ["collect", "generate", "instruct", "mix", "train"]

Out = Annotated[str, typer.Option(help="Run folder to make; the same command again goes on.")]
From = Annotated[
    list[str] | None,
    typer.Option(
        "--from", metavar="[ROLE=]RUN/STEP", help="A finished step whose rows it reads; repeatable."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings of the stage, values in YAML."),
]
Workers = Annotated[int, typer.Option(min=0, help="Worker processes; 0 works in this one.")]


def collect(
    out: Out,
    settings: Settings = None,
    limit: Limit = None,
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    """Read annotated datasets into samples; `images` and `seed` are keys, too."""
    _run("collect", out, settings, None, limit, workers, as_json)


def instruct(
    out: Out,
    from_: From = None,
    settings: Settings = None,
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    """Rewrite samples as training text, with the two-level instruction."""
    _run("instruct", out, settings, from_, None, workers, as_json)


def mix(
    out: Out,
    from_: From = None,
    settings: Settings = None,
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    """Draw a training mixture: the role `base`, and `synthetic` unless the arm is `none`."""
    _run("mix", out, settings, from_, None, workers, as_json)


def generate(
    out: Out,
    settings: Settings = None,
    limit: Limit = None,
    workers: Workers = 1,
    max_cost: MaxCost = None,
    max_hours: MaxHours = None,
    as_json: Json = False,
) -> None:
    """Ask a model for questions and answers about images without labels.

    `images` is the pool: a folder, archives, a list; `image_root` the folder that paths in a list
    are relative to (the list's own by default). `seed`, `threads` and `costs` are keys, too.
    """
    _run("generate", out, settings, None, limit, workers, as_json, max_cost, max_hours)


def train(
    out: Out,
    from_: From = None,
    settings: Settings = None,
    workers: Workers = 1,
    as_json: Json = False,
) -> None:
    """Train a model on rows of `instruct`; a killed training goes on from its last checkpoint.

    Roles: `rows`, and `regions` and `words` where the settings want them. Or rows from files:
    `images=FOLDER 'rows_files=[rows.jsonl]'`. The model is in `OUT/train/files/model`.
    """
    _run("train", out, settings, from_, None, workers, as_json)


def _run(
    stage: str,
    out: str,
    settings: list[str] | None,
    from_: list[str] | None,
    limit: int | None,
    workers: int,
    as_json: bool,
    max_cost: float | None = None,
    max_hours: float | None = None,
) -> None:
    from genixer.config import parse_override
    from genixer.pipeline.budget import Budget
    from genixer.pipeline.one_stage import run_stage

    files = any(one.startswith("rows_files=") for one in settings or ())
    if from_ is None and stage not in ("collect", "generate") and not files:
        raise ConfigError(f"{stage} reads a finished step: give its folder, --from RUN/STEP")
    sources: dict[str, list[str]] = {}
    for one in from_ or ():
        role, sign, folder = one.partition("=")
        sources.setdefault(role if sign else "rows", []).append(folder if sign else one)
    with progress_here() as progress:
        result = run_stage(
            stage,
            out,
            dict(map(parse_override, settings or ())),
            sources=sources,
            limit=limit,
            workers=workers,
            progress=progress,
            budget=Budget(max_cost, max_hours),
        )
    if as_json:
        steps = {name: one.counts.as_mapping() for name, one in result.manifests.items()}
        print_json({"run": str(result.folder), "worked": list(result.worked), "steps": steps})
        return
    typer.echo(result.table)
