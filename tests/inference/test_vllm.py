"""The adapter around an engine that computes with tiny models of transformers.

The stand-in takes what vLLM 0.32 takes and nothing else, and answers in its form; so these tests
run where vLLM is not installed. `tests/contracts/test_backends.py` runs vLLM itself where it is.
"""

import logging
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_vlms import FAMILIES, PRESETS

from genixer.data import ImageRef, Request, Sampling
from genixer.errors import BackendError, ConfigError
from genixer.inference.pens import Pen, Rail
from genixer.inference.vllm import VllmBackend, VllmSettings
from genixer.inference.vlm import VlmBackend
from genixer.models.vlm import LoadedVlm, load_vlm
from genixer.models.vlm_words import load_words

SAMPLING = (
    *("n", "temperature", "top_p", "top_k", "min_p", "seed", "stop", "stop_token_ids"),
    *("ignore_eos", "max_tokens", "min_tokens", "logprobs", "prompt_logprobs"),
    *("logprob_token_ids", "flat_logprobs", "detokenize", "skip_special_tokens", "output_kind"),
    *("structured_outputs", "logit_bias", "allowed_token_ids", "bad_words"),
    "skip_reading_prefix_cache",
)
"""Fields of `vllm.SamplingParams`."""
PROMPT = {"prompt_token_ids", "multi_modal_data", "multi_modal_uuids", "mm_processor_kwargs"}
"""Keys of `vllm.inputs.TokensPrompt` that mean something here."""
OPTIONS = ["Yes", "No", "a longer answer", "a longer cat"]
GOOD = '{"pairs": [{"question": "What?", "answer": "a cat"}]}'


class RefusedError(Exception):
    """The stand-in's `VLLMClientError`."""


def sampling_params(**given: Any) -> SimpleNamespace:
    unknown = given.keys() - set(SAMPLING)
    if unknown:
        raise TypeError(f"Unexpected keyword arguments {unknown}")
    if given["temperature"] > 2:
        raise RefusedError("temperature must be in [0, 2]")
    return SimpleNamespace(**{"structured_outputs": None, "logprob_token_ids": None, **given})


@pytest.fixture(autouse=True)
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """`import vllm` gives the names that the adapter asks for."""
    package, sampling = ModuleType("vllm"), ModuleType("vllm.sampling_params")
    errors = SimpleNamespace(VLLMClientError=RefusedError, VLLMError=RefusedError)
    package.SamplingParams, package.exceptions = sampling_params, errors  # type: ignore[attr-defined]
    sampling.RequestOutputKind = SimpleNamespace(FINAL_ONLY=2)  # type: ignore[attr-defined]
    sampling.StructuredOutputsParams = lambda json: json  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", package)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", sampling)


