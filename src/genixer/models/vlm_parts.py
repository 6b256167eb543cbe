"""Parts of an image-text model from its folder, by the library's own tables.

A processor of the library also takes a video processor, which needs torchvision. It is left out:
images alone are used here, and their part works with Pillow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import xxhash

from genixer.errors import ConfigError
from genixer.models.device import there

__all__ = ["load_model", "load_processor", "weights_digest"]

_STAND_INS = {"SmolVLMProcessor": "Idefics3Processor"}
"""Processors that treat images alike, for one that needs a package for videos only."""
_CHUNK = 1 << 24


def load_model(folder: Path, dtype: str, device: str) -> Any:
    """The model in `folder`, in eval mode, `device` `auto` being the GPU where there is one.

    Raises `ConfigError` where the library cannot make one of its files.
    """
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging

    # Progress is the executor's to show.
    logging.disable_progress_bar()
    device = there(device)
    try:
        # The folder is on disk and nothing else is looked at: there is no revision to pin.
        model: Any = AutoModelForImageTextToText.from_pretrained(  # nosec B615
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
        )
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(f"{folder} holds no image-text model of transformers: {error}") from error
    return model.to(device).eval()


def load_processor(folder: Path, model_type: str) -> Any:
    """Tokenizer, image processor and chat template of `folder` as one processor, without videos.

    Raises `ConfigError` where the library has none for `model_type`, or needs a package for it.
    """
    import transformers
    from transformers import AutoImageProcessor, AutoTokenizer
    from transformers.models.auto.processing_auto import (  # type: ignore[attr-defined]
        PROCESSOR_MAPPING_NAMES,
    )

    name = PROCESSOR_MAPPING_NAMES.get(model_type) or ""
    kind: Any = getattr(transformers, _STAND_INS.get(name, name), None)
    if kind is None:
        raise ConfigError(f"transformers has no processor of images for models {model_type!r}")
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        parts = [
            AutoImageProcessor.from_pretrained(folder, backend="pil", **options),  # nosec B615
            AutoTokenizer.from_pretrained(folder, **options),  # nosec B615
        ]
        settings, _ = kind.get_processor_dict(folder, local_files_only=True)
        return _images_only(kind).from_args_and_dict(parts, settings)
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(f"{folder}: its {name} cannot be loaded: {error}") from error


def _images_only(kind: Any) -> Any:
    """Processor class `kind` whose parts are an image processor and a tokenizer."""
    parts = ["image_processor", "tokenizer"]
    return type(kind.__name__, (kind,), {"get_attributes": classmethod(lambda _: list(parts))})


def weights_digest(folder: Path) -> str:
    """Digest of all weights of `folder`, shard by shard, read in pieces."""
    digest = xxhash.xxh3_128()
    shards = sorted(folder.glob("*.safetensors"))
    for shard in shards:
        with shard.open("rb") as file:
            while piece := file.read(_CHUNK):
                digest.update(piece)
    return digest.hexdigest()
