"""Rows of JSON into a file, many at a time: one by one, writing takes longer than encoding."""

from __future__ import annotations

from typing import Any, BinaryIO

from genixer.rows import encode_rows

__all__ = ["Rows"]

_AT_ONCE = 256


class Rows:
    r"""Writes rows as JSON lines, or as one JSON array with a row a line.

    >>> from io import BytesIO
    >>> file = BytesIO()
    >>> rows = Rows(file, lines=False)
    >>> for row in ({"id": 1}, {"id": 2}):
    ...     rows.add(row)
    >>> rows.close()
    >>> file.getvalue()
    b'[\n{"id":1},\n{"id":2}\n]\n'
    """

    def __init__(self, file: BinaryIO, lines: bool = True) -> None:
        """`file` is the caller's to close."""
        self._file, self._lines = file, lines
        self._rows: list[Any] = []
        self._some = False

    def add(self, row: Any) -> None:
        """One row more; it may not change before `close`."""
        self._rows.append(row)
        if len(self._rows) == _AT_ONCE:
            self._flush()

    def close(self) -> None:
        """Write what is left, and the end of an array."""
        self._flush()
        if not self._lines:
            self._file.write(b"\n]\n" if self._some else b"[]\n")

    def _flush(self) -> None:
        if not self._rows:
            return
        data = encode_rows(self._rows)
        if not self._lines:
            # Inside a row a line break is escaped: those there are stand between rows.
            before = b",\n" if self._some else b"[\n"
            data = before + data[:-1].replace(b"\n", b",\n")
        self._file.write(data)
        self._some = True
        self._rows.clear()