class Engine:
    """Answers the request that came last first, one a step, each by itself."""

    def __init__(self, model: LoadedVlm, guided: str = GOOD) -> None:
        self.model, self.guided = model, guided
        self.waiting: list[tuple[str, dict[str, Any], Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.params: list[Any] = []
        self.aborted: list[str] = []
        self.renderer = SimpleNamespace(render_cmpl=list)

    def add_request(self, number: str, prompt: dict[str, Any], params: Any) -> str:
        assert prompt.keys() <= PROMPT
        assert prompt["prompt_token_ids"].count(self.model.chat.image_id) == 1
        if len(prompt["prompt_token_ids"]) > self.model.most_tokens:
            raise RefusedError("longer than the model")
        self.waiting.append((number, prompt, params))
        self.asked.append(prompt)
        self.params.append(params)
        return f"{number}-inner"

    def step(self) -> list[Any]:
        number, prompt, params = self.waiting.pop()
        seen = self.model.look(prompt["multi_modal_data"]["image"][0])
        ids = self.model.insert(prompt["prompt_token_ids"], seen)
        with torch.inference_mode():
            answer = self._weigh if params.logprob_token_ids else self._write
            tokens, logprobs, why = answer(ids, seen, params)
        steps = [{t: SimpleNamespace(logprob=p) for t, p in step.items()} for step in logprobs]
        output = SimpleNamespace(token_ids=tokens, logprobs=steps, finish_reason=why)
        return [SimpleNamespace(request_id=number, finished=True, outputs=[output])]

    def _weigh(self, ids: list[int], seen: Any, params: Any) -> tuple[Any, ...]:
        assert (params.max_tokens, params.temperature) == (1, 0.0)
        rail = Rail([[token] for token in params.logprob_token_ids], 1)
        rail.run(self.model, [ids], [seen])
        weights = rail.weights()[0]
        return [0], [dict(zip(params.logprob_token_ids, weights, strict=True))], "length"

    def _write(self, ids: list[int], seen: Any, params: Any) -> tuple[Any, ...]:
        if params.structured_outputs:
            tokens = self.model.tokenizer(self.guided, add_special_tokens=False)["input_ids"]
            tokens = [*tokens, self.model.end_ids[0]][: params.max_tokens]
            ended = tokens[-1] in self.model.end_ids
            return tokens, [{}] * len(tokens), "stop" if ended else "length"
        sampling = Sampling(
            params.max_tokens, params.temperature, params.top_p, params.top_k, params.seed
        )
        pen = Pen([sampling], [params.max_tokens], params.stop_token_ids)
        pen.run(self.model, [ids], [seen])
        tokens, logprobs = pen.tokens[0], pen.logprobs[0]
        steps = [{token: value} for token, value in zip(tokens, logprobs, strict=True)]
        return tokens, steps, "stop" if tokens[-1] in params.stop_token_ids else "length"

    def abort_request(self, numbers: list[str]) -> None:
        self.aborted += numbers


@pytest.fixture(scope="module", params=["llava", "qwen2_vl", "smolvlm"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp(request.param)
    FAMILIES[request.param](made / "theirs")
    load_vlm(str(made / "theirs"), PRESETS[request.param]).save(made / "ours")
    return made / "ours"


@pytest.fixture(scope="module")
def model(folder: Path) -> LoadedVlm:
    return load_vlm(str(folder))


@pytest.fixture(scope="module")
def words(folder: Path) -> LoadedVlm:
    return load_words(str(folder))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 255, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / f"{number}.png")
    (root / "broken.png").write_bytes(b"no image")
    return root


def ask(count: int = 7, **sampling: Any) -> list[Request]:
    """Requests about three images in turn, so that those about one do not stand side by side."""
    return [
        Request.of(
            ImageRef(f"{number % 3}.png", 60, 40, f"{number % 3:02x}"),
            "rec",
            "specific",
            number,
            "Where is it? " * (1 + number % 2),
            Sampling(**{"max_new_tokens": 5, "seed": number, **sampling}),
        )
        for number in range(count)
    ]


LOST = Request.of(ImageRef("broken.png", 9, 9, "ff"), "rec", "specific", 0, "Ask.", Sampling(5))


def test_a_clip_tower_is_saved_under_its_published_names(folder: Path, model: LoadedVlm) -> None:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as weights:
        names = [name for name in weights.keys() if "vision_tower." in name]  # noqa: SIM118
    assert bool(names) == (model.model.config.model_type == "llava")
    assert all("vision_tower.vision_model." in name for name in names)


def test_words_without_weights_are_those_of_the_model(model: LoadedVlm, words: LoadedVlm) -> None:
    assert all(value.is_meta for value in words.model.parameters())
    assert (words.revision, words.end_ids, words.most_tokens) == (
        model.revision,
        model.end_ids,
        model.most_tokens,
    )
    assert words.canvas(64, 48) == model.canvas(64, 48)


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.9, "top_k": 20, "top_p": 0.9}])
def test_completions_are_those_of_transformers(
    model: LoadedVlm, words: LoadedVlm, images: Path, sampling: dict[str, Any]
) -> None:
    requests = [*ask(**sampling), LOST]
    found = VllmBackend.of(Engine(model), words).generate(requests, images)
    expected = VlmBackend.of(model).generate(requests, images)
    for one, other in zip(found, expected, strict=True):
        assert (one.request_id, one.text, one.token_ids, one.finish) == (
            other.request_id,
            other.text,
            other.token_ids,
            other.finish,
        )
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_options_of_any_length_weigh_what_they_do_in_transformers(
    model: LoadedVlm, words: LoadedVlm, images: Path
) -> None:
    requests = [*ask(), LOST]
    engine = Engine(model)
    found = VllmBackend.of(engine, words).choose(requests, OPTIONS, images)
    expected = VlmBackend.of(model).choose(requests, OPTIONS, images)
    for one, other in zip(found[:-1], expected[:-1], strict=True):
        assert (one.request_id, one.tokens) == (other.request_id, other.tokens)
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    assert all(math.isnan(value) for value in found[-1].logprobs)
    lengths = [len(model.chat.reply_ids(option)) for option in OPTIONS]
    assert len(engine.asked) < len(ask()) * sum(lengths)


