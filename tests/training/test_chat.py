import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_vlms import FAMILIES, PRESETS

from genixer.data import ImageRef, Message, SftRow
from genixer.models.vlm import LoadedVlm, load_vlm
from genixer.training.batch import Conversation, Visit
from genixer.training.chat import VlmLesson, encode_chat
from genixer.training.schedule import Schedule

SIZES = [(40, 70), (90, 30), (28, 28)]


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedVlm:
    folder = tmp_path_factory.mktemp(request.param)
    FAMILIES[request.param](folder)
    return load_vlm(str(folder), PRESETS[request.param])


@pytest.fixture
def fresh(model: LoadedVlm) -> LoadedVlm:
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    yield model
    model.model.load_state_dict(before)
    model.model.eval()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    for number, (height, width) in enumerate(SIZES):
        noise = np.random.default_rng(number).integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / f"{number}.png")
    return root


def row(model: LoadedVlm, number: int, *texts: str, **changes: object) -> SftRow:
    height, width = SIZES[number % len(SIZES)]
    roles = ("user", "assistant")
    fields: dict[str, object] = {
        "id": f"row{number}",
        "sample_id": "",
        "task": "common_vqa",
        "purpose": "student",
        "image": ImageRef(f"{number % len(SIZES)}.png", width, height, ""),
        "messages": tuple(Message(roles[i % 2], text) for i, text in enumerate(texts)),
        "frame": model.preset.frame,
        "decimals": model.preset.decimals,
    }
    return SftRow(**{**fields, **changes})


def visits(model: LoadedVlm) -> list[tuple[Visit, ...]]:
    said = ["Yes", "a longer answer", "No, it is the red cup"]
    found = []
    for number, answer in enumerate(said):
        one = row(model, number, f"Where is the cup {number}?", answer)
        conversation = encode_chat(one, model)
        assert isinstance(conversation, Conversation), conversation
        found.append((Visit(one.image, (conversation,)),))
    return found


def test_only_answers_and_their_end_have_a_label(model: LoadedVlm, images: Path) -> None:
    batch = VlmLesson(model, images).batch(visits(model))
    for labels, said in zip(
        batch.labels, ["Yes", "a longer answer", "No, it is the red cup"], strict=True
    ):
        trained = labels[labels >= 0].tolist()
        assert trained[-1] in model.end_ids
        assert model.decode(trained).strip() == said
    assert batch.tokens == int(batch.inputs["attention_mask"].sum())
    assert (batch.loss_weight > 0).equal(batch.labels >= 0)


def test_a_conversation_weighs_by_the_power_of_its_length(model: LoadedVlm, images: Path) -> None:
    for power in (0.0, 0.5, 1.0):
        batch = VlmLesson(model, images, Schedule(length_power=power)).batch(visits(model))
        for weight, labels in zip(batch.loss_weight, batch.labels, strict=True):
            count = int((labels >= 0).sum())
            assert float(weight.sum()) == pytest.approx(count ** (1 - power), rel=1e-5)


def _gradients(lesson: VlmLesson, rows: list[tuple[Visit, ...]]) -> dict[str, torch.Tensor]:
    lesson.network.zero_grad(set_to_none=True)
    total, weight = torch.tensor(0.0), torch.tensor(0.0)
    for part in rows:
        loss, weights = lesson.loss(lesson.batch(part))
        total, weight = total + loss, weight + weights
    (total / weight).backward()
    return {
        name: p.grad.clone() for name, p in lesson.network.named_parameters() if p.grad is not None
    }


def test_a_batch_teaches_what_its_rows_teach_one_by_one(model: LoadedVlm, images: Path) -> None:
    lesson, rows = VlmLesson(model, images), visits(model)
    together, alone = _gradients(lesson, [rows]), _gradients(lesson, [[one] for one in rows])
    assert together.keys() == alone.keys()
    for name, gradient in together.items():
        scale = max(1.0, float(gradient.abs().max()))
        assert float((gradient - alone[name]).abs().max()) <= 1e-5 * scale, name


def test_gradients_reach_tower_projector_and_language_model(model: LoadedVlm, images: Path) -> None:
    lesson = VlmLesson(model, images)
    _gradients(lesson, [visits(model)])
    for name, part in lesson.parts().items():
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters()), name
    towers = {id(p) for p in lesson.parts()["tower"].parameters()}
    assert towers.isdisjoint(id(p) for p in lesson.parts()["projector"].parameters())
    assert len(lesson.blocks()) == 2


def test_the_loss_is_that_of_the_library(model: LoadedVlm, images: Path) -> None:
    lesson = VlmLesson(model, images, Schedule(length_power=0.0))
    batch = lesson.batch(visits(model)[1:2])
    with torch.inference_mode():
        total, weight = lesson.loss(batch)
        theirs = model.model(**(batch.inputs | batch.pictures), labels=batch.labels).loss
    assert float(total / weight) == pytest.approx(float(theirs), abs=1e-4)


def test_twenty_steps_lower_the_loss(fresh: LoadedVlm, images: Path) -> None:
    lesson, rows = VlmLesson(fresh, images), visits(fresh)
    optimiser = torch.optim.AdamW(lesson.network.parameters(), lr=3e-3)
    losses = []
    for _ in range(20):
        total, weight = lesson.loss(lesson.batch(rows))
        loss = total / weight
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < 0.6 * losses[0]


