"""Images without labels into verified instruction-tuning data for multimodal models.

Every verb of the command line is a function here, loaded when first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from genixer.models.convert import convert_weights
    from genixer.pipeline.api import build_report, export, import_samples, list_plugins, plan
    from genixer.pipeline.doctor import audit, repair
    from genixer.pipeline.run import run
    from genixer.pipeline.verify import verify

__all__ = [
    "__version__",
    "audit",
    "build_report",
    "convert_weights",
    "export",
    "import_samples",
    "list_plugins",
    "plan",
    "repair",
    "run",
    "verify",
]

_HOMES = {
    "audit": "genixer.pipeline.doctor",
    "build_report": "genixer.pipeline.api",
    "convert_weights": "genixer.models.convert",
    "export": "genixer.pipeline.api",
    "import_samples": "genixer.pipeline.api",
    "list_plugins": "genixer.pipeline.api",
    "plan": "genixer.pipeline.api",
    "repair": "genixer.pipeline.doctor",
    "run": "genixer.pipeline.run",
    "verify": "genixer.pipeline.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'genixer' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