def test_single_tokens_are_one_request_each(
    model: LoadedVlm, words: LoadedVlm, images: Path
) -> None:
    engine = Engine(model)
    VllmBackend.of(engine, words).choose(ask(), ["Yes", "No"], images)
    firsts = [model.chat.reply_ids(option)[0] for option in ("Yes", "No")]
    if all(len(model.chat.reply_ids(option)) == 1 for option in ("Yes", "No")):
        assert len(engine.asked) == len(ask())
    assert engine.params[0].logprob_token_ids == firsts


def test_requests_of_one_image_stand_side_by_side_under_its_hash(
    model: LoadedVlm, words: LoadedVlm, images: Path
) -> None:
    engine = Engine(model)
    VllmBackend.of(engine, words).generate(ask(), images)
    hashes = [prompt["multi_modal_uuids"]["image"] for prompt in engine.asked]
    assert hashes == [["00"]] * 3 + [["01"]] * 2 + [["02"]] * 2
    pictures = [id(prompt["multi_modal_data"]["image"][0]) for prompt in engine.asked]
    assert len(set(pictures)) == 3


def test_answers_come_as_they_are_ready_and_open_ones_are_dropped(
    model: LoadedVlm, words: LoadedVlm, images: Path
) -> None:
    engine = Engine(model)
    stream = VllmBackend.of(engine, words).stream(ask(), images)
    first = next(stream)
    assert first.request_id == ask()[5].id  # the last that was added
    stream.close()  # type: ignore[attr-defined]
    assert len(engine.aborted) == 6


def test_the_engine_holds_no_more_than_it_may(
    model: LoadedVlm, words: LoadedVlm, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genixer.inference.vllm._MOST_OPEN", 2)
    engine = Engine(model)
    most: list[int] = []
    step = engine.step
    monkeypatch.setattr(engine, "step", lambda: most.append(len(engine.waiting)) or step())
    assert len(VllmBackend.of(engine, words).generate(ask(), images)) == 7
    assert max(most) == 2


def test_a_request_the_engine_refuses_is_an_error_in_its_own_place(
    model: LoadedVlm, words: LoadedVlm, images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    long = Request.of(ask()[0].image, "rec", "specific", 9, "Where? " * 999, Sampling(5))
    caplog.set_level(logging.WARNING, "genixer")
    found = VllmBackend.of(Engine(model), words).generate([ask()[0], long, ask()[1]], images)
    assert [one.finish == "error" for one in found] == [False, True, False]
    assert f"request {long.id} cannot be asked: longer than the model" in caplog.text


def test_what_vllm_never_does_stops_the_run(
    model: LoadedVlm, words: LoadedVlm, images: Path
) -> None:
    with pytest.raises(ConfigError, match=r"vLLM: temperature must be in \[0, 2\]"):
        VllmBackend.of(Engine(model), words).generate(ask(temperature=3.0), images)


def test_an_engine_that_dies_is_a_backend_error(
    model: LoadedVlm, words: LoadedVlm, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> Iterator[Any]:
        raise RuntimeError("EngineCore encountered an issue")

    engine = Engine(model)
    monkeypatch.setattr(engine, "step", die)
    with pytest.raises(BackendError, match="EngineCore encountered an issue"):
        VllmBackend.of(engine, words).generate(ask(), images)


@pytest.mark.parametrize(
    ("text", "finish"), [(GOOD, "stop"), ('{"pairs": []}', "error"), ("a cat", "error")]
)
def test_guided_json_is_asked_for_and_checked_again(
    model: LoadedVlm, words: LoadedVlm, images: Path, text: str, finish: str
) -> None:
    engine = Engine(model, guided=text)
    settings = VllmSettings(guided_json=True, hint="json")
    backend = VllmBackend.of(engine, words, settings)
    (found,) = backend.generate(ask(1, max_new_tokens=400), images)
    assert (found.finish, found.logprobs) == (finish, ())
    assert found.text == (text if finish == "stop" else "")
    assert engine.params[0].structured_outputs["required"] == ["pairs"]
    (cut,) = backend.generate(ask(1, max_new_tokens=1), images)
    assert cut.finish == "length"


def test_without_vllm_the_error_names_the_extra(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ConfigError, match="the backend vllm needs vLLM: pip install vllm"):
        VllmBackend(str(folder), 1, VllmSettings())
