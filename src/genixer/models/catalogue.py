"""The shipped presets as a table, for `genixer list presets`."""

from __future__ import annotations

from genixer.models.base import load_preset, shipped_presets
from genixer.registry import Entry, Registry

__all__ = ["PRESETS"]

PRESETS = Registry(
    "preset",
    {
        name: Entry("genixer.models.base:Preset", preset.about, preset.licence)
        for name, preset in ((name, load_preset(name)) for name in shipped_presets())
    },
)
"""What a model can be built as: `new:NAME` in a config, `--preset NAME` of `convert-weights`."""
