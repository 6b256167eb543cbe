"""A short card beside the rows a run kept: what they are, how they came about, what to know."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from genixer.filters.decontaminate import LeakTable
from genixer.report.model import Page, PrecisionRow

__all__ = ["card"]


_INTRODUCTION = """\
Questions, answers and boxes about images, written by a model and filtered. Made with Genixer,
config digest `{digest}`."""
_WARNING = """\
No person wrote or checked these rows one by one. What the filters let through can be wrong; a judge
that shares its ancestry with the generator shares its blind spots. Boxes are [x0, y0, x1, y1] as
fractions of the upright, un-padded image."""


def card(page: Page, tasks: Mapping[str, int], licence: str) -> str:
    """Markdown with the header that dataset hubs read; `tasks` counts the kept rows by task.

    >>> print(card(Page("demo", "3f2a"), {"rec": 2}, "CC-BY-SA-4.0").splitlines()[8])
    # demo: 2 generated rows
    """
    rows = sum(tasks.values())
    sections = [
        _header(rows, licence),
        f"# {_plain(page.title)}: {rows:,} generated rows",
        _INTRODUCTION.format(digest=_plain(page.digest)),
        "## Rows by task",
        _table(["task", "rows"], [[name, f"{tasks[name]:,}"] for name in sorted(tasks)]),
    ]
    if page.funnel:
        steps = [[one.step, f"{one.items:,}", f"{one.kept:,}"] for one in page.funnel]
        sections += ["## How they came about", _table(["step", "in", "kept"], steps)]
    if page.precision:
        sections += ["## Share of true rows", _precision(page.precision[-1])]
    sections += ["## Leaks of benchmarks", *_leaks(page.leaks)]
    sections += ["## Know before use", _WARNING]
    if page.licences:
        sections += ["## Licences", "\n".join(f"- {_plain(line)}" for line in page.licences)]
    return "\n\n".join(sections) + "\n"


def _header(rows: int, licence: str) -> str:
    lines = [
        f"license: {_plain(licence).lower()}",
        "task_categories: [visual-question-answering, image-text-to-text]",
        "tags: [synthetic, genixer]",
        f"size_categories: [{_size(rows)}]",
        "language: [en]",
    ]
    return "\n".join(["---", *lines, "---"])


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown table; the first column is words, the others numbers."""
    lines = ["| " + " | ".join(map(_plain, cells)) + " |" for cells in (names, *rows)]
    lines.insert(1, "|---|" + "---:|" * (len(names) - 1))
    return "\n".join(lines)


def _precision(row: PrecisionRow) -> str:
    known = [
        f"{_plain(name)} {one.value:.1%} ({one.low:.1%} to {one.high:.1%}, n = {one.n:,})"
        for name, one in row.columns.items()
        if one.value is not None
    ]
    return "By the exact truth, with 95 % intervals: " + ("; ".join(known) or "unknown") + "."


def _leaks(leaks: Mapping[str, LeakTable]) -> list[str]:
    """What the check of each mixture found; `not checked` where there was none."""
    checked = {step: table for step, table in leaks.items() if table.checked}
    missing = [_plain(step) for step in leaks if step not in checked]
    parts = []
    if missing or not checked:
        parts.append(f"{', '.join(missing) or 'These rows'}: not checked against any benchmark.")
    rows = [
        [step, one.benchmark]
        + [f"{n:,}" for n in (one.rows, one.by_bytes, one.by_look, one.by_words)]
        for step, table in checked.items()
        for one in table.benchmarks
    ]
    if rows:
        names = ["mixture", "benchmark", "taken out", "same bytes", "same look", "same words"]
        parts.append(_table(names, rows))
    return parts


def _plain(text: str) -> str:
    """`text` on one line without what Markdown or YAML would read as markup.

    >>> _plain("a|b <i>c")
    'a b i c'
    """
    return " ".join(re.sub(r"[|<>`\[\]\\*#]|\s", " ", text).split())


def _size(rows: int) -> str:
    for limit, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K")):
        if rows < limit:
            return name
    return "100K<n<1M" if rows < 1_000_000 else "n>1M"
