"""Readers of JSON: an object or an array, bare or in a Markdown code fence.

One object is a pair. An array of objects, or one under a key such as `conversations`, is a
dialogue: of pairs, or of turns that say whose they are. Keys are read in any case, with spaces or
hyphens for underscores:

* question: `question`, `q`, `query`, `prompt`, `instruction`, `user`, `human`;
* answer: `answer`, `a`, `response`, `output`, `assistant`, `gpt`; or a place by itself: `box`,
  `bbox`, `bbox_2d`, `point`, `point_2d`;
* options of the question: `options`, `choices`, in an array or by letter; the answer is a letter or
  one option's words;
* turns: `from` and `value`, or `role` and `content`.

Keys that describe a row (`id`, `type` ..) are passed over; any other is refused, for it may hold
words that would be lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence, Set
from typing import Any, ClassVar

from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.brackets import UnreadableError
from genixer.tasks.readers.base import Pair
from genixer.tasks.shape import LETTERS

__all__ = ["FencedJsonReader", "JsonReader"]

_QUESTIONS = frozenset(("question", "q", "query", "prompt", "instruction", "user", "human"))
_WORDS = frozenset(("answer", "a", "response", "output", "assistant", "gpt"))
_PLACES = frozenset(("box", "bbox", "bbox_2d", "point", "point_2d"))
_OPTIONS = frozenset(("options", "choices"))
_DIALOGUES = frozenset(
    (
        *("conversations", "conversation", "messages", "dialogue", "dialog", "turns"),
        *("pairs", "qa", "qa_pairs", "questions"),
    )
)
_ABOUT = frozenset(
    (
        *("id", "question_id", "image_id", "image", "type", "question_type"),
        *("task", "category", "difficulty"),
    )
)
_SIDES = (("from", "value"), ("role", "content"))
_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}
_FENCE = re.compile(r"```(?:json|JSON)?[ \t]*\n((?:(?!```).)*)```", re.DOTALL)
_NUMBER = re.compile(r"(0|[1-9][0-9]*)(?:\.([0-9]+))?")
_MARKED = re.compile(r"\(?([A-Z])[.):] *")


class _Number(str):
    """A number as it is printed: which digits it has matters for a box."""

    __slots__ = ()


class JsonReader:
    """An object or array, whole and alone.

    A number of a place must lie on the grid that the canvas prints; it is written out with all its
    decimals and never rounded. Reasons, besides those of the codec: `not_json` (another form),
    `bad_json`, `repeated_key`, `unknown_key`, `no_question`, `no_answer`, `ambiguous_keys`,
    `bad_value`, `bad_turns`, `bad_options`, `answer_not_an_option`, `ambiguous_answer`, `bad_box`.
    """

    name: ClassVar[str] = "json"
    other_form: ClassVar[str] = "not_json"

    def pairs(self, text: str, canvas: Canvas) -> list[Pair] | ParseError:
        """Questions and answers in the values.

        >>> JsonReader().pairs('{"Q": "What is it?", "A": "a cat"}', Canvas())
        [('What is it?', 'a cat')]
        >>> JsonReader().pairs('{"q": "Where?", "bbox": [0, 0.5, 0.25, 1.0]}', Canvas("unit", 2))
        [('Where?', '[0.00,0.50,0.25,1.00]')]
        """
        if not text.startswith(("{", "[")):
            return ParseError(self.other_form, text)
        try:
            return _pairs(_loaded(text), canvas)
        except UnreadableError as error:
            return ParseError(error.reason, error.detail)


class FencedJsonReader:
    """One code fence with JSON in it and nothing around it.

    Reasons: `not_fenced` (another form), `bad_fence` (words around it, several, another language),
    and those of `json`.
    """

    name: ClassVar[str] = "fenced_json"
    other_form: ClassVar[str] = "not_fenced"

    def pairs(self, text: str, canvas: Canvas) -> list[Pair] | ParseError:
        r"""Questions and answers in the values.

        >>> FencedJsonReader().pairs('```json\n{"q": "What?", "a": "a cat"}\n```', Canvas())
        [('What?', 'a cat')]
        """
        if "```" not in text:
            return ParseError(self.other_form, text)
        fence = _FENCE.fullmatch(text)
        if fence is None:
            return ParseError("bad_fence", text)
        return JsonReader().pairs(fence[1].strip(), canvas)


def _loaded(text: str) -> Any:
    """Values of the JSON; numbers stay as they are printed. Raises `UnreadableError`."""
    try:
        return json.loads(
            text,
            parse_float=_Number,
            parse_int=_Number,
            parse_constant=_no_number,
            object_pairs_hook=_object,
        )
    except (ValueError, RecursionError) as error:
        raise UnreadableError("bad_json", str(error)) from error


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _object(members: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in members:
        plain = re.sub(r"[ -]", "_", key.strip().lower())
        if plain in found:
            # The parser would keep the last one and say nothing.
            raise UnreadableError("repeated_key", key)
        found[plain] = value
    return found


def _pairs(value: Any, canvas: Canvas) -> list[Pair]:
    if isinstance(value, dict):
        if not _DIALOGUES & value.keys():
            return [_pair(value, canvas)]
        key = _only(value, _DIALOGUES, "no_question")
        _known(value, {key})
        value = value[key]
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value) or not value:
        raise UnreadableError("bad_value", f"expected objects, got {value!r}"[:200])
    sides = next((pair for pair in _SIDES if set(pair) <= value[0].keys()), None)
    return _of_turns(value, sides) if sides else [_pair(one, canvas) for one in value]


def _of_turns(turns: Sequence[Mapping[str, Any]], sides: tuple[str, str]) -> list[Pair]:
    roles, words = [], []
    for turn in turns:
        if turn.keys() != set(sides):
            raise UnreadableError("bad_turns", ", ".join(turn))
        roles.append(_ROLES.get(_text(turn[sides[0]]).lower()))
        words.append(_text(turn[sides[1]]))
    if roles != ["user", "assistant"] * (len(roles) // 2):
        raise UnreadableError("bad_turns", f"{len(roles)} turns that are no pairs")
    return list(zip(words[::2], words[1::2], strict=True))


def _pair(row: Mapping[str, Any], canvas: Canvas) -> Pair:
    _known(row, _QUESTIONS | _WORDS | _PLACES | _OPTIONS)
    question = _text(row[_only(row, _QUESTIONS, "no_question")])
    key = _only(row, _WORDS | _PLACES, "no_answer")
    answer = row[key]
    if key in _PLACES or isinstance(answer, list):
        said = _bracket(answer, canvas)
    else:
        said = str(answer) if isinstance(answer, _Number) else _text(answer)
    held = _OPTIONS & row.keys()
    if not held:
        return question, said
    texts = _option_texts(row[_only(row, _OPTIONS, "bad_options")])
    lines = "".join(f"\n{letter}. {text}" for letter, text in zip(LETTERS, texts, strict=False))
    return question + lines, _letter(said, texts)


def _known(row: Mapping[str, Any], keys: Set[str]) -> None:
    """Refuse keys besides `keys` that may hold words."""
    unknown = row.keys() - keys - _ABOUT
    if unknown:
        raise UnreadableError("unknown_key", ", ".join(sorted(unknown)))


def _only(row: Mapping[str, Any], keys: frozenset[str], missing: str) -> str:
    """The one of `keys` that `row` has."""
    held = sorted(keys & row.keys())
    if len(held) != 1:
        raise UnreadableError("ambiguous_keys" if held else missing, ", ".join(row))
    return held[0]


def _text(value: Any) -> str:
    if not isinstance(value, str) or isinstance(value, _Number):
        raise UnreadableError("bad_value", f"expected words, got {value!r}"[:200])
    return value


def _bracket(value: Any, canvas: Canvas) -> str:
    """A box, a point or the boxes of one phrase as the grammar writes them."""
    rows = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
    parts = []
    for row in rows:
        if not isinstance(row, list) or not all(isinstance(one, _Number) for one in row):
            raise UnreadableError("bad_box", f"expected numbers, got {row!r}"[:200])
        parts.append(",".join(_on_grid(number, canvas.decimals) for number in row))
    return f"[{';'.join(parts)}]"


def _on_grid(number: str, decimals: int) -> str:
    """`number` with all its decimals; the value stays what it is."""
    match = _NUMBER.fullmatch(number)
    fraction = (match[2] or "").rstrip("0") if match else ""
    if match is None or len(fraction) > decimals:
        raise UnreadableError("bad_box", f"{number} is not a number of {decimals} decimals")
    return f"{match[1]}.{fraction:0<{decimals}}" if decimals else match[1]


def _option_texts(value: Any) -> list[str]:
    """Options in order, without the letters they are marked with."""
    if isinstance(value, dict):
        letters = [letter.upper() for letter in value]
        value = list(value.values())
        if letters != list(LETTERS[: len(letters)]):
            raise UnreadableError("bad_options", ", ".join(letters))
    if not isinstance(value, list) or not 2 <= len(value) <= len(LETTERS):
        raise UnreadableError("bad_options", f"expected several, got {value!r}"[:200])
    texts = [str(one) if isinstance(one, _Number) else _text(one) for one in value]
    marked = [_MARKED.match(text) for text in texts]
    if [match and match[1] for match in marked] == list(LETTERS[: len(texts)]):
        return [_MARKED.sub("", text, count=1) for text in texts]
    return texts


def _letter(said: str, texts: Sequence[str]) -> str:
    """Letter of the option that `said` names: by its letter, its words, or both."""
    mark = _MARKED.match(said)
    both = (mark[1], said[mark.end() :]) if mark else None
    named = [
        letter
        for letter, text in zip(LETTERS, texts, strict=False)
        if said in (letter, text) or both == (letter, text)
    ]
    if len(named) != 1:
        raise UnreadableError("ambiguous_answer" if named else "answer_not_an_option", said)
    return named[0]
