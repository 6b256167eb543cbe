from pathlib import Path

import pytest
import torch

from genixer.data import ImageRef, Message, Request
from genixer.errors import BackendError, ConfigError
from genixer.inference import load_backend, transformers
from genixer.inference.transformers import TransformersBackend
from genixer.models.llava import LoadedModel
from genixer.store.images import open_image


@pytest.fixture
def backend(model: LoadedModel) -> TransformersBackend:
    return TransformersBackend.of(model)


def whole_logprobs(
    model: LoadedModel, root: Path, request: Request, tokens: list[int]
) -> list[float]:
    """Log-probability of each of `tokens` after the prompt: one row, no cache, no padding."""
    prompt = model.prompt_ids([Message("user", request.prompt)])
    with torch.inference_mode():
        logits = model.model(
            input_ids=torch.tensor([[*prompt, *tokens]]),
            pixel_values=model.pixels([open_image(root, request.image.path)]),
            use_cache=False,
        ).logits[0]
    steps = logits[len(prompt) - 1 : -1].log_softmax(-1)
    return [float(steps[place, token]) for place, token in enumerate(tokens)]


def greedy_alone(model: LoadedModel, root: Path, request: Request) -> list[int]:
    """Tokens by the library's own generate, one request at a time."""
    prompt = model.prompt_ids([Message("user", request.prompt)])
    out = model.model.generate(
        input_ids=torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        pixel_values=model.pixels([open_image(root, request.image.path)]),
        max_new_tokens=request.sampling.max_new_tokens,
        do_sample=False,
        eos_token_id=model.end_id,
        pad_token_id=model.pad_id,
    )
    return out[0, len(prompt) :].tolist()


def test_a_block_writes_what_the_library_writes_one_by_one(
    backend: TransformersBackend, model: LoadedModel, pictures: list[ImageRef], tmp_path: Path, ask
) -> None:
    asked = ask(pictures[:3], 9)
    for request, completion in zip(asked, backend.generate(asked, tmp_path), strict=True):
        assert list(completion.token_ids) == greedy_alone(model, tmp_path, request)
        assert completion.finish == "length"


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_logprobs_are_raw_whatever_the_sampling(
    backend: TransformersBackend,
    model: LoadedModel,
    pictures: list[ImageRef],
    tmp_path: Path,
    ask,
    temperature: float,
) -> None:
    asked = ask(pictures[:3], 7, temperature=temperature, top_k=5, top_p=0.9)
    for request, completion in zip(asked, backend.generate(asked, tmp_path), strict=True):
        wanted = whole_logprobs(model, tmp_path, request, list(completion.token_ids))
        assert completion.logprobs == pytest.approx(wanted, abs=1e-4)


def test_a_request_draws_the_same_in_any_company(
    backend: TransformersBackend, pictures: list[ImageRef], tmp_path: Path, ask
) -> None:
    asked = ask(pictures[:3], 12, temperature=1.0)
    together = backend.generate(asked, tmp_path)
    for rows in ([4], [11, 3], list(reversed(range(12)))):
        for row, found in zip(
            rows, backend.generate([asked[r] for r in rows], tmp_path), strict=True
        ):
            assert found.token_ids == together[row].token_ids


