"""Sizes of image-text models by arithmetic, against the real classes and image processors."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from PIL import Image
from tiny_vlms import FAMILIES, PRESETS

from genixer.models.vlm import load_vlm
from genixer.training.chat import VlmLesson
from genixer.training.vlm_costs import image_tokens, vlm_rows, vlm_shape

SIZES = [(640, 480), (100, 300), (64, 64), (33, 120)]

PUBLISHED = {
    # What their makers' config.json say, as far as sizes go.
    "Qwen2VL": {
        "model_type": "qwen2_vl", "hidden_size": 1536, "intermediate_size": 8960,
        "num_attention_heads": 12, "num_hidden_layers": 28, "num_key_value_heads": 2,
        "vocab_size": 151936, "tie_word_embeddings": True, "max_position_embeddings": 32768,
        "vision_config": {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16,
                          "hidden_size": 1536, "patch_size": 14, "spatial_merge_size": 2},
    },
    "SmolVLM": {
        "model_type": "smolvlm", "scale_factor": 4, "tie_word_embeddings": False,
        "text_config": {"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536,
                        "num_attention_heads": 9, "num_hidden_layers": 30,
                        "num_key_value_heads": 3, "vocab_size": 49280},
        "vision_config": {"hidden_size": 768, "image_size": 512, "patch_size": 16,
                          "num_attention_heads": 12, "intermediate_size": 3072},
    },
    "Llava": {
        "model_type": "llava", "text_config": {"model_type": "llama", "vocab_size": 32064},
        "vision_config": {"model_type": "clip_vision_model", "hidden_size": 1024,
                          "image_size": 336, "intermediate_size": 4096,
                          "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14},
    },
}  # fmt: skip


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / request.param
    FAMILIES[request.param](folder)
    return folder


def test_parameters_and_places_are_those_of_the_real_model(folder: Path) -> None:
    model = load_vlm(str(folder), PRESETS[folder.name])
    config = json.loads((folder / "config.json").read_text())
    found = vlm_shape(config).parameters
    assert found.total == sum(p.numel() for p in model.model.parameters())
    parts = VlmLesson(model, folder).parts()
    for name in ("tower", "projector"):
        assert getattr(found, name) == sum(p.numel() for p in parts[name].parameters()), name
    pictures = json.loads((folder / "preprocessor_config.json").read_text())
    if model.preset.frame.startswith("resized_"):
        pictures |= {"min_pixels": 3136, "max_pixels": 12845056}
    for size in SIZES:
        seen = model.look(Image.new("RGB", size))
        places = seen.ids.count(model.chat.image_id)
        assert image_tokens(config, pictures, size) == places, size
    rows = vlm_rows(folder, PRESETS[folder.name], (640, 480))
    assert rows.around > model.image_tokens(640, 480) / 2


@pytest.mark.parametrize("kind", PUBLISHED)
def test_published_configs_are_read_with_their_familys_defaults(kind: str) -> None:
    config = PUBLISHED[kind]
    real = getattr(transformers, f"{kind}Config")(**config)
    with torch.device("meta"):
        model = transformers.AutoModelForImageTextToText.from_config(real)
    assert vlm_shape(config).parameters.total == sum(p.numel() for p in model.parameters())


def test_what_is_not_known_is_not_guessed(tmp_path: Path) -> None:
    assert "no config.json" in vlm_rows(tmp_path, "qwen2_vl", (640, 480)).replace(
        f"{tmp_path}/", ""
    )
    (tmp_path / "config.json").write_text('{"model_type": "llava_next"}')
    assert "no arithmetic for models 'llava_next'" in vlm_rows(tmp_path, "", (640, 480))
