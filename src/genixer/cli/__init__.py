"""The command line: a thin shell over the functions of `genixer`."""

from __future__ import annotations

import logging
import signal
import sys
from typing import Annotated, NoReturn

import typer

from genixer import __version__
from genixer.cli.datasets import doctor
from genixer.cli.exchange import export, import_
from genixer.cli.parity import parity
from genixer.cli.steps import collect, generate, instruct, mix, train
from genixer.cli.terminal import Json, Limit, MaxCost, MaxHours, print_json, progress_here
from genixer.cli.weights import convert_weights
from genixer.errors import GenixerError

__all__ = ["app", "main"]

EXIT_CODES = """\b
Exit codes:
  0    done
  1    a stage failed
  2    a config, an option or a name is wrong
  3    records break a rule
  4    the store is damaged, full or locked
  5    the run folder belongs to other settings
  6    a model failed
  7    work is left
  8    a training's loss is no number
  9    two backends do not say the same
  10   the budget is spent (--max-cost, --max-hours)
  130  interrupted (Ctrl-C)
  143  terminated"""

app = typer.Typer(
    name="genixer",
    help="Turns images without labels into verified instruction-tuning data for multimodal models.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Config = Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped config.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Laid over the config: steps.mix.with.size=100"),
]
Out = Annotated[str | None, typer.Option(help="Run folder; runs/<name> by default.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"genixer {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: genixer run demo seed=11 --limit 10")
def run(
    config: Config,
    overrides: Overrides = None,
    limit: Limit = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; the same as plan.")
    ] = False,
    out: Out = None,
    new_run: Annotated[
        str | None,
        typer.Option(help="Take over what is unchanged in the run folder; do the rest here."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Worker processes; 0 works in this one.")
    ] = None,
    executor: Annotated[
        str | None, typer.Option(help="Who does the work: local, leases (shared folder) or ray.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Hash everything that is committed first.")
    ] = False,
    max_cost: MaxCost = None,
    max_hours: MaxHours = None,
    as_json: Json = False,
) -> None:
    """Run all steps of a config; the same command again goes on where it was."""
    if dry_run:
        _print_plan(config, overrides, out, limit, as_json)
        return
    from genixer.config import executor_name
    from genixer.pipeline.budget import Budget
    from genixer.pipeline.run import run as run_config

    try:
        with progress_here() as progress:
            result = run_config(
                config,
                overrides or (),
                out=out,
                new_run=new_run,
                limit=limit,
                workers=workers,
                executor=executor_name(executor, "--executor"),
                check=check,
                progress=progress,
                budget=Budget(max_cost, max_hours),
            )
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on where it was", err=True)
        raise typer.Exit(130) from None
    if as_json:
        steps = {name: one.counts.as_mapping() for name, one in result.manifests.items()}
        print_json({"run": str(result.folder), "worked": list(result.worked), "steps": steps})
        return
    if not result.worked:
        typer.echo(f"nothing to do: {len(result.manifests)} steps complete")
    typer.echo(result.table)
    if limit is not None:
        typer.echo(f"\n{result.preview(limit)}")
    if result.summary:
        typer.echo(f"\n{result.summary}")


@app.command(epilog="Example: genixer plan demo steps.generate.with.temperature=1 --probe 64")
def plan(
    config: Config,
    overrides: Overrides = None,
    limit: Limit = None,
    out: Out = None,
    probe: Annotated[
        int | None,
        typer.Option(
            min=1, help="Really run so many requests of each generate step, in RUN-probe."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the steps of a config: what is cached, what would run, what it should cost."""
    _print_plan(config, overrides, out, limit, as_json, probe)


app.command(
    epilog="Example: genixer collect images=photos "
    "'sources=[{name: pope, questions: pope.jsonl}]' --out runs/pope"
)(collect)
app.command(
    epilog="Example: genixer instruct 'purpose=[generator]' --from runs/pope/collect --out runs/sft"
)(instruct)
app.command(
    epilog="Example: genixer mix arm=kept --from base=runs/demo/collect "
    "--from synthetic=runs/demo/dedup --out runs/mix"
)(mix)
app.command(
    epilog="Example: genixer generate images=photos model=base 'tasks=[rec, common_vqa]' "
    "--out runs/raw --limit 20"
)(generate)
app.command(
    epilog="Example: genixer train model=start steps=100 --from runs/demo/lessons-kept "
    "--out runs/student"
)(train)


@app.command(epilog="Example: genixer verify runs/demo")
def verify(
    run: Annotated[str, typer.Argument(help="Run folder.")],
    as_json: Json = False,
) -> None:
    """Prove that a run is whole: in = kept + rejected + quarantined, every byte hashed."""
    from genixer.pipeline.verify import verify as verify_run

    report = verify_run(run)
    if as_json:
        print_json(report.as_mapping())
    else:
        typer.echo(report.table)
    error = report.error()
    if error is not None:
        raise error
    if not as_json:
        typer.echo(f"{report.run}: {len(report.manifests)} steps verified, every byte as committed")


app.command(
    epilog="Example: genixer parity runs/on-gpu runs/on-cpu --requests 100 --out parity.json"
)(parity)
app.command(epilog="Example: genixer export runs/demo/judge --format llava --out demo.json")(export)
app.command(
    "import", epilog="Example: genixer import set.json --format llava --images coco --out runs/set"
)(import_)
app.command(epilog="Example: genixer doctor demo.json --images photos --fix repaired")(doctor)
app.command(
    "convert-weights",
    epilog="Example: genixer convert-weights Genixer-llava-v1.5-7b genixer_l --preset genixer_l "
    "--vision clip-vit-large-patch14-336",
)(convert_weights)


@app.command("list", epilog="Example: genixer list tasks")
def list_(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="tasks, sources, formats, backends, filters, stages, benchmarks or presets.",
        ),
    ],
    as_json: Json = False,
) -> None:
    """List what can be named in a config, with licence and capability where they matter."""
    from genixer.pipeline.api import list_plugins
    from genixer.pipeline.tables import text_table

    plugins = list_plugins(kind)
    if as_json:
        print_json(plugins)
        return
    columns = ["name", "about"]
    columns += [key for key in ("licence", "capability") if any(one[key] for one in plugins)]
    typer.echo(text_table(columns, [[one[key] for key in columns] for one in plugins]))


@app.command(epilog="Example: genixer report runs/demo")
def report(
    run: Annotated[str, typer.Argument(help="Run folder.")],
) -> None:
    """Make the report page of a run again."""
    from genixer.pipeline.api import build_report

    with progress_here() as progress:
        typer.echo(build_report(run, progress=progress).summary)


def main() -> NoReturn:
    """Entry point: our errors become a message and an exit code, others keep their traceback."""
    signal.signal(signal.SIGTERM, _terminate)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("genixer").setLevel(logging.INFO)
    from genixer.training.outside import run_together

    try:
        run_together(app)
    except GenixerError as error:
        typer.echo(f"genixer: {error}", err=True)
        sys.exit(error.exit_code)
    except PermissionError as error:
        typer.echo(f"genixer: {error.filename}: {error.strerror}", err=True)
        sys.exit(4)
    sys.exit(0)


def _terminate(*_: object) -> NoReturn:
    """SIGTERM ends the run the way Ctrl-C does: workers stopped, nothing half done to be seen."""
    raise SystemExit(143)


def _print_plan(
    config: str,
    overrides: list[str] | None,
    out: str | None,
    limit: int | None,
    as_json: bool,
    probe: int | None = None,
) -> None:
    from genixer.pipeline.api import plan as plan_config
    from genixer.pipeline.cost import cost_table
    from genixer.pipeline.tables import text_table

    with progress_here() as progress:
        report = plan_config(
            config, overrides or (), out=out, limit=limit, probe=probe, progress=progress
        )
    if as_json:
        print_json(report.as_mapping())
        return
    header = ["step", "stage", "status", "items", "kept", "tokens", "seconds", "MB"]
    rows = [
        [
            one.name,
            one.stage,
            one.status,
            "?" if one.items is None else str(one.items),
            "?" if one.kept is None else str(one.kept),
            str(one.tokens),
            f"{one.seconds:.0f}",
            f"{one.bytes / 1e6:.1f}",
        ]
        for one in report.steps
    ]
    total = sum(one.seconds for one in report.steps)
    typer.echo(text_table(header, rows, right=range(3, 8)))
    if report.costs:
        typer.echo(f"\ngenerating, with 90 % intervals\n{cost_table(report.costs)}")
    if report.datasets:
        typer.echo(f"\nrows expected of the datasets as published\n{report.datasets}")
    for names, note in report.notes:
        typer.echo(f"{names}: {note}")
    for path in report.missing:
        typer.echo(f"not there yet: {path}")
    typer.echo(f"\n{report.run}: {len(rows)} steps, about {total:.0f} s of work left")
