"""The report as plain text: what the command line prints at the end of a run."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from genixer.report.model import (
    THRESHOLDS,
    Effect,
    Judge,
    Ledger,
    Page,
    PrecisionRow,
    Seen,
    Share,
    Students,
)

__all__ = ["summary"]

_WIDTH = 118


def summary(page: Page) -> str:
    """Funnel, precision, judge, students and what each model has seen, as text.

    >>> print(summary(Page("demo", "3f2a90cc51d8e7b6")))
    demo (config 3f2a90cc51d8)
    <BLANKLINE>
    Funnel: no generate, decode or filter step in this run
    <BLANKLINE>
    Precision: nothing was measured against an exact truth
    <BLANKLINE>
    Students: none was evaluated
    <BLANKLINE>
    """
    parts = [
        f"{page.title} (config {page.digest[:12]})\n",
        _funnel(page.funnel),
        _precision(page.precision),
        *([_judge(page.judge)] if page.judge else []),
        _students(page.students),
    ]
    if page.seen:
        parts.append(_seen(page.seen))
    return "\n".join(parts)


def _funnel(funnel: Sequence[Ledger]) -> str:
    if not funnel:
        return "Funnel: no generate, decode or filter step in this run\n"
    rows = [
        [
            one.step,
            f"{one.items:,}",
            f"{one.kept:,}",
            _reasons(one.rejected),
            _reasons(one.quarantined),
        ]
        for one in funnel
    ]
    return _table("Funnel", ["step", "in", "kept", "rejected", "quarantined"], rows, words=(3, 4))


def _precision(rows: Sequence[PrecisionRow]) -> str:
    if not rows:
        return "Precision: nothing was measured against an exact truth\n"
    columns = list(rows[0].columns)
    lines = [
        [row.task, *(_share(row.columns[name], row.unknown.get(name, 0)) for name in columns)]
        for row in rows
    ]
    title = "Precision by the exact truth, % (95 % interval) of rows"
    return _table(title, ["task", *columns], lines)


def _judge(judge: Judge) -> str:
    """How far the judge can be trusted at its threshold: it shares its base with the generator."""
    at = round(judge.threshold * THRESHOLDS)
    lines = []
    for task, counts in judge.passing.items():
        (right, right_passing), (wrong, wrong_passing) = (
            (counts[verdict][0], counts[verdict][at]) for verdict in ("right", "wrong")
        )
        line = [task or "all", f"{right:,}", f"{wrong:,}"]
        line.append(_part(right_passing, right_passing + wrong_passing))
        lines.append([*line, _part(right_passing, right), _part(wrong - wrong_passing, wrong)])
    title = (
        f"Filter {judge.score} at {judge.threshold:g} by the exact truth, % of the rows it judged: "
        "precision, recall, wrong rows refused"
    )
    return _table(title, ["task", "right", "wrong", "precision", "recall", "refused"], lines)


def _part(some: int, of: int) -> str:
    return f"{100 * some / of:.1f}" if of else "-"


def _students(students: Students | None) -> str:
    if students is None:
        return "Students: none was evaluated\n"
    lines = []
    for row in students.rows:
        if row.kind:
            continue
        effects = [row.arms.get(arm) for arm in students.arms]
        lines.append([row.benchmark, row.metric, *map(_mean, effects)])
        lines.append(["", "", *map(_difference, effects)])
    title = (
        f"Students, % right over {students.seeds} with 95 % interval; below it the difference to "
        f"{students.baseline}"
    )
    return _table(title, ["benchmark", "metric", *students.arms], lines)


def _seen(seen: Sequence[Seen]) -> str:
    rows = [
        [one.step, one.start or "scratch", f"{sum(one.rows.values()):,}", _reasons(one.rows)]
        for one in seen
    ]
    title = "Rows of training text each model has seen"
    return _table(title, ["model", "grown from", "rows", "by source"], rows, words=(1, 3))


def _reasons(counts: Mapping[str, int]) -> str:
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{reason} {count:,}" for reason, count in ranked) or "-"


def _share(one: Share, unknown: int) -> str:
    if one.value is None:
        return f"{unknown:,} undecided" if unknown else "-"
    return f"{one.value:.1%} ({one.low:.0%}-{one.high:.0%}) of {one.n:,}".replace("%", "")


def _mean(one: Effect | None) -> str:
    return "-" if one is None else f"{one.value:.1f} {_half(one.ci95)}"


def _difference(one: Effect | None) -> str:
    if one is None or one.difference is None or one.difference_ci95 is None:
        return ""
    return f"{one.difference:+.1f} {_half(one.difference_ci95)}"


def _half(interval: tuple[float, float]) -> str:
    """Half its width: the intervals of means over seeds are symmetric."""
    return f"±{(interval[1] - interval[0]) / 2:.1f}"


def _table(
    title: str, names: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = ()
) -> str:
    """Columns of text under a title; the first and those in `words` are left-aligned and wrap."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=None)
    for index, name in enumerate(names):
        wordy = index == 0 or index in words
        table.add_column(Text(name), justify="left" if wordy else "right", no_wrap=not wordy)
    for row in rows:
        # Text, not str: a name with [brackets] is no markup.
        table.add_row(*(Text(cell) for cell in row))
    # Numbers are never cut: a table without wordy columns takes the room it needs.
    width = _WIDTH if words else 1_000
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    console.print(table)
    drawn = console.file.getvalue() if isinstance(console.file, io.StringIO) else ""
    return title + "\n" + "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"
