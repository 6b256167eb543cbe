"""Prompts for chat models that were not trained as generators, and the JSON they answer with.

A prompt says what to write and how a box is written; the schema lets a backend that can do so hold
the model to the form. The reader `json` reads the answer, and the task's codec checks it: a schema
is no proof.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from string import Template
from typing import Any

from genixer.data import Box, Point, Turn
from genixer.frames import box_to_frame
from genixer.tasks.base import Canvas
from genixer.tasks.brackets import write_box, write_point
from genixer.tasks.grammar import write_turn
from genixer.tasks.instructions import lines
from genixer.tasks.kinds import kind_line
from genixer.tasks.shape import LETTERS, are_pairs, is_bare, options, stem

__all__ = ["ZERO_SHOT", "write_json", "zero_shot"]

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string", "minLength": 1}
_BOX, _POINT = Box(0.25, 0.5, 0.75, 1.0), Point(0.5, 0.75)


def _object(**properties: Any) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _pair(_: Canvas) -> Schema:
    return _object(question=_TEXT, answer=_TEXT)


def _existence(_: Canvas) -> Schema:
    return _object(question=_TEXT, answer={"enum": ["yes", "no"]})


def _choice(_: Canvas) -> Schema:
    texts = {"type": "array", "items": _TEXT, "minItems": 4, "maxItems": 4}
    return _object(question=_TEXT, options=texts, answer={"enum": list(LETTERS[:4])})


def _talk(canvas: Canvas) -> Schema:
    return _object(
        conversation={"type": "array", "items": _pair(canvas), "minItems": 2, "maxItems": 4}
    )


def _place(canvas: Canvas) -> Schema:
    number = {"type": "number" if canvas.decimals else "integer"}
    box = {"type": "array", "items": number, "minItems": 4, "maxItems": 4}
    return _object(question=_TEXT, box=box)


_SCHEMAS: Mapping[str, Callable[[Canvas], Schema]] = {
    "": _pair,
    "common_vqa": _pair,
    "adv_vqa": _existence,
    "mc_vqa": _choice,
    "md": _talk,
    "rec": _place,
    "reg": _pair,
    "point_qa": _pair,
    "qcboxa": _pair,
    "rd": _talk,
    "dense_caption": _pair,
}
ZERO_SHOT = tuple(name for name in _SCHEMAS if name)
"""Tasks there is a prompt for."""


def zero_shot(task: str, kind: str, canvas: Canvas) -> tuple[str, Schema]:
    """Prompt and JSON schema for `task` (empty: any question), boxes as `canvas` says.

    >>> prompt, schema = zero_shot("adv_vqa", "absent", Canvas())
    >>> prompt.splitlines()[-2]
    'Ask about something that is not there: the answer is no.'
    >>> schema["required"]
    ['question', 'answer']
    """
    *words, form = lines(f"zero_shot/{task or 'any'}")
    if kind:
        words.append(kind_line(task, kind))
    text = Template("\n".join([*words, form])).safe_substitute(
        box=_how_to_write_a_box(canvas),
        inline=write_box([_BOX], canvas),
        point=write_point(_POINT, canvas),
    )
    return text, _SCHEMAS[task](canvas)


def _how_to_write_a_box(canvas: Canvas) -> str:
    corners = box_to_frame(Box(0.0, 0.0, 1.0, 1.0), canvas.frame, canvas.width, canvas.height)
    left, top, right, bottom = (f"{round(corner, canvas.decimals):g}" for corner in corners)
    numbers = f"numbers of {canvas.decimals} decimals" if canvas.decimals else "whole numbers"
    return (
        f"A box is left, top, right, bottom in {numbers}: the image reaches from {left} to {right} "
        f"across and from {top} to {bottom} down."
    )


def write_json(turns: Sequence[Turn], canvas: Canvas) -> str:
    """The JSON in which a model that was asked zero-shot would say `turns`.

    Raises `CannotEncodeError` for words the grammar cannot carry.

    >>> write_json((Turn("user", "What is it?"), Turn("assistant", "cat")), Canvas())
    '{"question": "What is it?", "answer": "cat"}'
    """
    if not are_pairs(turns):
        return "{}"
    pairs = [
        _as_object(question, answer, canvas)
        for question, answer in zip(turns[::2], turns[1::2], strict=True)
    ]
    if len(pairs) > 1:
        return f'{{"conversation": [{", ".join(pairs)}]}}'
    return pairs[0]


def _as_object(question: Turn, answer: Turn, canvas: Canvas) -> str:
    asked, said = write_turn(question, canvas), write_turn(answer, canvas)
    members = [("question", _quoted(stem(asked)))]
    if options(asked):
        members.append(("options", json.dumps(list(options(asked)), ensure_ascii=False)))
    if is_bare(answer) and len(answer.boxes) == 1 and answer.text == "<box>":
        members.append(("box", said))
    else:
        members.append(("answer", _quoted(said)))
    return "{" + ", ".join(f'"{key}": {value}' for key, value in members) + "}"


def _quoted(words: str) -> str:
    return json.dumps(words, ensure_ascii=False)