def test_dropping_finished_rows_changes_no_token(
    backend: TransformersBackend,
    pictures: list[ImageRef],
    tmp_path: Path,
    ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = ask(pictures[:3], 16, temperature=1.0)
    found = {}
    for share in (0.0, 0.5, 1.0):
        monkeypatch.setattr(transformers, "_DROP_BELOW", share)
        found[share] = [one.token_ids for one in backend.generate(asked, tmp_path)]
    assert found[0.0] == found[0.5] == found[1.0]


def test_the_end_token_ends_a_row_and_is_no_text(
    model: LoadedModel,
    pictures: list[ImageRef],
    tmp_path: Path,
    ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = TransformersBackend.of(model)
    asked = ask(pictures[:3], 6, max_new_tokens=8)
    before = backend.generate(asked, tmp_path)
    end = before[2].token_ids[3]
    monkeypatch.setattr(model, "end_id", end)
    for old, new in zip(before, backend.generate(asked, tmp_path), strict=True):
        length = old.token_ids.index(end) + 1 if end in old.token_ids else 8
        assert new.token_ids == old.token_ids[:length]
        assert len(new.logprobs) == length
        assert new.finish == ("stop" if end in old.token_ids else "length")


def test_text_is_what_the_tokens_spell_without_control_tokens(
    backend: TransformersBackend, model: LoadedModel, pictures: list[ImageRef], tmp_path: Path, ask
) -> None:
    for completion in backend.generate(ask(pictures[:3], 4), tmp_path):
        assert completion.text == model.decode(completion.token_ids)
        assert "</s>" not in completion.text


def test_an_unreadable_image_costs_its_own_requests_only(
    backend: TransformersBackend, pictures: list[ImageRef], tmp_path: Path, ask
) -> None:
    asked = ask(pictures, 8, temperature=0.7)
    found = backend.generate(asked, tmp_path)
    assert [one.finish == "error" for one in found] == [False] * 6 + [True] * 2
    assert found[7].text == ""
    assert found[7].token_ids == found[7].logprobs == ()
    assert found[:6] == backend.generate(asked[:6], tmp_path)


def test_nothing_is_asked_of_the_model_when_no_image_can_be_read(
    backend: TransformersBackend, pictures: list[ImageRef], tmp_path: Path, ask
) -> None:
    lost = ask(pictures[3:], 3)
    assert {one.finish for one in backend.generate(lost, tmp_path)} == {"error"}
    for choice in backend.choose(lost, ["Yes", "No"], tmp_path):
        assert all(value != value for value in choice.logprobs)
        assert len(choice.logprobs) == 2
    assert backend.generate([], tmp_path) == []


def test_a_prompt_longer_than_the_model_reads_is_an_error_of_its_own(
    backend: TransformersBackend, pictures: list[ImageRef], tmp_path: Path, ask
) -> None:
    long, short = ask(pictures[:1], 2)
    words = Request(long.id, long.image, "red " * 400, long.sampling)
    found = backend.generate([words, short], tmp_path)
    assert [one.finish for one in found] == ["error", "length"]


def test_writing_stops_where_the_model_can_read_no_further(
    backend: TransformersBackend, pictures: list[ImageRef], tmp_path: Path, ask
) -> None:
    (asked,) = ask(pictures[:1], 1, max_new_tokens=1000)
    prompt = backend.loaded.prompt_ids([Message("user", asked.prompt)])
    (found,) = backend.generate([asked], tmp_path)
    assert len(found.token_ids) == backend.most_tokens - len(prompt)


def test_a_long_text_outgrows_the_room_it_was_given(
    backend: TransformersBackend, model: LoadedModel, pictures: list[ImageRef], tmp_path: Path, ask
) -> None:
    asked = ask(pictures[:2], 3, max_new_tokens=80)
    for request, completion in zip(asked, backend.generate(asked, tmp_path), strict=True):
        assert list(completion.token_ids) == greedy_alone(model, tmp_path, request)


def test_choice_equals_the_reference_one_by_one(
    backend: TransformersBackend, model: LoadedModel, pictures: list[ImageRef], tmp_path: Path, ask
) -> None:
    options = ["Yes", "No", "Yes No", "[0.10,0.20,0.30,0.40] [0.10,0.20,0.30,0.40]"]
    coded = [model.encode_text(option) for option in options]
    assert min(map(len, coded)) == 1
    assert max(map(len, coded)) > 5
    asked = ask(pictures[:3], 7)
    for request, choice in zip(asked, backend.choose(asked, options, tmp_path), strict=True):
        assert choice.tokens == tuple(map(len, coded))
        for ids, value in zip(coded, choice.logprobs, strict=True):
            wanted = sum(whole_logprobs(model, tmp_path, request, ids))
            assert value == pytest.approx(wanted, abs=1e-4)


def test_an_option_without_tokens_is_refused(
    backend: TransformersBackend, pictures: list[ImageRef], tmp_path: Path, ask
) -> None:
    with pytest.raises(ConfigError, match="at least one token"):
        backend.choose(ask(pictures[:1], 1), ["Yes", ""], tmp_path)


def test_weights_that_are_not_numbers_are_the_models_failure(
    model: LoadedModel, pictures: list[ImageRef], tmp_path: Path, ask
) -> None:
    weight = model.model.lm_head.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(float("nan"))
    try:
        with pytest.raises(BackendError, match="no probabilities"):
            TransformersBackend.of(model).generate(ask(pictures[:1], 2), tmp_path)
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def test_what_torch_raises_comes_out_as_a_backend_error(
    model: LoadedModel,
    pictures: list[ImageRef],
    tmp_path: Path,
    ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model, "read_pixels", lambda root, paths: torch.zeros(1, 4, 32, 32))
    with pytest.raises(BackendError, match="model small failed"):
        TransformersBackend.of(model).generate(ask(pictures[:1], 2), tmp_path)


def test_threads_hold_for_a_call_and_no_longer(
    model: LoadedModel,
    pictures: list[ImageRef],
    tmp_path: Path,
    ask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen, read, before = [], model.read_pixels, torch.get_num_threads()

    def watched(root, paths):
        seen.append(torch.get_num_threads())
        return read(root, paths)

    monkeypatch.setattr(model, "read_pixels", watched)
    TransformersBackend.of(model, threads=before + 1).choose(
        ask(pictures[:1], 1), ["Yes"], tmp_path
    )
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_global_randomness_is_neither_used_nor_touched(
    backend: TransformersBackend, pictures: list[ImageRef], tmp_path: Path, ask
) -> None:
    asked = ask(pictures[:3], 4, temperature=1.0)
    state = torch.get_rng_state()
    first = backend.generate(asked, tmp_path)
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(3)
    assert backend.generate(asked, tmp_path) == first


def test_a_saved_model_is_loaded_by_folder(
    model: LoadedModel, pictures: list[ImageRef], tmp_path: Path, ask
) -> None:
    model.save(tmp_path / "weights")
    backend = load_backend("transformers", str(tmp_path / "weights"))
    asked = ask(pictures[:2], 4)
    assert backend.generate(asked, tmp_path) == TransformersBackend.of(model).generate(
        asked, tmp_path
    )
    assert len(backend.revision) == 32
    assert backend.canvas(10, 10).frame == "padded_square"
