"""Backbones: presets, loading, and generation through the backend."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

from genixer.data import ImageRef, Message, Request, Sampling
from genixer.errors import ConfigError
from genixer.inference.transformers import TransformersBackend
from genixer.models.base import PRESET_FILE, load_preset, shipped_presets
from genixer.models.llava import LoadedModel, create, load
from genixer.models.loading import preset_of
from genixer.models.tokenizer import new_tokenizer

TEXTS = ["Where is the red book? Ask about the image. Yes No [0.125,0.250]"] * 4


def model_of(name: str) -> LoadedModel:
    preset = load_preset(name)
    made = create(preset, new_tokenizer(preset, TEXTS), seed=3)
    with torch.no_grad():
        made.model.lm_head.weight.mul_(40.0)
    return made


@pytest.fixture(params=["tiny_llava", "tiny_shikra"])
def model(request) -> LoadedModel:
    return model_of(request.param)


@pytest.mark.parametrize("name", shipped_presets())
def test_a_preset_counts_the_places_of_its_tower(name: str) -> None:
    preset = load_preset(name)
    cell = 16 if preset.tower == "conv" else preset.vision["patch_size"]
    assert preset.vision["image_size"] == preset.image_side_px
    assert preset.image_tokens == (preset.image_side_px // cell) ** 2
    assert load_preset(name).model_validate_json(preset.model_dump_json()) == preset


def test_presets_write_coordinates_as_their_models_do() -> None:
    presets = [load_preset(name) for name in ("genixer_s", "shikra_7b", "llava_1_5_7b")]
    assert {preset.name: (preset.frame, preset.decimals) for preset in presets} == {
        "genixer_s": ("unit", 3),
        "shikra_7b": ("padded_square", 3),
        "llava_1_5_7b": ("padded_square", 2),
    }


def test_padding_of_llava_is_zero_after_normalisation() -> None:
    model = model_of("tiny_llava")
    pixels = model.pixels([Image.new("RGB", (56, 28), (255, 255, 255))])
    assert pixels.shape == (1, 3, 28, 28)
    assert float(pixels[0, :, 0].abs().max()) < 0.02


def test_small_ones_are_small_and_survive_a_round_trip(model: LoadedModel, tmp_path: Path) -> None:
    model.save(tmp_path / "m")
    assert sum(p.stat().st_size for p in (tmp_path / "m").iterdir()) < 2_000_000
    again = load(str(tmp_path / "m"))
    ask = [Message("user", "Where is the red book?")]
    assert again.preset == model.preset
    assert again.prompt_ids(ask) == model.prompt_ids(ask)
    for name, tensor in model.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor)


def test_the_second_layer_of_shikra_stays_the_identity(tmp_path: Path) -> None:
    model = model_of("tiny_shikra")
    model.save(tmp_path / "m")
    for one in (model, load(str(tmp_path / "m"))):
        layer = one.model.model.multi_modal_projector.linear_2
        assert torch.equal(layer.weight, torch.eye(64))
        assert not any(p.requires_grad for p in layer.parameters())


def test_the_backend_writes_what_the_library_writes(model: LoadedModel, tmp_path: Path) -> None:
    requests = []
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 255, (20, 31, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
        image = ImageRef(f"{number}.png", 31, 20, f"{number:02x}")
        prompt = "Ask about the image." + " red" * number
        sampling = Sampling(max_new_tokens=6, temperature=0.0)
        requests.append(Request.of(image, "", "agnostic", number, prompt, sampling))
    written = TransformersBackend.of(model).generate(requests, tmp_path)
    for request, completion in zip(requests, written, strict=True):
        ids = model.prompt_ids([Message("user", request.prompt)])
        with Image.open(tmp_path / request.image.path) as image, torch.no_grad():
            found = model.model.generate(
                input_ids=torch.tensor([ids]),
                pixel_values=model.pixels([image.convert("RGB")]),
                max_new_tokens=6,
                do_sample=False,
            )
        assert list(completion.token_ids) == found[0, len(ids) :].tolist()


def test_transformers_own_processor_feeds_a_llava_alike(tmp_path: Path) -> None:
    model = model_of("tiny_llava")
    model.save(tmp_path / "m")
    processor = AutoProcessor.from_pretrained(tmp_path / "m")
    noise = np.random.default_rng(4).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    question = "Where is the red book?"
    text = f"{model.preset.prompt.system} USER: <image>\n{question} ASSISTANT:"
    fed = processor(images=image, text=text, return_tensors="pt")
    assert fed["input_ids"][0].tolist() == model.prompt_ids([Message("user", question)])
    torch.testing.assert_close(fed["pixel_values"], model.pixels([image]), atol=1e-6, rtol=0)


def test_no_processor_is_written_where_it_would_pad_otherwise(tmp_path: Path) -> None:
    for name in ("tiny_shikra", "tiny"):
        model_of(name).save(tmp_path / name)
        assert not list((tmp_path / name).glob("*processor_config.json"))


def test_the_backend_computes_in_the_number_format_it_is_told(tmp_path: Path) -> None:
    folder = without_preset(model_of("tiny_shikra"), tmp_path / "m")
    Image.new("RGB", (20, 30), (9, 99, 200)).save(tmp_path / "1.png")
    image = ImageRef("1.png", 20, 30, "aa")
    request = Request.of(image, "", "agnostic", 0, "Ask.", Sampling(max_new_tokens=3))
    settings = TransformersBackend.Settings(preset="tiny_shikra", dtype="bfloat16", device="cpu")
    backend = TransformersBackend(str(folder), 1, settings)
    (completion,) = backend.generate([request], tmp_path)
    (choice,) = backend.choose([request], ["Yes", "No"], tmp_path)
    assert backend.loaded.model.dtype == torch.bfloat16
    assert len(completion.token_ids) == 3
    assert all(np.isfinite([*completion.logprobs, *choice.logprobs]))


def without_preset(model: LoadedModel, folder: Path) -> Path:
    """The layout that transformers alone writes."""
    model.save(folder)
    (folder / PRESET_FILE).unlink()
    return folder


def test_a_folder_without_a_preset_loads_by_its_shape_or_by_name(
    model: LoadedModel, tmp_path: Path
) -> None:
    folder = without_preset(model, tmp_path / "m")
    assert load(str(folder)).preset == model.preset
    assert load(str(folder), preset=model.preset.name).preset == model.preset


def test_a_shape_that_two_presets_have_is_asked_back(tmp_path: Path) -> None:
    folder = without_preset(model_of("tiny_llava"), tmp_path / "m")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    # As the converted LLaVA-1.5 of transformers' authors has it: defaults are left out.
    config["text_config"] = {"model_type": "llama", "max_position_embeddings": 4096}
    config["vision_config"] |= load_preset("llava_1_5_7b").vision
    path.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="genixer_l, llava_1_5_7b; name one with `preset`"):
        preset_of(folder)
    assert preset_of(folder, "llava_1_5_7b").name == "llava_1_5_7b"
    config["vision_config"]["hidden_size"] = 5
    path.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="none"):
        preset_of(folder)


def test_a_gpu_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    model_of("tiny_llava").save(tmp_path / "m")
    with pytest.raises(ConfigError, match="no GPU here"):
        load(str(tmp_path / "m"), device="cuda")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    model = model_of("tiny_llava")
    model.model.save_pretrained(tmp_path / "m", max_shard_size="200KB")
    model.tokenizer.save_pretrained(tmp_path / "m")
    first = sorted((tmp_path / "m").glob("*.safetensors"))[0]
    assert load(str(tmp_path / "m")).revision
    shutil.move(first, tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=first.name):
        load(str(tmp_path / "m"))


def test_a_preset_file_that_is_none_is_a_config_error_that_names_it(tmp_path: Path) -> None:
    for name, content in {
        "a.yaml": None,
        "b.yaml": "name: [",
        "c.yaml": "name: x\nside: 3",
    }.items():
        if content is not None:
            (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(ConfigError, match=name):
            load_preset(str(tmp_path / name))


def test_a_broken_preset_beside_the_weights_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / PRESET_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=PRESET_FILE):
        preset_of(tmp_path)
