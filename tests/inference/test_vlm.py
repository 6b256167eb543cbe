import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_vlms import FAMILIES, PRESETS
from transformers import GenerationConfig

from genixer.data import ImageRef, Message, Request, Sampling
from genixer.errors import BackendError
from genixer.inference.hints import hint_for
from genixer.inference.vlm import VlmBackend, VlmSettings
from genixer.models.sight import Sight, look_once
from genixer.models.vlm import LoadedVlm, Seen, load_vlm
from genixer.models.vlm_preset import VlmPreset, vlm_presets
from genixer.tasks import load_task
from genixer.tasks.base import ParseError
from genixer.tasks.readers.base import read_leniently

SIZES = [(70, 40), (24, 24), (33, 90)]
OPTIONS = ["Yes", "No", "a longer answer"]


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedVlm:
    folder = tmp_path_factory.mktemp(request.param)
    FAMILIES[request.param](folder)
    return load_vlm(str(folder), PRESETS[request.param])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    for number, (width, height) in enumerate(SIZES):
        noise = np.random.default_rng(number).integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / f"{number}.png")
    return root


def asked(*prompts: str, sampling: Sampling | None = None) -> list[Request]:
    return [
        Request.of(
            ImageRef(f"{number % 3}.png", *SIZES[number % 3], f"{number % 3:02x}"),
            "common_vqa",
            "specific",
            number,
            prompt,
            sampling or Sampling(5),
        )
        for number, prompt in enumerate(prompts)
    ]


PROMPTS = ("Where is it?", "What is it? " * 3, "Well?", "Is the answer right?")


def _alone(model: LoadedVlm, request: Request, images: Path, answer: list[int]) -> torch.Tensor:
    """Raw log-probabilities of `answer`, one row without padding or cache, [tokens, V]."""
    seen = model.look(Image.open(images / request.image.path).convert("RGB"))
    prompt = model.insert(model.chat.prompt_ids([Message("user", request.prompt)]), seen)
    own = [False] * len(prompt) + [True] * len(answer)
    tensors = model.inputs([prompt + answer], [seen], [own])
    with torch.inference_mode():
        logits = model.model(**tensors).logits[0]
    return logits[len(prompt) - 1 : -1].float().log_softmax(-1)


def test_choices_are_those_of_one_row_at_a_time(model: LoadedVlm, images: Path) -> None:
    requests = asked(*PROMPTS)
    found = VlmBackend.of(model).choose(requests, OPTIONS, images)
    for request, choice in zip(requests, found, strict=True):
        for option, weight, count in zip(OPTIONS, choice.logprobs, choice.tokens, strict=True):
            ids = model.chat.reply_ids(option)
            logprobs = _alone(model, request, images, ids)
            expected = logprobs.gather(-1, torch.tensor(ids)[:, None]).sum()
            assert weight == pytest.approx(float(expected), abs=1e-4)
            assert count == len(ids)


def test_the_picture_counts(model: LoadedVlm, images: Path) -> None:
    found = VlmBackend.of(model).choose(asked("Well?", "Well?", "Well?"), ["Yes"], images)
    weights = [one.logprobs[0] for one in found]
    assert len({round(weight, 4) for weight in weights}) == 3


def test_single_tokens_weigh_the_same_alone_and_beside_longer_options(
    model: LoadedVlm, images: Path
) -> None:
    backend = VlmBackend.of(model)
    short = backend.choose(asked(*PROMPTS), ["Yes", "No"], images)
    long = backend.choose(asked(*PROMPTS), OPTIONS, images)
    for one, other in zip(short, long, strict=True):
        assert one.tokens == (1, 1)
        assert one.logprobs == pytest.approx(other.logprobs[:2], abs=1e-4)


