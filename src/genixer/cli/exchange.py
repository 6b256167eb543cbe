"""Verbs that take files of other people's layouts in and out."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from genixer.cli.terminal import Json, Limit, print_json, progress_here

__all__ = ["export", "import_"]


def export(
    source: Annotated[
        str, typer.Argument(metavar="RUN_OR_SHARDS", help="Run, step folder, or file of rows.")
    ],
    out: Annotated[str, typer.Option(help="Where to write.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="The format's own settings: frame=unit"),
    ] = None,
    format: Annotated[str, typer.Option(help="One of `genixer list formats`.")] = "llava",
    step: Annotated[
        str | None, typer.Option(help="Step of the run, where several keep samples.")
    ] = None,
    images: Annotated[str | None, typer.Option(help="Image root; a run knows its own.")] = None,
    use: Annotated[
        Literal["research", "commercial"],
        typer.Option(help="What the file is for; rows whose licence forbids it are refused."),
    ] = "research",
    allow_loss: Annotated[
        bool, typer.Option("--allow-loss", help="Leave out rows that the format cannot carry.")
    ] = False,
    copy_images: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Copy the rows' images there: needed for archives."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write samples in a published format; nothing is written when something would be lost."""
    from genixer.config import parse_override
    from genixer.pipeline.api import export as export_samples

    own = dict(map(parse_override, settings or ()))
    done = export_samples(
        source,
        out,
        format=format,
        step=step,
        images=images,
        settings=own,
        use=use,
        allow_loss=allow_loss,
        copy_images=copy_images,
    )
    if as_json:
        print_json({"out": out, "counts": done, "rounding": done.rounding.as_mapping()})
        return
    typer.echo(f"{out}: " + ", ".join(f"{n} {what}" for what, n in done.items()))
    if done.rounding.seen:
        typer.echo(str(done.rounding))


def import_(
    path: Annotated[str, typer.Argument(help="The file, or folder, to bring in.")],
    out: Annotated[str, typer.Option(help="Run folder to make of it.")],
    images: Annotated[str, typer.Option(help="Image root that its paths are relative to.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="The format's own settings: frame=unit"),
    ] = None,
    format: Annotated[str, typer.Option(help="One of `genixer list formats`.")] = "llava",
    allow_loss: Annotated[
        bool,
        typer.Option("--allow-loss", help="Keep rows of which not everything can be kept, too."),
    ] = False,
    limit: Limit = None,
    workers: Annotated[int, typer.Option(min=0, help="Worker processes; 0 works in this one.")] = 1,
    as_json: Json = False,
) -> None:
    """Bring a file of a published format in, as a run that `verify` checks and steps can read."""
    from genixer.config import parse_override
    from genixer.pipeline.api import import_samples

    with progress_here() as progress:
        result = import_samples(
            path,
            out,
            format=format,
            images=images,
            settings=dict(map(parse_override, settings or ())),
            allow_loss=allow_loss,
            limit=limit,
            workers=workers,
            progress=progress,
        )
    counts = result.manifests["import"].counts
    if as_json:
        print_json({"run": str(result.folder), "counts": counts.as_mapping()})
        return
    typer.echo(result.table)
    for reason, count in counts.quarantined.items():
        typer.echo(f"quarantined: {count} {reason}")
