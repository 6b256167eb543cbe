"""Packed rows teach what rows one by one teach: same loss and gradients, by plain attention too."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genixer.data import ImageRef, Message, SftRow
from genixer.models.base import load_preset
from genixer.models.llava import LoadedModel, create
from genixer.models.tokenizer import new_tokenizer, train_tokenizer
from genixer.training.attention import Groups
from genixer.training.batch import Batch, Visit, collate, encode
from genixer.training.llava import loss_of, shared_prefix
from genixer.training.spread import spread_of

SMALL = str(Path(__file__).parent.parent / "fixtures" / "models" / "small.yaml")
TEXTS = ["How many dogs are there? 2", "Where is the red book? no yes one two three"] * 4


@pytest.fixture(scope="module", params=["tiny", "tiny_llava"])
def model(request) -> LoadedModel:
    preset = load_preset(SMALL if request.param == "tiny" else "tiny_llava")
    words = train_tokenizer(TEXTS, 800, 2) if request.param == "tiny" else None
    return create(preset, words or new_tokenizer(preset, TEXTS), seed=1)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number in range(3):
        noise = np.random.Generator(np.random.PCG64(number)).integers(0, 255, (24, 40, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
    return tmp_path


def visit(model: LoadedModel, image: int | None, *talks: tuple[str, ...]) -> Visit:
    """A visit to picture `image`, or to none, with conversations of several turns."""
    ref = None if image is None else ImageRef(f"{image}.png", 40, 24, str(image))
    found = []
    for talk in talks:
        roles = ("user", "assistant") * len(talk)
        messages = tuple(Message(role, text) for role, text in zip(roles, talk, strict=False))
        preset = model.preset
        row = SftRow(f"{image}{talk}", "s", "common_vqa", "student", ref, messages,
                     frame=preset.frame, decimals=preset.decimals)  # fmt: skip
        one = encode(row, model)
        assert not isinstance(one, str), one
        found.append(one)
    return Visit(ref, tuple(found))


def visits(model: LoadedModel) -> list[Visit]:
    return [
        visit(model, 0, ("How many?", "2"), ("Is it red?", "no", "Where is the book?", "one")),
        visit(model, None, ("two and one?", "three"), ("yes or no?", "yes")),
        visit(model, 1, ("Is it a dog?", "yes")),
        visit(model, 2, ("dogs?", "2", "red?", "no", "two?", "yes")),
        visit(model, None, ("no?", "yes", "yes?", "no")),
    ]


def cut(model: LoadedModel, how: str) -> list[list[tuple[Visit, ...]]]:
    """Batches of rows that hold the same visits."""
    every = visits(model)
    return {
        "one row": [[tuple(every)]],
        "two images in a row": [[(every[0], every[2]), (every[3],), (every[1], every[4])]],
        "a batch each": [[(one,)] for one in every],
        "a row each": [[(one,) for one in every]],
    }[how]


def gradients(model: LoadedModel, batches: list[Batch]) -> tuple[float, float, dict]:
    model.model.zero_grad()
    totals = weights = 0.0
    with shared_prefix(model):
        for batch in batches:
            total, weight = loss_of(model, batch, spread_of(model, 0.0))
            total.backward()
            totals, weights = totals + float(total.detach()), weights + float(weight)
    grads = {n: p.grad.clone() for n, p in model.model.named_parameters() if p.grad is not None}
    return totals, weights, grads


def by_plain_attention(model: LoadedModel, batch: Batch) -> tuple[float, float, dict]:
    """The same through the library's attention, under a mask that says all there is to say."""
    model.model.zero_grad()
    segments, groups = batch.segment_ids, batch.group_ids
    tokens = segments.shape[1]
    causal = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    own = (segments[:, :, None] == segments[:, None, :]) | (segments[:, None, :] == 0)
    seen = causal & own & (groups[:, :, None] == groups[:, None, :])
    seen |= torch.eye(tokens, dtype=torch.bool)
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    logits = model.model(
        input_ids=batch.input_ids,
        pixel_values=batch.pixel_values,
        attention_mask=mask[:, None],
        position_ids=batch.position_ids,
    ).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), batch.labels[:, 1:], reduction="none", ignore_index=-100
    )
    total = (losses * batch.loss_weight[:, 1:]).sum()
    total.backward()
    grads = {n: p.grad.clone() for n, p in model.model.named_parameters() if p.grad is not None}
    return float(total.detach()), float(batch.loss_weight.sum()), grads


def assert_same(one: tuple[float, float, dict], other: tuple[float, float, dict]) -> None:
    assert one[0] == pytest.approx(other[0], rel=1e-5)
    assert one[1] == pytest.approx(other[1], rel=1e-6)
    for name, gradient in one[2].items():
        expected = other[2].get(name, torch.zeros_like(gradient))
        torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("question_weight", [0.0, 0.3])
@pytest.mark.parametrize("how", ["one row", "two images in a row", "a row each"])
def test_packing_changes_neither_loss_nor_gradients(model, pictures, how, question_weight):
    alone, packed = (
        [collate(rows, model, pictures, 0.5, question_weight) for rows in cut(model, one)]
        for one in ("a batch each", how)
    )
    assert all(isinstance(batch.layout, Groups) for batch in packed)
    assert_same(gradients(model, packed), gradients(model, alone))
    assert_same(gradients(model, packed), by_plain_attention(model, packed[0]))


def test_rows_without_an_image_train_alone(model, pictures):
    texts = [one for one in visits(model) if one.image is None]
    batch = collate([(one,) for one in texts], model, pictures, 0.5)
    assert batch.pixel_values is None
    total, weight, grads = gradients(model, [batch])
    assert total / weight > 1
    projector = [g for n, g in grads.items() if "multi_modal_projector" in n]
    assert projector
    assert all(float(g.abs().sum()) == 0 for g in projector)
    assert any(float(g.abs().sum()) > 0 for n, g in grads.items() if "language_model" in n)


def test_question_weight_counts_the_users_words_but_never_across_conversations(model, pictures):
    row = [(visit(model, 0, ("How many?", "2"), ("Is it red?", "no")),)]
    plain, asked = (collate(row, model, pictures, 0.0, weight) for weight in (0.0, 0.25))
    own = plain.loss_weight > 0
    assert torch.equal(asked.loss_weight[own], plain.loss_weight[own])
    segments = plain.segment_ids[0].tolist()
    for number in (1, 2):
        first = segments.index(number)
        rest = [i for i in range(first + 1, len(segments)) if segments[i] == number]
        assert asked.labels[0, first] == -100
        assert all(asked.loss_weight[0, i] == (1.0 if own[0, i] else 0.25) for i in rest)