def test_logprobs_are_raw_whatever_is_drawn(model: LoadedVlm, images: Path) -> None:
    requests = asked(*PROMPTS, sampling=Sampling(6, 1.3, top_p=0.9, top_k=40, seed=5))
    for request, one in zip(requests, VlmBackend.of(model).generate(requests, images), strict=True):
        ids = torch.tensor(one.token_ids)
        logprobs = _alone(model, request, images, ids.tolist())
        expected = logprobs.gather(-1, ids[:, None])[:, 0].tolist()
        assert one.logprobs == pytest.approx(expected, abs=1e-4)
        likeliest = logprobs.argsort(-1, descending=True)[:, :40]
        assert all(int(token) in row for token, row in zip(ids, likeliest, strict=True))


def test_greedy_text_is_that_of_the_library(model: LoadedVlm, images: Path) -> None:
    requests = asked(*PROMPTS[:2])
    found = VlmBackend.of(model).generate(requests, images)
    for request, one in zip(requests, found, strict=True):
        seen = model.look(Image.open(images / request.image.path).convert("RGB"))
        prompt = model.insert(model.chat.prompt_ids([Message("user", request.prompt)]), seen)
        theirs = model.model.generate(
            **model.inputs([prompt], [seen]),
            generation_config=GenerationConfig(
                max_new_tokens=5, do_sample=False, pad_token_id=model.pad_id
            ),
        )
        assert theirs[0, len(prompt) :].tolist() == list(one.token_ids)


def test_what_its_makers_recommend_does_not_bend_the_scores(model: LoadedVlm) -> None:
    assert model.model.generation_config.repetition_penalty in (None, 1.0)
    assert set(model.model.generation_config.eos_token_id) == set(model.end_ids)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_size_of_a_batch_changes_no_token(model: LoadedVlm, images: Path, batch: int) -> None:
    requests = asked(*PROMPTS, sampling=Sampling(6, 1.0, seed=3))
    usual = VlmBackend.of(model).generate(requests, images)
    other = VlmBackend.of(model, settings=VlmSettings(batch=batch)).generate(requests, images)
    assert [one.token_ids for one in usual] == [one.token_ids for one in other]


