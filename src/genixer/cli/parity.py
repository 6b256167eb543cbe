"""The verb `parity`."""

from __future__ import annotations

from typing import Annotated

import typer

from genixer.cli.terminal import Json, print_json

__all__ = ["parity"]


def parity(
    first: Annotated[str, typer.Argument(help="Run or step folder of a generate step.")],
    second: Annotated[str, typer.Argument(help="Another that asked the same, temperature=0.")],
    requests: Annotated[int, typer.Option(min=1, help="Requests compared at most.")] = 100,
    same_text: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Least share of equal greedy texts.")
    ] = 0.95,
    answered: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Least share of SECOND's answers that FIRST has, too."),
    ] = 0.95,
    logprob_gap: Annotated[
        float, typer.Option(min=0.0, help="Most median difference of log-probabilities.")
    ] = 0.05,
    raw_logprobs: Annotated[
        bool, typer.Option(help="Whether both give raw ones, so that they can be compared.")
    ] = True,
    box_iou: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Least overlap of a box with the other's.")
    ] = 0.95,
    same_boxes: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Least share of boxes that overlap so.")
    ] = 0.95,
    out: Annotated[str | None, typer.Option(help="File to write the report to.")] = None,
    as_json: Json = False,
) -> None:
    """Compare what two backends said to the same requests; exit code 9 below the bar."""
    import msgspec

    from genixer.inference.parity import ParityBar
    from genixer.pipeline.parity import parity as compare

    bar = ParityBar(
        requests=requests,
        same_text=same_text,
        answered=answered,
        logprob_gap=logprob_gap,
        raw_logprobs=raw_logprobs,
        box_iou=box_iou,
        same_boxes=same_boxes,
    )
    report = compare(first, second, bar=bar, out=out)
    if as_json:
        print_json(msgspec.to_builtins(report))
    else:
        typer.echo("\n".join(report.lines))
    report.check()
