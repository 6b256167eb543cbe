"""The layouts samples are exported to and imported from. One line here and a module add one."""

from genixer.registry import Entry, Registry

__all__ = ["FORMATS"]

_HERE = "genixer.formats"

FORMATS = Registry(
    "format",
    {
        "llava": Entry(
            f"{_HERE}.llava:LlavaFormat",
            "LLaVA conversations, JSON or JSONL by the file's ending",
            capability="boxes as text",
        ),
    },
)
