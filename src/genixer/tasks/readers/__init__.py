"""Lenient readers: what other generators print for our tasks, one reader a family of forms.

None is tried unless a config names it, and a row that one has read carries its name.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from genixer.registry import Entry, Registry

if TYPE_CHECKING:
    from genixer.tasks.readers.base import Reader

__all__ = ["READERS", "load_reader"]

_HERE = "genixer.tasks.readers"

READERS = Registry(
    "reader",
    {
        "json": Entry(f"{_HERE}.json_objects:JsonReader", "a JSON object or array"),
        "fenced_json": Entry(
            f"{_HERE}.json_objects:FencedJsonReader", "JSON in a Markdown code fence"
        ),
        "marks": Entry(f"{_HERE}.labels:MarksReader", "Q: .. A: .., or the words on own lines"),
        "bold": Entry(f"{_HERE}.labels:BoldReader", "**Question:** .. **Answer:** .."),
        "numbered": Entry(f"{_HERE}.labels:NumberedReader", "Q1: .. A1: .., or 1. Q: .. A: .."),
    },
)


@cache
def load_reader(name: str) -> Reader:
    """The reader called `name`; raises `UnknownNameError` naming the near ones.

    >>> load_reader("marks").other_form
    'no_marks'
    """
    reader: Reader = READERS.load(name)()
    return reader
