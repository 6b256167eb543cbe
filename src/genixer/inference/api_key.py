"""The key to a server: read from the environment, sent in one header, kept out of all else."""

from __future__ import annotations

import logging
import os
import re

from genixer.errors import ConfigError

__all__ = ["ApiKey"]

_SHORTEST_SECRET = 8
"""Characters below which a key is no secret (`EMPTY`, `none`), and would be found in any text."""
_SENDABLE = re.compile(r"[!-~]*")
_LOGGERS = ("aiohttp.client", "aiohttp.internal", "asyncio")


class ApiKey:
    """Value of an environment variable; its own text never shows.

    >>> ApiKey("A_VARIABLE_NOBODY_SETS")
    ApiKey(A_VARIABLE_NOBODY_SETS, not set)
    """

    def __init__(self, variable: str) -> None:
        """Read `variable`; empty for a server without a key.

        Raises `ConfigError` for a value that no header can carry.
        """
        self.variable = variable
        self._value = os.environ.get(variable, "").strip() if variable else ""
        if not _SENDABLE.fullmatch(self._value):
            raise ConfigError(f"the key in {variable} holds spaces or signs that no header carries")

    def __bool__(self) -> bool:
        """Whether there is a key to send."""
        return bool(self._value)

    def __repr__(self) -> str:
        """The variable's name alone."""
        return f"ApiKey({self.variable}, {'set' if self else 'not set'})"

    @property
    def headers(self) -> dict[str, str]:
        """What a request carries."""
        return {"Authorization": f"Bearer {self._value}"} if self else {}

    def redact(self, text: str) -> str:
        """`text` with the variable's name in place of the key."""
        if len(self._value) < _SHORTEST_SECRET:
            return text
        return text.replace(self._value, f"[{self.variable}]")

    def redact_bytes(self, content: bytes) -> bytes:
        """`content` with the variable's name in place of the key."""
        if len(self._value) < _SHORTEST_SECRET:
            return content
        return content.replace(self._value.encode(), f"[{self.variable}]".encode())

    def guard_logs(self) -> None:
        """Redact what the libraries that carry the key may log."""
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            if not any(isinstance(one, _Redacting) and one.key is self for one in logger.filters):
                logger.addFilter(_Redacting(self))


class _Redacting(logging.Filter):
    def __init__(self, key: ApiKey) -> None:
        super().__init__()
        self.key = key

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self.key.redact(record.getMessage()), ()
        return True
