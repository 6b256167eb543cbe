"""Pickles as plain data: lists, dicts, tuples, text and numbers, read without running anything.

Python's own unpickler imports and calls what a file names. This reader knows only the opcodes that
build plain data; it has none that names, calls or changes anything else.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from typing import Any

__all__ = ["PickleError", "read_pickle"]

_DEEPEST = 64
"""Marks that may be open, and stacks of values that may wait: real files need a few."""
_MOST_WAITING = 100_000
_LONGEST_NUMBER = 1000
"""Bytes of one integer: more is no id and no size."""


class PickleError(ValueError):
    """A pickle that is broken or holds more than plain data."""


def read_pickle(data: bytes) -> Any:
    r"""Value that a pickle of protocol 0 to 5 holds, if it is plain data; raises `PickleError`.

    Text of Python 2 that is not UTF-8 keeps its bytes (as `surrogateescape`).

    >>> read_pickle(b"(lp0\nS'cat'\np1\naI7\na.")
    ['cat', 7]
    >>> read_pickle(b"cos\nsystem\n(S'ls'\ntR.")
    Traceback (most recent call last):
    ...
    genixer.sources.pickles.PickleError: opcode b'c' at byte 0 is not plain data
    """
    reader = _Reader(data)
    try:
        return reader.run()
    except (IndexError, KeyError, struct.error, UnicodeError, ValueError, TypeError) as error:
        if isinstance(error, PickleError):
            raise
        raise PickleError(f"broken at byte {reader.at}: {error!r}") from error


class _Reader:
    """A stack machine over `data`; `at` is the byte it has come to."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._build: dict[int, Callable[[], None]] = {
            ord("("): self._mark,
            ord("a"): self._append,
            ord("e"): self._appends,
            ord("s"): self._set,
            ord("u"): self._sets,
            ord("p"): lambda: self._put(int(self._line())),
            ord("q"): lambda: self._put(self._take(1)[0]),
            ord("r"): lambda: self._put(self._unpack("<I")),
            0x94: lambda: self._put(len(self._memo)),
        }

    def run(self) -> Any:
        while True:
            start, opcode = self.at, self._take(1)[0]
            if opcode == ord("."):
                (value,) = self._stack
                return value
            if opcode in self._build:
                self._build[opcode]()
            elif opcode in _SKIP:
                self._take(_SKIP[opcode])
            elif opcode in _VALUES:
                self._push(_VALUES[opcode](self))
            else:
                raise PickleError(f"opcode {bytes([opcode])!r} at byte {start} is not plain data")

    def _take(self, size: int) -> bytes:
        piece = self.data[self.at : self.at + size]
        if len(piece) != size:
            raise PickleError(f"cut short: {size} bytes wanted at byte {self.at}")
        self.at += size
        return piece

    def _line(self) -> bytes:
        end = self.data.index(b"\n", self.at)
        line, self.at = self.data[self.at : end], end + 1
        return line

    def _unpack(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _push(self, value: Any) -> None:
        if len(self._stack) >= _MOST_WAITING:
            raise PickleError(f"more than {_MOST_WAITING} values wait at byte {self.at}")
        self._stack.append(value)

    def _mark(self) -> None:
        if len(self._marked) >= _DEEPEST:
            raise PickleError(f"more than {_DEEPEST} open marks at byte {self.at}")
        self._marked.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        values, self._stack = self._stack, self._marked.pop()
        return values

    def _popped(self, size: int) -> tuple[Any, ...]:
        return tuple(reversed([self._stack.pop() for _ in range(size)]))

    def _put(self, number: int) -> None:
        self._memo[number] = self._stack[-1]

    def _append(self) -> None:
        (value,) = self._popped(1)
        self._list().append(value)

    def _appends(self) -> None:
        values = self._since_mark()
        self._list().extend(values)

    def _list(self) -> list[Any]:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise PickleError(f"something is appended to no list at byte {self.at}")
        return target

    def _set(self) -> None:
        self._fill(list(self._popped(2)))

    def _sets(self) -> None:
        self._fill(self._since_mark())

    def _fill(self, pairs: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict):
            raise PickleError(f"a key is set in no dict at byte {self.at}")
        target.update(_dict(pairs))

    def _number(self) -> int | bool:
        """`I01` and `I00` are how protocol 0 spells truth."""
        line = self._line()
        return _BOOLS[line] if line in _BOOLS else _integer(line)

    def _quoted(self) -> str:
        """A string of Python 2, spelt as in its source."""
        line = self._line()
        if len(line) < 2 or line[0] not in b"'\"" or line[-1] != line[0]:
            raise PickleError(f"a string without quotes before byte {self.at}")
        body = line[1:-1]
        return _text(codecs.escape_decode(body)[0] if b"\\" in body else body)

    def _long(self, size: int) -> int:
        if not 0 <= size <= _LONGEST_NUMBER:
            raise PickleError(f"a number of {size} bytes at byte {self.at}")
        return int.from_bytes(self._take(size), "little", signed=True)


def _integer(line: bytes) -> int:
    if len(line) > _LONGEST_NUMBER:
        raise PickleError(f"a number of {len(line)} digits")
    return int(line.removesuffix(b"L"))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _dict(pairs: list[Any]) -> dict[str, Any]:
    keys = pairs[::2]
    if len(pairs) % 2 or not all(isinstance(key, str) for key in keys):
        raise PickleError("a dict whose keys are not text")
    return dict(zip(keys, pairs[1::2], strict=True))


_BOOLS = {b"01": True, b"00": False}
_SKIP = {0x80: 1, 0x95: 8}
"""Opcodes that say something about the file, with the bytes to skip: protocol, frame."""

_VALUES: dict[int, Callable[[_Reader], Any]] = {
    ord("N"): lambda r: None,
    0x88: lambda r: True,
    0x89: lambda r: False,
    ord("I"): lambda r: r._number(),
    ord("L"): lambda r: _integer(r._line()),
    ord("K"): lambda r: r._take(1)[0],
    ord("M"): lambda r: r._unpack("<H"),
    ord("J"): lambda r: r._unpack("<i"),
    0x8A: lambda r: r._long(r._take(1)[0]),
    0x8B: lambda r: r._long(r._unpack("<i")),
    ord("F"): lambda r: float(r._line()),
    ord("G"): lambda r: r._unpack(">d"),
    ord("S"): lambda r: r._quoted(),
    ord("U"): lambda r: _text(r._take(r._take(1)[0])),
    ord("T"): lambda r: _text(r._take(r._unpack("<I"))),
    ord("V"): lambda r: r._line().decode("raw-unicode-escape"),
    ord("X"): lambda r: _text(r._take(r._unpack("<I"))),
    0x8C: lambda r: _text(r._take(r._take(1)[0])),
    0x8D: lambda r: _text(r._take(r._unpack("<Q"))),
    ord("]"): lambda r: [],
    ord("}"): lambda r: {},
    ord(")"): lambda r: (),
    ord("l"): lambda r: r._since_mark(),
    ord("d"): lambda r: _dict(r._since_mark()),
    ord("t"): lambda r: tuple(r._since_mark()),
    0x85: lambda r: r._popped(1),
    0x86: lambda r: r._popped(2),
    0x87: lambda r: r._popped(3),
    ord("g"): lambda r: r._memo[int(r._line())],
    ord("h"): lambda r: r._memo[r._take(1)[0]],
    ord("j"): lambda r: r._memo[r._unpack("<I")],
}