def test_rows_without_an_image_train_too(model: LoadedVlm, images: Path) -> None:
    spoken = model.chat.spoken([Message("user", "Well?"), Message("assistant", "Yes")], image=False)
    said = Conversation("text", "", np.asarray(spoken.ids), np.asarray(spoken.own))
    lesson, mixed = VlmLesson(model, images), visits(model)[:1]
    alone = [(Visit(None, (said,)),)]
    found = _gradients(lesson, [alone])
    assert {name for name, p in lesson.network.named_parameters() if p.requires_grad} == set(found)
    together, apart = _gradients(lesson, [mixed + alone]), _gradients(lesson, [mixed, alone])
    for name, gradient in together.items():
        scale = max(1.0, float(gradient.abs().max()))
        assert float((gradient - apart[name]).abs().max()) <= 1e-5 * scale, name


def test_what_cannot_be_trained_on_has_a_reason(model: LoadedVlm) -> None:
    def reason(*texts: str, limit: int = 0, **changes: object) -> object:
        return encode_chat(row(model, 0, *texts, **changes), model, limit)

    assert reason("Well?", "Yes", frame="per_999") == "frame_mismatch"
    assert reason("Well?") == "no_answer"
    assert reason("Well?", "Yes", limit=9) == "too_long"
    assert reason("Well?", "\ufdd0!") == "control_mark"
    if model.preset.most_pairs == 1:
        assert reason("Well?", "Yes", "And?", "No") == "several_pairs"
    else:
        both = encode_chat(row(model, 0, "Well?", "Yes", "And?", "No"), model)
        assert isinstance(both, Conversation)
        own = both.ids[both.own].tolist()
        assert [one in model.end_ids for one in own].count(True) == 2


def test_control_tokens_in_a_rows_words_teach_no_control(model: LoadedVlm, images: Path) -> None:
    end, image = model.tokenizer.eos_token, model.chat.image_token
    one = row(model, 0, f"Is {image} or {end} there?", f"a {end}{image} b")
    found = encode_chat(one, model)
    assert isinstance(found, Conversation), found
    assert found.ids.tolist().count(model.chat.image_id) == 1
    own = found.ids[found.own].tolist()
    assert [number in model.end_ids for number in own] == [False] * (len(own) - 1) + [True]
    batch = VlmLesson(model, images).batch([(Visit(one.image, (found,)),)])
    trained = batch.labels[batch.labels >= 0].tolist()
    assert model.decode(trained).strip() == f"a {end}{image} b"


def test_an_image_is_looked_at_once_for_all_its_conversations(
    model: LoadedVlm, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [encode_chat(row(model, 1, f"Where? {n}", answer), model) for n, answer in
            enumerate(["Yes", "a longer answer", "No"])]  # fmt: skip
    image = row(model, 1, "", "").image
    rows = [(Visit(image, tuple(said)),), *visits(model)[:1]]
    lesson = VlmLesson(model, images)
    batch = lesson.batch(rows)
    assert batch.image_of == [0, 0, 0, 1]
    assert not any(name.startswith("pixel") for name in batch.inputs)
    once = _gradients(lesson, [rows])
    monkeypatch.setitem(vars(model), "shares_sights", False)
    lesson = VlmLesson(model, images)
    assert not lesson.batch(rows).pictures
    again = _gradients(lesson, [rows])
    assert once.keys() == again.keys()
    for name, gradient in once.items():
        scale = max(1.0, float(gradient.abs().max()))
        assert float((gradient - again[name]).abs().max()) <= 1e-5 * scale, name


def test_an_image_the_processor_refuses_is_a_reason(model: LoadedVlm) -> None:
    strip = row(model, 0, "Well?", "Yes", image=ImageRef("0.png", 1000, 2, ""))
    found = encode_chat(strip, model)
    if hasattr(model.processor.image_processor, "merge_size"):
        assert found == "image_refused"
    else:
        assert isinstance(found, Conversation | str)


def test_a_template_that_changes_its_mind_is_refused_not_guessed(model: LoadedVlm) -> None:
    from genixer.models.chat import Chat

    # Says how many turns there are before the first: no shorter rendering begins a longer one.
    template = "{{ messages | length }}" + model.chat.template
    chat = Chat(model.tokenizer, template, model.chat.image_token, model.end_ids, model.preset.end)
    said = [Message("user", "Well?"), Message("assistant", "Yes")]
    assert chat.spoken(said) == "unaligned_answer"


def test_boxes_are_trained_in_the_models_own_spelling(model: LoadedVlm) -> None:
    box = "[0.10,0.20,0.30,0.40]" if model.preset.decimals == 2 else "[0.100,0.200,0.300,0.400]"
    box = box if model.preset.decimals else "[10,20,30,40]"
    found = encode_chat(row(model, 0, "Where is it?", box), model)
    assert isinstance(found, Conversation)
    text = model.tokenizer.decode(found.ids[found.own].tolist())
    spelled = {
        "brackets": box,
        "spaced_brackets": "[10, 20, 30, 40]",
        "box_marks": "<|box_start|>(10,20),(30,40)<|box_end|>",
        "location_tokens": "<loc0020><loc0010><loc0040><loc0030>",
    }
    assert spelled[model.preset.boxes] in text
    assert model.decode(found.ids[found.own].tolist()).strip() == box
