"""Adapters: what moves and what does not, merged weights, and folders that peft loads."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel

from genixer.models.base import load_preset
from genixer.models.llava import LoadedModel, create, load
from genixer.models.tokenizer import new_tokenizer, train_tokenizer
from genixer.training.adapters import choose_trainable
from genixer.training.batch import Conversation, Visit
from genixer.training.llava import LlavaLesson
from genixer.training.optimisers import optimisers_of
from genixer.training.output import add_adapters_to, write_model
from genixer.training.parallel import Together
from genixer.training.run import train
from genixer.training.schedule import Schedule

SMALL = str(Path(__file__).parent.parent / "fixtures" / "models" / "small.yaml")
TEXTS = ["How many dogs are there? 2", "Is it red? no yes"] * 4


def new(name: str = "small") -> LoadedModel:
    preset = load_preset(SMALL if name == "small" else name)
    words = train_tokenizer(TEXTS, 800, 2) if name == "small" else new_tokenizer(preset, TEXTS)
    return create(preset, words, seed=1)


class Texts:
    """An order of rows without images."""

    steps = 3

    def __init__(self, model: LoadedModel) -> None:
        ids = torch.tensor(model.encode_text("How many dogs are there?")).numpy()
        talk = Conversation("r", "k", ids, ids >= 0)
        self.row = (Visit(None, (talk,)),)

    def batches(self, done: int):
        for _ in range(done, self.steps):
            yield [self.row]


def trained(model: LoadedModel, schedule: Schedule, tmp_path: Path):
    lesson = LlavaLesson(model, schedule, tmp_path)
    adapted = add_adapters_to(lesson, schedule, 3)
    train(lesson, Texts(model), schedule, 3, lambda line: None)
    return adapted


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(10, 30)[None]).logits


@pytest.mark.parametrize("also", [(), ("projector",), ("projector", "embeddings")])
def test_only_adapters_and_what_is_named_beside_them_move(tmp_path, also):
    model, before = new(), {n: p.clone() for n, p in new().model.named_parameters()}
    schedule = Schedule(trainable="lora", lora_rank=2, lora_also=also, lr=0.01)
    adapted = trained(model, schedule, tmp_path)
    moving = {n for n, p in model.model.named_parameters() if p.requires_grad}
    kinds = {"lora_" if "lora_" in n else n.split(".modules_to_save")[0] for n in moving}
    named = {"projector": {"model.multi_modal_projector"},
             "embeddings": {"model.language_model.embed_tokens", "lm_head"}}  # fmt: skip
    assert kinds == {"lora_"}.union(*(named[one] for one in also))
    layers = len(model.model.model.language_model.layers)
    assert sum("lora_A" in n for n in moving) == 7 * layers
    assert not any("vision_tower" in n for n in moving)
    names = {n.replace(".base_layer", "").replace(".original_module", ""): p
             for n, p in adapted.base_model.model.named_parameters()}  # fmt: skip
    assert all(torch.equal(names[name], value) for name, value in before.items())


# peft asks transformers by a name that is going.
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("also", [("projector",), ("projector", "embeddings")])
def test_merged_weights_say_what_the_adapters_say_and_both_folders_load(tmp_path, also):
    schedule = Schedule(trainable="lora", lora_rank=2, lora_also=also, lr=0.02)
    model = new()
    untrained = logits(model.model)
    adapted = trained(model, schedule, tmp_path)
    expected = logits(model.model)
    assert float((expected - untrained).abs().max()) > 1e-3
    lesson = LlavaLesson(model, schedule, tmp_path)
    write_model(lesson, adapted, schedule, tmp_path, LoadedModel.save, True, None, Together())
    torch.testing.assert_close(
        logits(load(str(tmp_path / "model")).model), expected, atol=1e-5, rtol=0
    )
    again = PeftModel.from_pretrained(new().model, str(tmp_path / "adapter"))
    torch.testing.assert_close(logits(again), expected, atol=1e-6, rtol=0)
    assert sorted(p.name for p in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


@pytest.mark.parametrize("name", ["small", "tiny_shikra"])
def test_projector_alone_moves_and_a_frozen_identity_stays(name):
    model = new(name)
    lesson = LlavaLesson(model, Schedule(), Path())
    choose_trainable(lesson, Schedule(trainable="projector"))
    moving = {n for n, p in model.model.named_parameters() if p.requires_grad}
    layers = ("linear_1",) if name == "tiny_shikra" else ("linear_1", "linear_2")
    expected = {
        n
        for n, _ in model.model.named_parameters()
        if any(f"projector.{one}" in n for one in layers)
    }
    assert moving == expected


def test_an_identity_projector_stays_one_under_adapters(tmp_path):
    schedule = Schedule(trainable="lora", lora_rank=2)
    model = new("tiny_shikra")
    add_adapters_to(LlavaLesson(model, schedule, Path()), schedule, 3)
    moving = {n for n, p in model.model.named_parameters() if p.requires_grad and "projector" in n}
    assert moving
    assert not any("linear_2" in n for n in moving)


def test_each_part_has_its_rate():
    model = new()
    schedule = Schedule(lr=1.0, projector_lr=2.0, embeddings_lr=3.0, tower_lr=4.0)
    lesson = LlavaLesson(model, schedule, Path())
    choose_trainable(lesson, schedule)
    (optimiser,) = optimisers_of(lesson, schedule)
    peaks = {g["part"]: g["peak"] for g in optimiser.param_groups}
    assert peaks == {"language": 1.0, "projector": 2.0, "embeddings": 3.0, "tower": 4.0}
    count = sum(len(g["params"]) for g in optimiser.param_groups)
    assert count == len(list(model.model.parameters()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trainable": "lora", "lanes": 2}, "lanes draw from one generator"),
        ({"trainable": "lora", "optimiser": "muon"}, "whole matrices"),
        ({"trainable": "lora", "tower_lr": 0.1}, "tower"),
        ({"order": "packed", "weights": {"student": 1.0}}, "every row comes once"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**settings)
