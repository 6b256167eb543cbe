"""What a backend is: something that writes completions for requests and weighs given answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Protocol

import msgspec

from genixer.data import Completion, Request

__all__ = ["Backend", "Choice"]


class Choice(msgspec.Struct, frozen=True):
    """How a model weighs fixed options after a prompt, in the order asked.

    `logprobs[i]` is the summed raw natural log-probability of option i's tokens (end token left out, not
    length-normalised), `tokens[i]` their count.
    """

    request_id: str
    logprobs: tuple[float, ...]
    tokens: tuple[int, ...]


class Backend(Protocol):
    """One model, loaded. Calls take one block: a fixed list of requests, answered in order."""

    name: ClassVar[str]
    reproducible: ClassVar[bool]
    """Whether the same block gives the same bytes on one machine type and version set."""

    def generate(self, requests: Sequence[Request], images: Path) -> list[Completion]:
        """One completion a request, in order; image paths are relative to `images`.

        Raises `BackendError` when the model itself fails; a request whose image cannot be read gets `finish="error"`.
        """
        ...

    def choose(
        self, requests: Sequence[Request], options: Sequence[str], images: Path
    ) -> list[Choice]:
        """Weight of every option after every request's prompt, in order; nothing is sampled."""
        ...
