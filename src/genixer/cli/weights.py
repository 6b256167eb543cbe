"""The verb that brings weights of other code bases in."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import typer

from genixer.cli.terminal import Json, print_json

__all__ = ["convert_weights"]

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def convert_weights(
    src: Annotated[
        str,
        typer.Argument(metavar="SRC", help="Model folder, adapter folder, or mm_projector.bin."),
    ],
    dst: Annotated[str, typer.Argument(metavar="DST", help="Folder to make; must not exist.")],
    preset: Annotated[
        str, typer.Option(help="What the weights were trained as: one of `genixer list presets`.")
    ],
    vision: Annotated[
        str | None, typer.Option(help="CLIP folder, where SRC keeps the vision tower elsewhere.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Model that SRC's adapters or projector were trained on.")
    ] = None,
    delta_of: Annotated[
        str | None, typer.Option(help="Model that SRC is a difference to; the sum is written.")
    ] = None,
    new_projector: Annotated[
        bool,
        typer.Option("--new-projector", help="Draw a projector: SRC is a language model alone."),
    ] = False,
    seed: Annotated[int, typer.Option(help="What the new projector is drawn by.")] = 0,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option(help="Number format to write; auto keeps the source's."),
    ] = "auto",
    shard_size: Annotated[str, typer.Option(help="Largest weight file: 5GB, 500MB.")] = "5GB",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List where every tensor would go; write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Turn original LLaVA, Shikra and Genixer weights into safetensors for transformers."""
    from genixer.models.convert import convert_weights as convert

    done = convert(
        src,
        dst,
        preset=preset,
        vision=vision,
        base=base,
        delta_of=delta_of,
        new_projector=seed if new_projector else None,
        dtype=dtype,
        shard_bytes=_bytes(shard_size),
        dry_run=dry_run,
    )
    if as_json:
        print_json(
            {
                "layout": done.layout,
                "tensors": dict(done.tensors),
                "left_out": list(done.left_out),
                "files": list(done.files),
                "bytes": done.bytes,
            }
        )
        return
    if dry_run:
        for name, source in done.tensors.items():
            typer.echo(f"{source} -> {name}")
        for name in done.left_out:
            typer.echo(f"{name} -> left out, every model computes it")
    what = f"{len(done.tensors)} tensors, {done.bytes / 1e6:.1f} MB"
    typer.echo(f"{dst}: {what}" + (" to write" if dry_run else f" in {len(done.files)} files"))


def _bytes(text: str) -> int:
    """Bytes of a size as people write it; an error of the option otherwise."""
    match = re.fullmatch(r"(\d+)\s*(|KB|MB|GB)", text.strip().upper())
    if match is None or int(match[1]) == 0:
        raise typer.BadParameter(f"{text!r} is no size; write 5GB or 500MB")
    return int(match[1]) * _UNITS[match[2]]
