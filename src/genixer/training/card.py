"""The README of a trained model: from what, on what, how, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from genixer.training.schedule import Schedule

__all__ = ["write_cards"]

_LOAD_ADAPTER = """```python
from peft import PeftModel

adapted = PeftModel.from_pretrained(start_model, "THIS FOLDER")
```"""


def write_cards(
    folder: Path,
    loads: str,
    start: str,
    preset: str,
    rows: Mapping[str, int],
    schedule: Schedule,
    steps: int,
) -> None:
    """Write `README.md` into `model/` and `adapter/` below `folder`, where they are.

    `loads` is the function, `module.function`, that loads the model; `rows` counts what was trained
    on, by source and task.
    """
    module = loads.rpartition(".")[0]
    load_model = f"""```python
import {module}

model = {loads}("THIS FOLDER")
```"""
    ways = {"model": ("transformers", load_model), "adapter": ("peft", _LOAD_ADAPTER)}
    for name, (library, how) in ways.items():
        if (folder / name).is_dir():
            text = _card(library, how, start, preset, rows, schedule, steps)
            (folder / name / "README.md").write_text(text, encoding="utf-8")


def _card(
    library: str,
    how: str,
    start: str,
    preset: str,
    rows: Mapping[str, int],
    schedule: Schedule,
    steps: int,
) -> str:
    counted = "\n".join(f"| {name} | {count} |" for name, count in sorted(rows.items()))
    changed = schedule.model_dump(exclude_defaults=True, exclude={"steps"})
    settings = "\n".join(f"- `{key}: {value}`" for key, value in sorted(changed.items()))
    return f"""---
library_name: {library}
pipeline_tag: image-text-to-text
---

# Trained with Genixer

Started from `{start}` (preset `{preset}`), {steps} steps. The licences of those weights and of the
data below hold for this model, too.

## Data

| source/task | rows |
|---|---|
{counted}

## Settings that are not the default

{settings or "none"}

## Loading

{how}
"""
