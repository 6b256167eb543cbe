"""The references of `refer`: `refs(unc).p` is a pickle, converted to JSON entries on first use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from genixer.errors import ConfigError
from genixer.sources.pickles import PickleError, read_pickle
from genixer.store.entries import AnyEntries, json_array
from genixer.store.held_entries import HeldEntries

__all__ = ["refer_file"]

_STARTS = (b"\x80", b"(", b"]")
"""How pickles of lists begin (protocols 2 and up, 0, 1); a JSON array never does."""
_DEEPEST = 16
_GROWTH = 64
"""How much larger than its pickle a list may be. Values may be shared, and so a small file can
spell more than any memory holds; the keys of real files, which are shared, make them grow by 3."""


def refer_file(path: Path) -> AnyEntries:
    """References of the pickle or of the JSON array in a file; raises `ConfigError` for others."""
    try:
        with path.open("rb") as file:
            start = file.read(1)
            if start not in _STARTS:
                return json_array(path)
            data = start + file.read()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        refs = read_pickle(data)
        if not isinstance(refs, list):
            raise PickleError(f"expected a list, got a {type(refs).__name__}")
        left = _GROWTH * len(data)
        for ref in refs:
            left = _weigh(ref, left)
    except PickleError as error:
        raise ConfigError(
            f"{path}: refused: {error}; a refer file is a list of dicts of text and numbers"
        ) from error
    raws = [_json(ref) for ref in refs]
    return HeldEntries(raws, [f"{path.name}[{index}]" for index in range(len(raws))])


def _weigh(value: Any, left: int, depth: int = 0) -> int:
    """What is `left` of the characters and values that may be written, after `value`."""
    left -= len(value) + 1 if isinstance(value, str) else 1
    if left < 0 or depth > _DEEPEST:
        raise PickleError("it holds itself, or the same things too often")
    if isinstance(value, dict):
        for name, inner in value.items():
            left = _weigh(inner, left - len(name), depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            left = _weigh(inner, left, depth + 1)
    return left


def _json(ref: Any) -> bytes:
    """The reference as JSON; text that is not UTF-8 has its own bytes and is refused when read."""
    text = json.dumps(ref, ensure_ascii=False)
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a surrogate pair, spelt by a `V` string
        return text.encode("utf-8", "surrogatepass")
