"""The form a server is made to keep to, and whether it has.

It is that of the request (`Request.schema`), or else one that the reader `json` takes:
`{"pairs": [{"question": "..", "answer": ".."}]}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["answer_schema", "fits_form", "response_format"]


class _Pair(msgspec.Struct, forbid_unknown_fields=True):
    question: str
    answer: str


class _Pairs(msgspec.Struct, forbid_unknown_fields=True):
    pairs: list[_Pair]


def answer_schema(schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The JSON schema of an answer: `schema` where a request has one, else that of a pair or more.

    >>> answer_schema()["required"]
    ['pairs']
    """
    if schema:
        return dict(schema)
    words = {"type": "string"}
    pair = {
        "type": "object",
        "properties": {"question": words, "answer": words},
        "required": ["question", "answer"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"pairs": {"type": "array", "items": pair, "minItems": 1}},
        "required": ["pairs"],
        "additionalProperties": False,
    }


def response_format(schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """`answer_schema` as the OpenAI API takes it.

    >>> response_format()["type"]
    'json_schema'
    """
    named = {"name": "answer" if schema else "pairs", "strict": True}
    return {"type": "json_schema", "json_schema": {**named, "schema": answer_schema(schema)}}


def fits_form(text: str, schema: Mapping[str, Any] | None = None) -> bool:
    """Whether `text` is of the form: an object with the keys of `schema`, or a pair at least.

    What the values are is for the reader and the task's codec to say.

    >>> fits_form('{"pairs": [{"question": "What?", "answer": "a cat"}]}'), fits_form("a cat")
    (True, False)
    """
    if schema:
        try:
            return msgspec.json.decode(text, type=dict[str, Any]).keys() == set(schema["required"])
        except (msgspec.DecodeError, RecursionError):
            return False
    try:
        return bool(msgspec.json.decode(text, type=_Pairs).pairs)
    except msgspec.DecodeError:
        return False
