"""The card of a dataset folder: the header that hubs read, and what a person should know."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

import yaml

from genixer.data import Sample

__all__ = ["Contents", "card", "hub_licences"]

_HUB_LICENCES = {
    "apache-2.0": "apache-2.0",
    "mit": "mit",
    "cc0": "cc0-1.0",
    "cc0-1.0": "cc0-1.0",
    "cc-by-4.0": "cc-by-4.0",
    "cc-by-3.0": "cc-by-3.0",
    "cc-by-2.0": "cc-by-2.0",
    "cc-by-sa-4.0": "cc-by-sa-4.0",
    "cc-by-sa-3.0": "cc-by-sa-3.0",
    "cc-by-nc-4.0": "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0": "cc-by-nc-sa-4.0",
    "cc-by-nc-nd-4.0": "cc-by-nc-nd-4.0",
}
"""What hubs call a licence, by its name in lower case with hyphens for spaces."""
_SIZES = {
    1_000: "n<1K",
    10_000: "1K<n<10K",
    100_000: "10K<n<100K",
    1_000_000: "100K<n<1M",
    10_000_000: "1M<n<10M",
    100_000_000: "10M<n<100M",
}
_USE = """\
```python
from datasets import load_dataset

rows = load_dataset("parquet", data_files="data/*.parquet", split="train")
rows[0]["image"], rows[0]["messages"]
```

`messages` are the turns of a conversation about `image`. Coordinates in the text are in the frame
`{frame}` with {decimals} decimals; `boxes` and `points` hold them in reading order, exact, as
fractions of the upright, un-padded image: [x0, y0, x1, y1] and [x, y]. `origin` tells where a row
comes from, as JSON: source, licence, generator and revision, parents, scores of the filters."""


class Contents:
    """What went into a dataset, counted row by row."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.tasks: Counter[str] = Counter()
        self.origins: Counter[tuple[str, ...]] = Counter()
        self.bytes = 0

    def add(self, sample: Sample) -> None:
        """Count one row."""
        origin = sample.origin
        self.tasks[sample.task] += 1
        self.origins[origin.source, origin.licence, origin.generator] += 1

    @property
    def rows(self) -> int:
        """Rows in all."""
        return self.tasks.total()


def hub_licences(stated: Mapping[str, int] | set[str]) -> list[str]:
    """Identifiers that hubs know for the licences stated; `other` for what is none of theirs.

    >>> hub_licences({"CC BY 4.0 (text)", "MIT", "ask us"})
    ['cc-by-4.0', 'mit', 'other']
    """
    plain = {" ".join(re.sub(r"\([^()]*\)", " ", one).lower().split()) for one in stated}
    return sorted({_HUB_LICENCES.get(one.replace(" ", "-"), "other") for one in plain}) or ["other"]


def card(contents: Contents, title: str, frame: str, decimals: int) -> str:
    """Markdown with its YAML header."""
    sections = [
        f"---\n{_header(contents)}---",
        f"# {_plain(title)}",
        f"{contents.rows:,} rows, {contents.bytes / 1e6:,.1f} MB in Parquet.",
        "## Use",
        _USE.format(frame=frame, decimals=decimals),
        "## Rows by task",
        _table(("task", "rows"), {(name,): n for name, n in contents.tasks.items()}),
        "## Sources and licences",
        "Who passes these rows on names the sources and keeps to the strictest of the licences.",
        _table(("source", "licence", "written by", "rows"), contents.origins),
    ]
    return "\n\n".join(sections) + "\n"


def _header(contents: Contents) -> str:
    licences = hub_licences({licence for _, licence, *_ in contents.origins})
    header = {
        "license": licences[0] if len(licences) == 1 else licences,
        "task_categories": ["visual-question-answering", "image-text-to-text"],
        "tags": ["genixer", *(["synthetic"] if any(by for *_, by in contents.origins) else [])],
        "size_categories": [_size(contents.rows)],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": "data/train-*"}],
            }
        ],
        "dataset_info": {
            "splits": [
                {"name": "train", "num_bytes": contents.bytes, "num_examples": contents.rows}
            ],
            "download_size": contents.bytes,
            "dataset_size": contents.bytes,
        },
    }
    return yaml.safe_dump(header, sort_keys=False, allow_unicode=True)


def _size(rows: int) -> str:
    """Size class of a dataset in the words of the hubs.

    >>> _size(999), _size(1000), _size(2_000_000_000)
    ('n<1K', '1K<n<10K', 'n>100M')
    """
    return next((name for limit, name in _SIZES.items() if rows < limit), "n>100M")


def _table(names: tuple[str, ...], rows: Mapping[tuple[str, ...], int]) -> str:
    """Markdown table; the last column is the count."""
    lines = [names, ("---",) * (len(names) - 1) + ("---:",)]
    lines += [
        (*(_plain(cell) or "not stated" for cell in key), f"{rows[key]:,}") for key in sorted(rows)
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _plain(text: str) -> str:
    """`text` on one line without what Markdown or HTML would read as markup.

    >>> _plain("a|b <i>c")
    'a b i c'
    """
    return " ".join(re.sub(r"[|<>`\[\]\\*#]|\s", " ", text).split())
