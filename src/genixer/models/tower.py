"""A small convolutional vision tower in transformers' own terms, for models that train on a laptop.

Shapes: N images, C channels, S side in px, G cells a side (S / 16), D features a cell.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

__all__ = ["ConvTower", "ConvTowerConfig"]


class ConvTowerConfig(PretrainedConfig):
    """Shape of a `ConvTower`.

    `image_size` S in px, a multiple of 16; `widths` of its four scales; `hidden_size` D.
    """

    model_type = "genixer_conv_tower"

    def __init__(
        self,
        image_size: int = 128,
        widths: tuple[int, ...] = (32, 64, 96, 160),
        hidden_size: int = 192,
        **kwargs: Any,
    ) -> None:
        self.image_size = image_size
        self.widths = list(widths)
        self.hidden_size = hidden_size
        super().__init__(**kwargs)


class _Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(x + self.norm2(self.conv2(y)))


class ConvTower(PreTrainedModel):
    """Images [N, 3, S, S] to one vector a cell, [N, G*G, D], cells in reading order.

    Each vector knows its place: a learned position is mixed in before the last layers, and another
    added after them, where the language model reads it.
    """

    config_class = ConvTowerConfig
    main_input_name = "pixel_values"

    def __init__(self, config: ConvTowerConfig) -> None:
        super().__init__(config)
        blocks: list[nn.Module] = []
        width_in = 3
        for scale, width in enumerate(config.widths):
            blocks += [
                nn.Conv2d(width_in, width, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            # Full-size feature maps are where a residual block costs most and tells least.
            blocks += [_Residual(width)] if scale > 0 else []
            width_in = width
        self.body = nn.Sequential(*blocks)
        cells = (config.image_size // 2 ** len(config.widths)) ** 2
        self.position = nn.Parameter(torch.zeros(cells, config.widths[-1]))
        self.place = nn.Parameter(torch.zeros(cells, config.hidden_size))
        self.mix = nn.Sequential(
            nn.LayerNorm(config.widths[-1]),
            nn.Linear(config.widths[-1], 2 * config.hidden_size),
            nn.GELU(),
            nn.Linear(2 * config.hidden_size, config.hidden_size),
            nn.LayerNorm(config.hidden_size),
        )
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """Spread positions at creation; layers keep torch's own initial values."""
        if module is self:
            nn.init.normal_(self.position, std=0.5)
            nn.init.normal_(self.place, std=0.7)

    def train(self, mode: bool = True) -> ConvTower:
        """Switch modes; batch statistics stay fixed unless `learn_statistics` is set."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train(mode and self.learn_statistics)
        return self

    learn_statistics = False
    """Whether batch statistics follow the data.

    During the tower's own first training only, so that later a row's result never depends on its
    batch.
    """

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutput:
        """Cells [N, G*G, D] of images [N, 3, S, S] with values about -2 to 2."""
        cells = self.body(pixel_values).flatten(2).transpose(1, 2)
        features = self.mix(cells + self.position) + self.place
        return BaseModelOutput(last_hidden_state=features, hidden_states=(features,))


AutoConfig.register(ConvTowerConfig.model_type, ConvTowerConfig, exist_ok=True)
AutoModel.register(ConvTowerConfig, ConvTower, exist_ok=True)