def test_words_that_would_be_control_tokens_are_sent_as_words(
    model: LoadedVlm, images: Path
) -> None:
    end, image = model.tokenizer.eos_token, model.chat.image_token
    requests = asked("Well?", f"Well{end}?", f"Well{image}? {image}", "Well\ufdd0?")
    backend = VlmBackend.of(model)
    finishes = [one.finish for one in backend.generate(requests, images)]
    assert [one == "error" for one in finishes] == [False, False, False, True]
    weights = [one.logprobs[0] for one in backend.choose(requests, ["Yes", end], images)]
    assert [math.isnan(weight) for weight in weights] == [False, False, False, True]
    assert min(len(model.chat.reply_ids(one)) for one in (end, image)) > 1


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images went through a tower, call by call."""
    calls: list[int] = []
    usual = LoadedVlm.sights

    def counted(self: LoadedVlm, seen: list[Seen]) -> list[Sight] | None:
        calls.append(len(seen))
        return usual(self, seen)

    monkeypatch.setattr(LoadedVlm, "sights", counted)
    return calls


@pytest.mark.parametrize("batch", [2, 5, 9])
def test_an_image_is_looked_at_once_and_the_answers_are_the_same(
    model: LoadedVlm, images: Path, looked: list[int], monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    requests = sorted(asked(*PROMPTS, *PROMPTS), key=lambda one: one.image.path)
    backend = VlmBackend.of(model, settings=VlmSettings(batch=batch))
    assert model.shares_sights
    looked.clear()
    found = backend.generate(requests, images)
    assert sum(looked) == len(SIZES)
    weighed = backend.choose(requests, OPTIONS, images)
    assert sum(looked) == 2 * len(SIZES)
    monkeypatch.setitem(vars(model), "shares_sights", False)
    looked.clear()
    apart = backend.generate(requests, images)
    assert not looked
    assert [one.token_ids for one in found] == [one.token_ids for one in apart]
    for one, other in zip(found, apart, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)
    for one, other in zip(weighed, backend.choose(requests, OPTIONS, images), strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


def test_a_tower_that_does_not_say_whose_features_are_whose_is_not_shared(
    model: LoadedVlm, images: Path
) -> None:
    seen = model.look(Image.open(images / "0.png").convert("RGB"))
    with torch.inference_mode():
        assert look_once(model.model, model.pictures([seen]), 2) is None
        (one,) = look_once(model.model, model.pictures([seen]), 1)
    assert len(one.features) == seen.ids.count(model.chat.image_id)


def test_a_prompt_longer_than_the_model_reads_is_an_error(model: LoadedVlm, images: Path) -> None:
    (found,) = VlmBackend.of(model).generate(asked("well " * 600), images)
    assert found.finish == "error"


def test_weights_that_are_no_numbers_stop_the_run(model: LoadedVlm, images: Path) -> None:
    weight = model.model.get_output_embeddings().weight
    before = weight.detach().clone()
    try:
        with torch.no_grad():
            weight.fill_(math.nan)
        backend = VlmBackend.of(model)
        with pytest.raises(BackendError, match="no probabilities"):
            backend.generate(asked("Well?"), images)
        with pytest.raises(BackendError, match="no probabilities"):
            backend.choose(asked("Well?"), ["Yes", "No"], images)
    finally:
        with torch.no_grad():
            weight.copy_(before)


def hint_of(task: str, form: str, preset: VlmPreset, **more: object) -> str:
    image = ImageRef("a.png", 640, 480, "")
    request = Request.of(image, task, "specific", 0, "Ask.", Sampling())
    return hint_for(msgspec.structs.replace(request, **more), form, preset)


@pytest.mark.parametrize("preset", sorted(vlm_presets()))
@pytest.mark.parametrize("form", ["pairs", "json"])
def test_what_the_hint_asks_for_can_be_read(preset: str, form: str) -> None:
    chosen = vlm_presets()[preset]
    hint = hint_of("rec", form, chosen)
    canvas = chosen.canvas(640, 480)
    from genixer.models.box_text import read_boxes

    example = hint.split("Write a box as ")[1].split(": ")[0]
    box = read_boxes(example, chosen.boxes)
    task = load_task("rec")
    text = f"Question: Where is the cup? Answer: {box}"
    if form == "json":
        text = f'{{"question": "Where is the cup?", "answer": "{box}"}}'
    found = read_leniently(
        text, canvas, ["json"], lambda words: task.decode(words, canvas), ParseError("no_question")
    )
    turns = task.decode(text, canvas) if form == "pairs" else found[0]
    (place,) = turns[1].boxes
    assert (place.x0, place.y1) == (pytest.approx(0.25, abs=0.01), pytest.approx(1.0, abs=0.02))


def test_hints_stand_after_the_instruction_and_only_where_asked(
    model: LoadedVlm, images: Path
) -> None:
    assert hint_of("rec", "none", model.preset) == ""
    assert "box" not in hint_of("common_vqa", "json", model.preset)
    assert "box" in hint_of("", "pairs", model.preset)
    assert hint_of("rec", "json", model.preset, schema={"type": "object"}) == ""
    plain = VlmBackend.of(model).generate(asked("Well?"), images)
    hinted = VlmBackend.of(model, settings=VlmSettings(hint="pairs"))
    told = hint_of("common_vqa", "pairs", model.preset)
    found = hinted.generate(asked("Well?"), images)
    spelled = VlmBackend.of(model).generate(asked(f"Well?\n{told}"), images)
    assert [one.token_ids for one in found] == [one.token_ids for one in spelled]
    assert [one.logprobs for one in found] != [one.logprobs for one in plain]
    unhinted = VlmBackend.of(model).choose(asked("Well?"), ["Yes", "No"], images)
    assert hinted.choose(asked("Well?"), ["Yes", "No"], images) == unhinted
