"""What every backend promises. A new line in `BACKENDS` needs one in `MODELS` to be tested."""

import math
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from genixer.data import ImageRef, Request, Sampling
from genixer.errors import ConfigError
from genixer.inference import BACKENDS, capabilities, load_backend
from genixer.inference.base import Backend, Choice, Streams

PRESET = Path(__file__).parent.parent / "fixtures" / "models" / "small.yaml"
# What vLLM imports warns of itself.
pytestmark = [pytest.mark.filterwarnings("ignore")] if find_spec("vllm") else []


def _small_llava(folder: Path) -> str:
    from genixer.models.base import load_preset
    from genixer.models.llava import create
    from genixer.models.tokenizer import train_tokenizer

    create(
        load_preset(str(PRESET)),
        train_tokenizer(["Ask about the image. Yes No"] * 3, 800, 2),
        seed=1,
    ).save(folder)
    return str(folder)


def _saved_vlm(family: str) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        from tiny_vlms import FAMILIES, PRESETS

        from genixer.models.vlm import load_vlm

        FAMILIES[family](folder / "theirs")
        load_vlm(str(folder / "theirs"), PRESETS[family]).save(folder / "ours")
        return str(folder / "ours")

    return make


def _engine_of_vllm(folder: Path) -> str:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    import tiny_vlms

    with pytest.MonkeyPatch.context() as patch:
        # Its attention on a CPU takes heads of 32 numbers and more.
        patch.setitem(tiny_vlms.TEXT, "hidden_size", 128)
        return _saved_vlm("llava")(folder)


MODELS: dict[str, Callable[[Path], str]] = {
    "openai": lambda folder: "tiny",
    "scripted": lambda folder: "any",
    "transformers": _small_llava,
    "vlm": _saved_vlm("qwen2_5_vl"),
    "vlm of qwen2_vl": _saved_vlm("qwen2_vl"),
    "vlm of qwen3_vl": _saved_vlm("qwen3_vl"),
    "vlm of smolvlm": _saved_vlm("smolvlm"),
    "vlm of paligemma": _saved_vlm("paligemma"),
    "vlm of llava": _saved_vlm("llava"),
    "vllm": _engine_of_vllm,
}
"""How to come by a model for each backend, given an empty folder; ` of ..` for one more of it."""
SETTINGS: dict[str, dict[str, object]] = {
    "vllm": {"dtype": "float32", "cache_gb": 0.1, "eager": True},
}
"""What a backend needs on a small machine."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Where a model is served."""
    from chat_server import ChatServer

    with ChatServer() as one:
        yield one.url


def test_every_backend_is_tested() -> None:
    assert set(BACKENDS) <= set(MODELS)


