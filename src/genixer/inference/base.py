"""What a backend is: something that writes completions for requests and weighs given answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import msgspec
from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict

from genixer.data import Completion, Request
from genixer.tasks.base import Canvas

__all__ = ["NOT_OF_ROWS", "Backend", "BackendSettings", "Capabilities", "Choice", "Streams"]

NOT_OF_ROWS: JsonDict = {"of_rows": False}
"""Marks a field (`json_schema_extra`) that changes no row, only how one is come by: where a server
is, how hard it is pressed. No fingerprint holds it: a run goes on when it changes."""


class Capabilities(msgspec.Struct, frozen=True):
    """What a backend can do, known before anything of it is imported.

    >>> Capabilities(logprobs="none", seeds=True).words
    'generate, choose, seeds, long options'
    >>> Capabilities(logprobs="offered").can("logprobs")
    True
    """

    choose: bool = True
    """Weighs given answers, as a judge does."""
    logprobs: Literal["raw", "offered", "none"] = "raw"
    """Log-probabilities of what it writes: `raw` before temperature, top-k and top-p; `offered` if
    the server gives them, as the server means them."""
    seeds: bool = False
    """A request's own seed decides what is drawn for it."""
    guided_json: bool = False
    """Holds answers to JSON of a given form (setting `guided_json`)."""
    streams: bool = False
    """Answers request by request, and none twice on resume (`Streams`)."""
    reproducible: bool = False
    """The same block gives the same bytes on one machine type and version set."""
    long_options: bool = True
    """Given answers may have several words each."""
    shares_images: bool = False
    """An image is encoded once for all requests about it that stand side by side."""

    def can(self, name: str) -> bool:
        """Whether the capability called `name` is there, in whatever form."""
        return getattr(self, name) not in (False, "none")

    @property
    def words(self) -> str:
        """All there is, for tables."""
        there = [name for name in self.__struct_fields__ if self.can(name)]
        spoken = {"logprobs": f"{self.logprobs} logprobs", "guided_json": "guided JSON"}
        return ", ".join(["generate", *(spoken.get(n, n.replace("_", " ")) for n in there)])


class Choice(msgspec.Struct, frozen=True):
    """How a model weighs fixed options after a prompt, in the order asked.

    `logprobs[i]` is the summed raw natural log-probability of option i's tokens (end token left
    out, not length-normalised), `tokens[i]` their count. Where the image of a request cannot be
    read, every `logprobs[i]` is NaN.
    """

    request_id: str
    logprobs: tuple[float, ...]
    tokens: tuple[int, ...]


class BackendSettings(BaseModel):
    """Settings of one backend, its own keys beside the model's name; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def lacking(self) -> frozenset[str]:
        """Capabilities of the backend that it does not have with these settings."""
        return frozenset()

    @classmethod
    def not_of_rows(cls) -> frozenset[str]:
        """Fields that are marked `NOT_OF_ROWS`."""
        marked = NOT_OF_ROWS.items()
        return frozenset(
            name
            for name, field in cls.model_fields.items()
            if isinstance(field.json_schema_extra, dict)
            and field.json_schema_extra.items() >= marked
        )


class Backend(Protocol):
    """One model, loaded. Calls take one block: a fixed list of requests, answered in order."""

    name: ClassVar[str]
    reproducible: ClassVar[bool]
    """Whether the same block gives the same bytes on one machine type and version set."""
    Settings: ClassVar[type[BackendSettings]]
    revision: str
    """Digest of the weights, so that two models of one name can be told apart."""

    def __init__(self, model: str, threads: int, settings: Any) -> None:
        """Get ready to run `model` (a shipped name or a path) with `threads` compute threads."""
        ...

    def canvas(self, width: int, height: int) -> Canvas:
        """How the model writes coordinates of an image of `width` x `height` px."""
        ...

    def generate(self, requests: Sequence[Request], images: Path) -> list[Completion]:
        """One completion a request, in order; image paths are relative to `images`.

        Raises `BackendError` when the model itself fails; a request whose image cannot be read gets
        `finish="error"`.
        """
        ...

    def choose(
        self, requests: Sequence[Request], options: Sequence[str], images: Path
    ) -> list[Choice]:
        """Weight of every option after every request's prompt, in order; nothing is sampled."""
        ...


@runtime_checkable
class Streams(Protocol):
    """A backend that answers requests one by one, in any order: a server, an engine with a queue.

    What it has answered is kept request by request, so that a run that is stopped asks none twice.
    """

    def stream(self, requests: Sequence[Request], images: Path) -> Iterator[Completion]:
        """Completion of each request once, as soon as it is there.

        Closing the iterator drops what is not answered yet. Raises `BackendError` when the server
        is gone for good; a request that it cannot answer gets `finish="error"`.
        """
        ...
