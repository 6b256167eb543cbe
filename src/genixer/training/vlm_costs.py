"""Sizes of image-text models of the library, from the `config.json` of their folder alone.

Parameters are exact for the families named here (a test builds each), and for no other: what a
family's arithmetic is cannot be told from its config. What a config leaves out is the family's own
default. Loads no torch and no weights.

Letters: D features of the decoder, E of the tower, P side of a patch in px.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from genixer.frames import resized_size
from genixer.models.vlm_preset import preset_for
from genixer.training.costs import Decoder, Parameters, Shape, clip, linear
from genixer.training.forecast import Rows

__all__ = ["image_tokens", "vlm_rows", "vlm_shape"]

_Config = Mapping[str, Any]

_MARKS = 20
"""Tokens of a chat template around a conversation and its image, about."""


def vlm_rows(
    folder: Path, preset: str, image_px: tuple[int, int], most_px: int | None = None
) -> Rows | str:
    """Rows about images of `image_px` for the model in `folder`, or why they are not known.

    A `preset` whose frame is that of a resized image says how it is resized, as in training.
    """
    config, pictures = _json(folder / "config.json"), _json(folder / "preprocessor_config.json")
    if not config:
        return f"unknown steps, tokens, memory and hours: there is no {folder / 'config.json'}"
    kind = str(config.get("model_type"))
    shape = vlm_shape(config)
    if shape is None:
        return f"unknown steps, tokens, memory and hours: no arithmetic for models {kind!r}"
    frame = preset_for(folder, preset, kind).frame
    if frame.startswith("resized_"):
        _, least, most = frame.removeprefix("resized_").split("_")
        pictures |= {"min_pixels": least, "max_pixels": most}
    tokens = image_tokens(config, pictures, image_px, most_px)
    reach = int(_text(config).get("max_position_embeddings", 1 << 20))
    return Rows(shape, tokens + _MARKS, reach, joined=False)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(config: _Config) -> dict[str, Any]:
    """The language model's part of `config`; older folders of Qwen keep it on the outside."""
    inner = config.get("text_config")
    return dict(inner) if isinstance(inner, dict) else dict(config)


def vlm_shape(config: _Config) -> Shape | None:
    """Shape of the model that `config` describes; None for a family that is not known here.

    >>> vlm_shape({"model_type": "something_new"}) is None
    True
    """
    family = _FAMILIES.get(str(config.get("model_type")))
    text = {**_DEFAULTS.get(str(config.get("model_type")), {}), **_text(config)}
    beside = _EXTRA.get(str(text.get("model_type")))
    if family is None or beside is None or not {"hidden_size", "vocab_size"} <= text.keys():
        return None
    tied = bool(config.get("tie_word_embeddings", config["model_type"] == "paligemma"))
    plain = Decoder.of(text, tied=tied)
    decoder = Decoder.of(text, tied=tied, extra=beside(plain, text))
    tower, projector = family(dict(config.get("vision_config") or {}), decoder.width, config)
    words = int(text["vocab_size"])
    embeddings = words * decoder.width * (1 if tied else 2)
    return Shape(Parameters(tower, projector, embeddings, decoder.total), decoder, words)


_QWEN = {"model_type": "qwen2", "num_key_value_heads": 8}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "qwen2_vl": _QWEN,
    "qwen2_5_vl": _QWEN,
    "qwen3_vl": {"model_type": "qwen3", "head_dim": 128},
    "smolvlm": {"model_type": "llama"},
    "idefics3": {"model_type": "llama"},
    "paligemma": {"model_type": "gemma", "head_dim": 256, "vocab_size": 257152},
    "llava": {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "vocab_size": 32064,
    },
}
"""What the text part of a published config leaves out, by family."""


def _norms(decoder: Decoder, _: _Config) -> int:
    return 2 * decoder.width


def _biased(decoder: Decoder, _: _Config) -> int:
    """Norms, and a bias of queries, keys and values."""
    return 2 * decoder.width + decoder.heads + 2 * decoder.shared


def _normed_heads(decoder: Decoder, text: _Config) -> int:
    """Norms, and one each for the heads of queries and keys."""
    return 2 * decoder.width + 2 * decoder.heads // int(text["num_attention_heads"])


def _four_norms(decoder: Decoder, _: _Config) -> int:
    return 4 * decoder.width


_EXTRA: dict[str, Callable[[Decoder, _Config], int]] = {
    "llama": _norms,
    "mistral": _norms,
    "gemma": _norms,
    "gemma2": _four_norms,
    "qwen2": _biased,
    "qwen2_vl": _biased,
    "qwen2_vl_text": _biased,
    "qwen2_5_vl": _biased,
    "qwen2_5_vl_text": _biased,
    "qwen3": _normed_heads,
    "qwen3_vl_text": _normed_heads,
}
"""Numbers of a decoder's layer that are in no matrix, by kind of decoder."""


def _qwen2_vl(vision: _Config, width: int, _: _Config) -> tuple[int, int]:
    size = int(vision.get("embed_dim", 1280))
    inner = size * int(vision.get("mlp_ratio", 4))
    layer = 4 * size + _joint_attention(size) + linear(size, inner) + linear(inner, size)
    tower = _patches(vision, size, 14) + int(vision.get("depth", 32)) * layer
    return tower, 2 * size + _merger(vision, size, int(vision.get("hidden_size", width)))