@pytest.fixture(scope="module", params=sorted({*BACKENDS, *MODELS}))
def backend(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, server: str
) -> Backend:
    name = request.param.partition(" of ")[0]
    settings = {"base_url": server} if name == "openai" else SETTINGS.get(name, {})
    return load_backend(
        name, MODELS[request.param](tmp_path_factory.mktemp("model")), settings=settings
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / f"{number}.png")
    (root / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return root


def block(temperature: float = 0.8, first_seed: int = 0, limit: int = 7) -> list[Request]:
    """Eight requests about three images, prompts of different lengths."""
    return [
        Request.of(
            ImageRef(f"{number % 3}.png", 24, 24, f"{number % 3:02x}"),
            "rec" if number % 2 else "common_vqa",
            "specific",
            number,
            "Ask about the image." * (1 + number % 2),
            Sampling(limit + number % 3, temperature, seed=first_seed + number),
        )
        for number in range(8)
    ]


def drawn(temperature: float, top_k: int = 0) -> Request:
    sampling = Sampling(6, temperature, top_k=top_k)
    return msgspec.structs.replace(block()[0], sampling=sampling)


BROKEN = Request.of(ImageRef("broken.png", 24, 24, "ff"), "rec", "specific", 0, "Ask.", Sampling(9))
MISSING = Request.of(ImageRef("none.png", 24, 24, "fe"), "rec", "specific", 0, "Ask.", Sampling(9))


def test_backend_is_listed_with_what_it_can_do(backend: Backend) -> None:
    entry, can = BACKENDS[backend.name], capabilities(backend.name)
    assert entry.about
    assert entry.capability == can.words
    assert backend.reproducible == can.reproducible
    assert isinstance(backend, Streams) == can.streams
    assert ("guided_json" in backend.Settings.model_fields) == can.guided_json


def test_log_probabilities_are_raw_where_it_says_so(backend: Backend, images: Path) -> None:
    """Drawn from one token alone, with heat, tokens stay as likely as they are without."""
    if capabilities(backend.name).logprobs != "raw":
        pytest.skip(f"{backend.name} does not promise it")
    plain = backend.generate([drawn(0.0)], images)[0]
    narrow = backend.generate([drawn(0.3, top_k=1)], images)[0]
    assert narrow.token_ids == plain.token_ids
    assert narrow.logprobs == pytest.approx(plain.logprobs, abs=1e-4)


def test_a_seed_decides_alone_where_it_says_so(backend: Backend, images: Path) -> None:
    if not capabilities(backend.name).seeds:
        pytest.skip(f"{backend.name} does not promise it")
    asked = block(1.0)
    again = backend.generate([*block(1.0, 50), *asked], images)[len(asked) :]
    assert [one.text for one in backend.generate(asked, images)] == [one.text for one in again]


def test_an_image_is_encoded_once_where_it_says_so(backend: Backend, images: Path) -> None:
    loaded: Any = getattr(backend, "loaded", None)
    if loaded is None:
        pytest.skip(f"{backend.name} has no tower in this process to watch")
    parts = getattr(loaded.model, "model", loaded.model)
    names = ("vision_tower", "vision_model", "visual")
    tower = next(getattr(parts, name) for name in names if hasattr(parts, name))
    asked, numbers = block(0.0, limit=1), list[int]()

    def count(_: Any, given: tuple[Any, ...], named: dict[str, Any], __: Any) -> None:
        tensors = [one for one in (*given, *named.values()) if hasattr(one, "numel")]
        numbers[-1] += max(one.numel() for one in tensors)

    backend.generate(asked, images)
    hook = tower.register_forward_hook(count, with_kwargs=True)
    try:
        for requests in (asked[:3], asked):
            numbers.append(0)
            backend.generate(requests, images)
    finally:
        hook.remove()
    assert len({request.image.path for request in asked}) == 3
    assert numbers[0] > 0
    assert (numbers[0] == numbers[1]) == capabilities(backend.name).shares_images


def test_streams_answer_every_request_once(backend: Backend, images: Path) -> None:
    if not isinstance(backend, Streams):
        pytest.skip(f"{backend.name} answers blocks")
    asked = [*block(), BROKEN]
    found = list(backend.stream(asked, images))
    assert sorted(one.request_id for one in found) == sorted(request.id for request in asked)
    stream = backend.stream(block(), images)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert len(backend.generate(block(), images)) == len(block())


def test_completions_come_in_the_order_of_the_requests(backend: Backend, images: Path) -> None:
    asked = block()
    found = backend.generate(asked, images)
    assert [one.request_id for one in found] == [request.id for request in asked]
    turned = backend.generate(asked[::-1], images)
    assert [one.request_id for one in turned] == [request.id for request in asked[::-1]]


def test_every_token_has_a_logprob_that_is_one(backend: Backend, images: Path) -> None:
    for request, one in zip(block(), backend.generate(block(), images), strict=True):
        assert len(one.logprobs) <= request.sampling.max_new_tokens
        if one.token_ids or capabilities(backend.name).logprobs == "raw":
            assert len(one.logprobs) == len(one.token_ids)
        assert all(math.isfinite(value) and value <= 0.0 for value in one.logprobs)
        assert one.finish in ("stop", "length")
        if one.finish == "length":
            assert len(one.logprobs) == request.sampling.max_new_tokens


def test_the_same_block_gives_the_same_completions(backend: Backend, images: Path) -> None:
    if not backend.reproducible:
        pytest.skip(f"{backend.name} does not promise it")
    assert backend.generate(block(), images) == backend.generate(block(), images)


def test_another_seed_gives_another_text(backend: Backend, images: Path) -> None:
    first, other = (backend.generate(block(1.0, seed), images) for seed in (0, 100))
    assert [one.text for one in first] != [one.text for one in other]


def test_greedy_text_does_not_depend_on_the_seed(backend: Backend, images: Path) -> None:
    first, other = (backend.generate(block(0.0, seed), images) for seed in (0, 100))
    assert [one.text for one in first] == [one.text for one in other]


def test_neighbours_do_not_change_what_a_request_gets(backend: Backend, images: Path) -> None:
    if not backend.reproducible:
        pytest.skip(f"{backend.name} does not promise it")
    asked = block()
    together = [one.token_ids for one in backend.generate(asked, images)]
    alone = [backend.generate([request], images)[0].token_ids for request in asked]
    assert together == alone


@pytest.mark.parametrize("lost", [BROKEN, MISSING], ids=["broken", "missing"])
def test_an_unusable_image_is_an_error_in_its_own_place(
    backend: Backend, images: Path, lost: Request
) -> None:
    asked = block()
    found = backend.generate([*asked[:3], lost, *asked[3:]], images)
    error = found.pop(3)
    assert (error.request_id, error.finish, error.text) == (lost.id, "error", "")
    assert error.token_ids == error.logprobs == ()
    assert [one.text for one in found] == [one.text for one in backend.generate(asked, images)]


def test_no_requests_give_no_answers(backend: Backend, images: Path) -> None:
    assert backend.generate([], images) == []
    assert backend.choose([], ["Yes", "No"], images) == []


def test_choices_are_weights_of_the_options_asked(backend: Backend, images: Path) -> None:
    asked = block()
    options = ["Yes", "No", "a longer answer"]
    if not capabilities(backend.name).long_options:
        with pytest.raises(ConfigError, match="'a longer answer' has several tokens"):
            backend.choose(asked, options, images)
        return
    found = backend.choose(asked, options, images)
    assert [one.request_id for one in found] == [request.id for request in asked]
    for one in found:
        assert len(one.logprobs) == len(one.tokens) == 3
        assert all(count >= 1 for count in one.tokens)
        assert one.tokens[2] > one.tokens[0]
        assert all(value <= 0.0 for value in one.logprobs)
        assert sum(math.exp(value) for value in one.logprobs) <= 1.0 + 1e-6


def test_an_option_weighs_the_same_in_any_order(backend: Backend, images: Path) -> None:
    def by_option(options: list[str]) -> list[dict[str, float]]:
        found: list[Choice] = backend.choose(block(), options, images)
        return [dict(zip(options, one.logprobs, strict=True)) for one in found]

    third = "Yes No" if capabilities(backend.name).long_options else "."
    straight, turned = by_option(["Yes", "No", third]), by_option([third, "No", "Yes"])
    for one, other in zip(straight, turned, strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_choosing_draws_nothing(backend: Backend, images: Path) -> None:
    if not backend.reproducible:
        pytest.skip(f"{backend.name} does not promise it")
    first = backend.choose(block(0.0, 0), ["Yes", "No"], images)
    assert first == backend.choose(block(1.0, 50), ["Yes", "No"], images)


def test_a_choice_about_an_unusable_image_is_nan(backend: Backend, images: Path) -> None:
    whole, lost = backend.choose([block()[0], BROKEN], ["Yes", "No"], images)
    assert all(math.isnan(value) for value in lost.logprobs)
    assert not any(math.isnan(value) for value in whole.logprobs)
    assert lost.request_id == BROKEN.id


def test_boxes_are_written_in_a_declared_frame(backend: Backend) -> None:
    canvas = backend.canvas(640, 480)
    assert (canvas.width, canvas.height) == (640, 480)
    assert canvas.decimals >= 0
    assert backend.revision
