"""Checkpoints in the layouts of the original code bases, at toy size, with random weights."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaForConditionalGeneration,
)

from genixer.data import Message
from genixer.models.base import Preset, load_preset
from genixer.models.llava import load

TOKENIZER = Path(__file__).parent.parent / "fixtures" / "llama_tokenizer"
PIECES = 420
ADDED = {"<im_patch>": 420, "<im_start>": 421, "<im_end>": 422}

ASKED = [Message("user", "Where is the dog?")]

Names = Mapping[str, Tensor]


@dataclass
class Original:
    """Parts as their authors define them, and the folders they were written to."""

    preset: Preset
    language: LlamaForCausalLM
    tower: CLIPVisionModel
    projector: nn.Module
    folder: Path
    clip: Path

    def named_projector(self, prefix: str = "model.mm_projector.") -> dict[str, Tensor]:
        return {prefix + name: value for name, value in self.projector.state_dict().items()}

    def logits(self, ids: list[int], image_id: int, pixels: Tensor) -> Tensor:
        """What the original definitions give for `ids`, whose image places are `image_id`."""
        with torch.no_grad():
            hidden = self.tower(pixels, output_hidden_states=True).hidden_states[-2]
            seen = self.projector(hidden[:, 1:])[0]
            first = ids.index(image_id)
            assert ids[first : first + len(seen)] == [image_id] * len(seen)
            before, after = torch.tensor([ids[:first]]), torch.tensor([ids[first + len(seen) :]])
            words = self.language.get_input_embeddings()
            spliced = torch.cat([words(before), seen[None], words(after)], dim=1)
            return self.language(inputs_embeds=spliced).logits[0]


def write_config(folder: Path, preset: Preset, rows: int, **more: object) -> None:
    settings = {**preset.text, "vocab_size": rows, "model_type": "llava_llama", **more}
    (folder / "config.json").write_text(json.dumps(settings))


def write_words(folder: Path, added: Mapping[str, int]) -> None:
    shutil.copyfile(TOKENIZER / "tokenizer.model", folder / "tokenizer.model")
    if added:
        (folder / "added_tokens.json").write_text(json.dumps(added))


def write_bins(folder: Path, tensors: Names, parts: int) -> None:
    """The layout of older checkpoints: torch files and an index."""
    names = sorted(tensors)
    place = {name: f"pytorch_model-{i % parts + 1}-of-{parts}.bin" for i, name in enumerate(names)}
    for file in set(place.values()):
        torch.save({n: tensors[n].clone() for n in names if place[n] == file}, folder / file)
    index = {"metadata": {}, "weight_map": place}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


@pytest.fixture
def original(tmp_path: Path) -> Callable[[str], Original]:
    """`original("tiny_llava")`: random parts of that preset, CLIP written the way OpenAI's is."""

    def make(name: str) -> Original:
        preset = load_preset(name)
        folder, clip = tmp_path / "original", tmp_path / "clip"
        folder.mkdir()
        clip.mkdir()
        shikra = preset.projector == "linear"
        rows = PIECES + len(ADDED) if shikra else PIECES
        with torch.random.fork_rng():
            torch.manual_seed(7)
            config = LlamaConfig(**preset.text, vocab_size=rows, initializer_range=0.1)
            language = LlamaForCausalLM(config).eval()
            vision = CLIPVisionConfig(**preset.vision, initializer_range=0.2)
            tower = CLIPVisionModel(vision).eval()
            width, wide = preset.vision["hidden_size"], preset.text["hidden_size"]
            layers = [nn.Linear(width, wide), nn.GELU(), nn.Linear(wide, wide)]
            projector = layers[0] if shikra else nn.Sequential(*layers)
        (clip / "config.json").write_text(json.dumps({"vision_config": preset.vision}))
        named = {f"vision_model.{k}": v for k, v in tower.state_dict().items()}
        named["vision_model.embeddings.position_ids"] = torch.arange(5)
        named["text_model.final_layer_norm.weight"] = torch.ones(3)
        torch.save(named, clip / "pytorch_model.bin")
        write_config(folder, preset, rows)
        write_words(folder, ADDED if shikra else {})
        return Original(preset, language, tower, projector, folder, clip)

    return make


@pytest.fixture
def llava(original: Callable[[str], Original]) -> Original:
    """LLaVA-1.5's layout: language model and projector in two torch files, CLIP elsewhere."""
    made = original("tiny_llava")
    tensors = {**made.language.state_dict(), **made.named_projector()}
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    write_bins(made.folder, tensors, parts=2)
    return made


@pytest.fixture
def shikra(original: Callable[[str], Original]) -> Original:
    """Shikra's layout: one linear projector, rows for the image's marks."""
    made = original("tiny_shikra")
    write_bins(made.folder, {**made.language.state_dict(), **made.named_projector()}, parts=3)
    return made


@pytest.fixture
def pixels() -> Tensor:
    """One normalised image [1, 3, 28, 28]."""
    return torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def large(tmp_path: Path, llava: Original) -> Callable[[str], tuple[Path, int]]:
    """`large("a")`: folder of a model of 60 MB in four files, and the size of the largest."""

    def make(name: str) -> tuple[Path, int]:
        shape = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 5}
        config = LlamaConfig(**{**llava.preset.text, **shape}, vocab_size=PIECES)
        tensors = dict(LlamaForCausalLM(config).state_dict())
        sizes = {"0.weight": (512, 32), "0.bias": (512,), "2.weight": (512, 512), "2.bias": (512,)}
        tensors |= {f"model.mm_projector.{k}": torch.zeros(v) for k, v in sizes.items()}
        folder = tmp_path / name
        folder.mkdir()
        write_config(folder, llava.preset, PIECES, **shape)
        write_words(folder, {})
        write_bins(folder, tensors, parts=4)
        return folder, max(p.stat().st_size for p in folder.glob("*.bin"))

    return make


def logits_by_transformers(folder: Path, ids: list[int], pixels: Tensor) -> Tensor:
    """Logits by transformers alone."""
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        found: Tensor = model(input_ids=torch.tensor([ids]), pixel_values=pixels).logits[0]
    return found


def assert_same_logits(made: Original, folder: Path, pixels: Tensor) -> None:
    """Ours, plain transformers and the original definitions agree on every old token."""
    ours = load(str(folder))
    ids = ours.prompt_ids(ASKED)
    expected = made.logits(ids, ours.image_id, pixels)
    with torch.no_grad():
        found = ours.model(input_ids=torch.tensor([ids]), pixel_values=pixels).logits[0]
    assert float(expected.std()) > 0.1
    for logits in (found, logits_by_transformers(folder, ids, pixels)):
        torch.testing.assert_close(logits[:, : expected.shape[1]], expected, atol=1e-5, rtol=1e-5)
        # Tokens that the original does not have can not be told apart from one another.
        assert not logits[:, expected.shape[1] :].any()


@pytest.fixture
def plain() -> Callable[[Path, list[int], Tensor], Tensor]:
    """`plain(folder, ids, pixels)`: logits by transformers alone."""
    return logits_by_transformers


@pytest.fixture
def assert_same() -> Callable[[Original, Path, Tensor], None]:
    """`assert_same(original, folder, pixels)`: three ways to compute, one result."""
    return assert_same_logits
