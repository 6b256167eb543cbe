"""Writes docs/settings.md from the settings classes, so that it cannot grow old: make docs."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from genixer.config import Costs, RayConfig, RunConfig, StepConfig
from genixer.filters import FILTERS
from genixer.inference import BACKENDS
from genixer.registry import Registry
from genixer.sources import SOURCES
from genixer.stages import STAGES

TARGET = Path(__file__).with_name("settings.md")
HEAD = """\
# Settings

Made from the classes by `make docs`; edit those. Unknown keys are errors; the message says which
key is near.

Any key can be overlaid on the command line: `genixer run demo seed=11 steps.mix.with.size=100`.
"""


def reference() -> str:
    """The whole page."""
    parts = [
        HEAD,
        "## A run",
        _table(RunConfig),
        "### ray",
        _table(RayConfig),
        "### costs",
        _table(Costs),
        "## A step",
        _table(StepConfig),
    ]
    for title, table in (
        ("Stages: the `with` of a step", STAGES),
        ("Filters: entries of a filter step's `filters`", FILTERS),
        ("Sources: entries of a collect step's `sources`", SOURCES),
        ("Backends", BACKENDS),
    ):
        parts += [f"## {title}", *_plugins(table)]
    return "\n\n".join(parts) + "\n"


def _plugins(table: Registry) -> list[str]:
    parts = []
    for name, entry in table.items():
        licence = f" Licence of the data: {entry.licence}." if entry.licence else ""
        parts.append(f"### {name}\n\n{entry.about}.{licence}")
        settings = getattr(table.load(name), "Settings", None)
        if settings is not None and settings.model_fields:
            parts.append(_table(settings))
            parts += [f"Each `{one.__name__}`:\n\n{_table(one)}" for one in _inner(settings)]
    return parts


def _table(model: type[BaseModel]) -> str:
    notes = _notes(model)
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        key = field.alias or name
        cells = (f"`{key}`", f"`{_type(field)}`", _default(field), notes.get(name, ""))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _notes(model: type[BaseModel]) -> dict[str, str]:
    """The line of text under each field, those of the bases included."""
    notes: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if not issubclass(kind, BaseModel) or kind is BaseModel:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
        statements = body.body if isinstance(body, ast.ClassDef) else []
        for field, note in pairwise(statements):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(note, ast.Expr)
                and isinstance(note.value, ast.Constant)
            ):
                notes[field.target.id] = " ".join(str(note.value.value).split())
    return notes


def _inner(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Settings classes that the fields of `model` hold, each once, theirs included."""
    found: dict[type[BaseModel], None] = {}
    queue: list[Any] = [field.annotation for field in model.model_fields.values()]
    while queue:
        one = queue.pop(0)
        if isinstance(one, type) and issubclass(one, BaseModel):
            if one not in found and one is not model:
                found[one] = None
                queue += [field.annotation for field in one.model_fields.values()]
        else:
            queue += get_args(one)
    return list(found)


def _type(field: FieldInfo) -> str:
    text = inspect.formatannotation(field.annotation)
    text = re.sub(r"Annotated\[(\w+), FieldInfo\(.*?\]\)\]", r"\1", text.replace("typing.", ""))
    return re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", text).replace("NoneType", "None")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.default
    if value is PydanticUndefined and field.default_factory is not None:
        value = field.default_factory()  # type: ignore[call-arg]
    return f"`{value!r}`" if value not in ("", None, {}, [], ()) else ""


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
    sys.stdout.write(f"wrote {TARGET.name}\n")
