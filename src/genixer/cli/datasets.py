"""Verbs about datasets on disk."""

from __future__ import annotations

from typing import Annotated

import typer

from genixer.cli.terminal import Json

__all__ = ["doctor"]


def doctor(
    path: Annotated[
        str, typer.Argument(help="File of rows, folder of a step, or folder of images.")
    ],
    images: Annotated[
        str | None, typer.Option(help="Image root; the file's folder by default.")
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="Layout of the rows; told from the first one by default.")
    ] = None,
    frame: Annotated[
        str | None, typer.Option(help="Frame of the boxes in text; the format's by default.")
    ] = None,
    decimals: Annotated[
        int | None, typer.Option(min=0, max=6, help="Decimals of these boxes.")
    ] = None,
    fix: Annotated[
        str | None, typer.Option(metavar="DIR", help="Write a repaired copy into this new folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Audit images and rows before anyone trains on them; exit code 3 when there are errors."""
    from genixer.pipeline.doctor import audit, error_of, json_report, repair, table

    report = audit(path, images=images, format=format, frame=frame, decimals=decimals)
    fixed = None if fix is None else repair(report, fix)
    if as_json:
        for piece in json_report(report, fixed):
            typer.echo(piece, nl=False)
        typer.echo()
    else:
        typer.echo(table(report))
        if fixed is not None:
            done = ", ".join(f"{count} {what}" for what, count in sorted(fixed.items()))
            typer.echo(f"\n{fix}: {done or 'a copy, with nothing to repair'}")
    error = error_of(report)
    if error is not None:
        raise error
