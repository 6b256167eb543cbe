"""Low-rank adapters as the library peft writes them, added to the weights they adapt."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from genixer.errors import ConfigError
from genixer.models.checkpoint import Checkpoint
from genixer.models.layouts import destination

__all__ = ["CONFIG", "Adapters"]

CONFIG = "adapter_config.json"
_FACTOR = re.compile(r"^(?P<module>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight$")
_UNSUPPORTED = ("use_dora", "fan_in_fan_out", "megatron_config", "layer_replication")


class Adapters:
    """Adapters of a folder: for each weight they change, what is added to it."""

    def __init__(self, folder: Path) -> None:
        """Read config and factors; raises `ConfigError` for kinds whose sum is another one."""
        path = folder / CONFIG
        self.config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind = self.config.get("peft_type")
        used = [name for name in _UNSUPPORTED if self.config.get(name)]
        if kind != "LORA" or used:
            raise ConfigError(f"{path}: {kind} with {used or 'its settings'} cannot be merged")
        files = [folder / f"adapter_model.{end}" for end in ("safetensors", "bin")]
        there = [one for one in files if one.is_file()][:1]
        if not there:
            raise ConfigError(f"{folder} has {CONFIG}, but no adapter_model.safetensors or .bin")
        self.weights = Checkpoint(there)
        self.factors: dict[str, dict[str, str]] = {}
        """Our name of an adapted weight: names of its factors A and B."""
        self.whole: list[str] = []
        """Tensors saved whole beside the factors."""
        for name in self.weights:
            match = _FACTOR.match(name)
            target = destination(f"{match['module']}.weight") if match else None
            if match and target:
                self.factors.setdefault(target, {})[match["side"]] = name
            else:
                self.whole.append(name)
        for target, pair in self.factors.items():
            if set(pair) != {"A", "B"}:
                raise ConfigError(f"{folder}: {target} has only factor {', '.join(pair)}")

    def merged(self, target: str, weight: Tensor) -> Tensor:
        """`weight` plus scale * B @ A, summed in float32, in the weight's own number format."""
        pair = self.factors[target]
        a, b = (self.weights.get(pair[side]).float() for side in "AB")
        if (b.shape[0], a.shape[1]) != tuple(weight.shape):
            raise ConfigError(
                f"{self.weights.where(pair['B'])}: adapts a weight of shape "
                f"{(b.shape[0], a.shape[1])}, the base has {tuple(weight.shape)}; is it its base?"
            )
        total = weight.float().addmm(b, a, alpha=self.scale(pair["A"], rank=a.shape[0]))
        return total.to(weight.dtype)

    def scale(self, name: str, rank: int) -> float:
        """What the product of the factors is multiplied by; `name` is that of factor A."""
        module = name.rpartition(".lora_A")[0].removeprefix("base_model.model.")
        alpha = float(self.config["lora_alpha"])
        for pattern, other in (self.config.get("alpha_pattern") or {}).items():
            if re.match(rf"^(.*\.)?({pattern})$", module):
                alpha = float(other)
                break
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)
