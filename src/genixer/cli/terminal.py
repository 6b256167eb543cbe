"""What several verbs share: options in the same words, progress, JSON."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from genixer.pipeline.progress import Progress

__all__ = ["Json", "Limit", "MaxCost", "MaxHours", "print_json", "progress_here"]

Limit = Annotated[
    int | None,
    typer.Option(min=1, help="At most this many items a step, in a run folder of its own."),
]
MaxCost = Annotated[
    float | None,
    typer.Option(min=0, help="Stop before this command costs more, at the config's `costs`."),
]
MaxHours = Annotated[
    float | None, typer.Option(min=0, help="Begin nothing more after so many hours.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def progress_here() -> Progress:
    """Bars on a terminal, lines elsewhere."""
    from genixer.pipeline.progress import LineProgress, TerminalProgress

    if not sys.stderr.isatty():
        return LineProgress()
    from rich.console import Console
    from rich.highlighter import NullHighlighter
    from rich.logging import RichHandler

    console = Console(stderr=True)
    handler = RichHandler(
        console=console,
        show_time=False,
        show_level=False,
        show_path=False,
        highlighter=NullHighlighter(),
    )
    logging.getLogger().handlers[:] = [handler]
    return TerminalProgress(console)


def print_json(value: Any) -> None:
    """One JSON document, keys sorted."""
    typer.echo(json.dumps(value, indent=1, sort_keys=True))
