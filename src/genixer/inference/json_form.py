"""The form a server is made to keep to, and whether it has.

It is one that the reader `json` takes: `{"pairs": [{"question": "..", "answer": ".."}]}`.
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["fits_form", "response_format"]


class _Pair(msgspec.Struct, forbid_unknown_fields=True):
    question: str
    answer: str


class _Pairs(msgspec.Struct, forbid_unknown_fields=True):
    pairs: list[_Pair]


def response_format() -> dict[str, Any]:
    """What the API calls it.

    >>> response_format()["type"]
    'json_schema'
    """
    words = {"type": "string"}
    pair = {
        "type": "object",
        "properties": {"question": words, "answer": words},
        "required": ["question", "answer"],
        "additionalProperties": False,
    }
    schema = {
        "type": "object",
        "properties": {"pairs": {"type": "array", "items": pair}},
        "required": ["pairs"],
        "additionalProperties": False,
    }
    named = {"name": "pairs", "strict": True, "schema": schema}
    return {"type": "json_schema", "json_schema": named}


def fits_form(text: str) -> bool:
    """Whether `text` is of the form, with a pair at least.

    >>> fits_form('{"pairs": [{"question": "What?", "answer": "a cat"}]}'), fits_form("a cat")
    (True, False)
    """
    try:
        return bool(msgspec.json.decode(text, type=_Pairs).pairs)
    except msgspec.DecodeError:
        return False
