"""Where a model computes, by what this machine has."""

from __future__ import annotations

import torch

from genixer.errors import ConfigError

__all__ = ["there"]


def there(wanted: str) -> str:
    """The device `wanted` in torch's words; `auto` is a GPU where there is one, else the CPU.

    Raises `ConfigError` for a GPU where torch sees none.

    >>> there("cpu")
    'cpu'
    """
    seen = torch.cuda.is_available()
    if wanted.startswith("cuda") and not seen:
        raise ConfigError(f"device: {wanted}, but torch sees no GPU here; take device: auto or cpu")
    return wanted if wanted != "auto" else ("cuda" if seen else "cpu")
