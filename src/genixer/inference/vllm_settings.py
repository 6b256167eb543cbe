"""Settings of the backend `vllm`, apart from it, so that a plan can check them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from genixer.inference.base import NOT_OF_ROWS, BackendSettings
from genixer.inference.hints import Hint

__all__ = ["VllmSettings"]


class VllmSettings(BackendSettings):
    """How the engine is started, and what the model is told beside the instruction."""

    preset: str = ""
    """How the model's text writes boxes: a shipped preset (`qwen2_vl`, `paligemma` ..) or a YAML
    file; empty for a folder that was trained here and says so itself."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights; `auto` is the engine's choice for that of the folder."""
    gpus: int = Field(1, ge=1)
    """GPUs that share the model."""
    memory: float = Field(0.9, gt=0.0, le=1.0, json_schema_extra=NOT_OF_ROWS)
    """Share of a GPU's memory that the engine takes."""
    cache_gb: float | None = Field(None, gt=0.0, json_schema_extra=NOT_OF_ROWS)
    """Memory for keys and values, in GB; what `memory` leaves by default. On a CPU set it."""
    most_tokens: int | None = Field(None, ge=1)
    """Longest prompt and answer together; the model's own by default."""
    most_px: int | None = Field(None, ge=1)
    """Most pixels an image may keep, for models that take any size; the processor's by default."""
    eager: bool = False
    """Starts sooner and runs slower: nothing is compiled."""
    hint: Hint = "none"
    """What a model without training here is told of the form of its answer: `pairs` for
    `Question: .. Answer: ..`, `json` for an object that the reader `json` takes."""
    guided_json: bool = False
    """Holds every answer to JSON that the reader `json` takes. It is checked again; an answer that
    ended but does not fit is an error. Such answers have no log-probabilities: what the engine
    gives for them is no longer raw."""