def _qwen2_5_vl(vision: _Config, width: int, _: _Config) -> tuple[int, int]:
    size, inner = int(vision.get("hidden_size", 1280)), int(vision.get("intermediate_size", 3420))
    gated = 2 * linear(size, inner) + linear(inner, size)
    layer = 2 * size + _joint_attention(size) + gated
    tower = _patches(vision, size, 14) + int(vision.get("depth", 32)) * layer
    return tower, size + _merger(vision, size, int(vision.get("out_hidden_size", width)))


def _qwen3_vl(vision: _Config, width: int, _: _Config) -> tuple[int, int]:
    size, inner = int(vision.get("hidden_size", 1152)), int(vision.get("intermediate_size", 4304))
    layer = 4 * size + _joint_attention(size) + linear(size, inner) + linear(inner, size)
    places = size * int(vision.get("num_position_embeddings", 2304))
    tower = _patches(vision, size, 16) + size + places + int(vision.get("depth", 27)) * layer
    merger = _merger(vision, size, int(vision.get("out_hidden_size", width)))
    deeper = len(vision.get("deepstack_visual_indexes", (8, 16, 24)))
    joined = size * int(vision.get("spatial_merge_size", 2)) ** 2
    return tower, 2 * size + merger + deeper * (2 * joined + merger)


def _joint_attention(size: int) -> int:
    return linear(size, 3 * size) + linear(size, size)


def _patches(vision: _Config, size: int, patch: int) -> int:
    """Two frames of a patch of P x P px."""
    side = int(vision.get("patch_size", patch))
    return 3 * int(vision.get("temporal_patch_size", 2)) * side * side * size


def _merger(vision: _Config, size: int, width: int) -> int:
    joined = size * int(vision.get("spatial_merge_size", 2)) ** 2
    return linear(joined, joined) + linear(joined, width)


def _idefics3(vision: _Config, width: int, config: _Config) -> tuple[int, int]:
    size = int(vision.get("hidden_size", 1152))
    return _siglip(vision, 32), size * int(config.get("scale_factor", 2)) ** 2 * width


def _paligemma(vision: _Config, width: int, _: _Config) -> tuple[int, int]:
    size = int(vision.get("hidden_size", 1152))
    tower = _siglip(vision, 16)
    if vision.get("vision_use_head", True):
        inner = int(vision.get("intermediate_size", 3072))
        attention = 3 * linear(size, size) + linear(size, size)
        tower += size + attention + 2 * size + linear(size, inner) + linear(inner, size)
    return tower, linear(size, width)


def _siglip(vision: _Config, patch: int) -> int:
    size, inner = int(vision.get("hidden_size", 1152)), int(vision.get("intermediate_size", 3072))
    side = int(vision.get("patch_size", patch))
    places = (int(vision.get("image_size", 224)) // side) ** 2
    layer = 4 * size + 4 * linear(size, size) + linear(size, inner) + linear(inner, size)
    layers = int(vision.get("num_hidden_layers", 12))
    return linear(3 * side * side, size) + places * size + layers * layer + 2 * size


def _llava(vision: _Config, width: int, config: _Config) -> tuple[int, int]:
    size = int(vision["hidden_size"])
    bias = bool(config.get("multimodal_projector_bias", True))
    return clip(vision), linear(size, width) + linear(width, width) - (0 if bias else 2 * width)


_FAMILIES: dict[str, Callable[[_Config, int, _Config], tuple[int, int]]] = {
    "qwen2_vl": _qwen2_vl,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "smolvlm": _idefics3,
    "idefics3": _idefics3,
    "paligemma": _paligemma,
    "llava": _llava,
}
"""Parameters of tower and projector, by `model_type`."""


def image_tokens(
    config: _Config, pictures: _Config, image_px: tuple[int, int], most_px: int | None = None
) -> int:
    """Places in the text that an image of `image_px` takes, the marks around it left out.

    `pictures` is the folder's `preprocessor_config.json`. For the families of `vlm_shape`.
    """
    vision = dict(config.get("vision_config") or {})
    kind = str(config["model_type"])
    if kind.startswith("qwen"):
        return _by_area(pictures, 16 if kind == "qwen3_vl" else 14, image_px, most_px)
    patch = int(vision.get("patch_size", 32 if kind in ("smolvlm", "idefics3") else 14))
    places = (int(vision.get("image_size", 224)) // patch) ** 2
    if kind in ("smolvlm", "idefics3"):
        a_tile = places // int(config.get("scale_factor", 2)) ** 2
        return a_tile * _tiles(pictures, image_px)
    return places


def _by_area(pictures: _Config, patch: int, image_px: tuple[int, int], most_px: int | None) -> int:
    """Patches of an image that keeps its shape, a square of them a token (Qwen)."""
    size = pictures.get("size") or {}
    least = int(pictures.get("min_pixels") or size.get("shortest_edge") or 3136)
    most = int(pictures.get("max_pixels") or size.get("longest_edge") or 12845056)
    factor = int(pictures.get("patch_size", patch)) * int(pictures.get("merge_size", 2))
    across, down = resized_size(*image_px, factor, least, min(most, most_px or most))
    return across * down // factor**2


def _tiles(pictures: _Config, image_px: tuple[int, int]) -> int:
    """Pieces of an image that is cut up, and the whole of it once more (Idefics3, SmolVLM)."""
    edge = int((pictures.get("size") or {}).get("longest_edge", 4 * 364))
    tile = int((pictures.get("max_image_size") or {}).get("longest_edge", 364))
    longer, shorter = max(image_px), min(image_px)
    shorter = int(edge * shorter / longer)
    shorter += shorter % 2
    along = math.ceil(edge / tile)
    across = math.ceil(int(along * tile * shorter / edge) / tile)
    return 1 if along * across == 1 else along * across + 1
