"""The filters a config can name. One line here makes a new one known."""

from __future__ import annotations

from genixer.registry import Entry, Registry

__all__ = ["FILTERS"]

_HERE = "genixer.filters"

FILTERS = Registry(
    "filter",
    {
        "rules": Entry(f"{_HERE}.rules:RulesFilter", "form of text and boxes; no model"),
        "judge": Entry(
            f"{_HERE}.judge:JudgeFilter",
            "p(Yes) of a model that is shown the sample, one forward pass",
            capability="scores in [0, 1]",
        ),
        "clip": Entry(
            f"{_HERE}.clip:ClipFilter",
            "whether a box shows what its words say, by a small image-text model",
            capability="scores in [0, 1]",
        ),
        "decontaminate": Entry(
            f"{_HERE}.decontaminate:DecontaminateFilter",
            "pictures and questions that a benchmark holds too; needs an index of hashes",
        ),
    },
)
"""Each looks at one sample at a time; duplicates need all of them and are the stage `dedup`."""
