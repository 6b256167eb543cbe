"""Settings of the backend `openai`, apart from it, so that a plan can check them."""

from __future__ import annotations

import ipaddress
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, field_validator, model_validator

from genixer.inference.base import NOT_OF_ROWS, BackendSettings
from genixer.inference.chat_api import DIALECTS, Dialect, DialectName
from genixer.inference.hints import Hint

__all__ = ["OpenAiSettings"]

_OURS = (
    *("model", "messages", "seed", "temperature", "top_p", "stream", "n"),
    *("logprobs", "top_logprobs", "response_format"),
)


class OpenAiSettings(BackendSettings):
    """Which server, how it speaks, how hard it is pressed, how long it is waited for.

    >>> OpenAiSettings(dialect="transformers").lacking >= {"choose", "logprobs"}
    True
    """

    base_url: str = Field("http://127.0.0.1:8000/v1", json_schema_extra=NOT_OF_ROWS)
    """Where the API is; nothing else is ever connected to."""
    api_key_env: str = Field(
        "OPENAI_API_KEY", pattern=r"^[A-Za-z0-9_]*$", json_schema_extra=NOT_OF_ROWS
    )
    """Environment variable that holds the key; empty for a server without one."""
    dialect: DialectName = "vllm"
    """What kind of server it is: what it can do beyond the common part of the API."""
    preset: str = ""
    """How the model's text writes boxes: a shipped preset (`qwen2_vl` ..) or a YAML file; empty for
    fractions with three decimals, in brackets."""
    hint: Hint = "none"
    """What a model without training here is told of the form of its answer: `pairs` for
    `Question: .. Answer: ..`, `json` for an object that the reader `json` takes."""
    guided_json: bool = False
    """Make the server keep to the form of the hint `json`, and ask again where it has not."""
    most_px: int | None = Field(None, ge=4096)
    """Most pixels an image is sent with, larger ones are made smaller; all of them by default."""
    concurrency_min: int = Field(1, ge=1, json_schema_extra=NOT_OF_ROWS)
    """Requests that may always be open."""
    concurrency_max: int = Field(64, ge=1, le=4096, json_schema_extra=NOT_OF_ROWS)
    """Most requests open at a time; how many are follows how the server does."""
    slow_after: float = Field(8.0, gt=1.0, json_schema_extra=NOT_OF_ROWS)
    """Answers this many times as slow as the quickest were count as strain, like a 429."""
    attempts: int = Field(8, ge=1, le=100, json_schema_extra=NOT_OF_ROWS)
    """Tries a request gets in all."""
    connect_timeout_s: float = Field(10.0, gt=0.0, json_schema_extra=NOT_OF_ROWS)
    """Seconds until a connection has to stand."""
    timeout_s: float = Field(600.0, gt=0.0, json_schema_extra=NOT_OF_ROWS)
    """Seconds until the whole answer to one try has to be there."""
    first_wait_s: float = Field(0.5, gt=0.0, json_schema_extra=NOT_OF_ROWS)
    """Longest wait before the second try; doubled for each further one."""
    longest_wait_s: float = Field(60.0, gt=0.0, json_schema_extra=NOT_OF_ROWS)
    """Longest wait of all. A server that asks for a longer one (`Retry-After`) ends the run, which
    can be resumed."""
    patience_s: float = Field(300.0, ge=0.0, json_schema_extra=NOT_OF_ROWS)
    """Seconds a server may be away, or loading, before the run ends, which can be resumed."""
    stop_after: int = Field(32, ge=1, json_schema_extra=NOT_OF_ROWS)
    """Requests given up one after another, none answered in between, that end the run."""
    trust_env: bool = Field(False, json_schema_extra=NOT_OF_ROWS)
    """Take the proxy from the environment (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` ..)."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """More fields of every request, as the server names them (`chat_template_kwargs` ..)."""

    @field_validator("base_url")
    @classmethod
    def _an_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not _can_be_asked(parts):
            raise ValueError("is no address; write it as http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "holds a user, a password, a query or a fragment; keys go into the environment"
            )
        return value.rstrip("/") + "/"

    @field_validator("extra")
    @classmethod
    def _not_ours(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in values:
            if name in _OURS:
                raise ValueError(f"{name!r} is set by the backend itself")
        return values

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.concurrency_min > self.concurrency_max:
            raise ValueError("concurrency_min is over concurrency_max")
        if self.guided_json and self.hint != "json":
            raise ValueError("guided_json needs the hint json, which tells the model of the form")
        if self.guided_json and not self.spoken.guided:
            raise ValueError(f"a server of the dialect {self.dialect} holds no answer to a form")
        return self

    @property
    def spoken(self) -> Dialect:
        """The dialect itself."""
        return DIALECTS[self.dialect]

    @property
    def loopback(self) -> bool:
        """Whether the server is on this machine."""
        host = urlsplit(self.base_url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @property
    def lacking(self) -> frozenset[str]:
        """Capabilities that a server of this dialect does not have."""
        spoken = self.spoken
        missing = {"reproducible"}
        if not spoken.logprobs:
            missing |= {"logprobs", "choose"}
        if not spoken.top_k:
            missing.add("top_k")
        return frozenset(missing)


def _can_be_asked(parts: SplitResult) -> bool:
    """Whether there is a host that names can be looked up for, and a port that there can be."""
    try:
        return bool(parts.hostname and parts.hostname.encode("idna")) and parts.port != 0
    except ValueError:
        return False
