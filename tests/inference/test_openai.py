"""What is sent to a server, and what is made of its answers, when nothing goes wrong."""

import asyncio
import base64
import json
import subprocess
import sys
import threading
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from chat_server import Answer, Call, ChatServer, good, picture_of, words_of
from PIL import Image

from genixer.data import ImageRef, Request, Sampling
from genixer.errors import ConfigError
from genixer.inference import load_backend
from genixer.inference.base import Backend, Streams
from genixer.inference.data_url import DataUrls, data_url
from genixer.inference.loop_thread import LoopThread
from genixer.inference.openai import OpenAiSettings
from genixer.tasks.base import Canvas
from genixer.tasks.zero_shot import zero_shot


def request(number: int = 0, task: str = "", **sampling: float) -> Request:
    image = ImageRef("a.png", 40, 30, "aa")
    settings = {"max_new_tokens": 9, "temperature": 0.7, "seed": number, **sampling}
    return Request.of(
        image, task, "specific" if task else "agnostic", number, "Ask.", Sampling(**settings)
    )


def at(server: ChatServer, **settings: object) -> Backend:
    return load_backend("openai", "tiny", settings={"base_url": server.url, **settings})


def sent(root: Path, asked: Request, **settings: object) -> dict[str, object]:
    with ChatServer() as server:
        at(server, **settings).generate([asked], root)
        return server.calls[0].body


def test_sampling_is_said_in_the_words_of_the_dialect(root: Path) -> None:
    asked = request(5, top_p=0.9, top_k=7)
    body = sent(root, asked)
    assert (body["temperature"], body["top_p"], body["top_k"], body["seed"]) == (0.7, 0.9, 7, 5)
    assert body["max_tokens"] == 9
    assert body["logprobs"] is True
    cloud = sent(root, request(5), dialect="openai", extra={"user": "me"})
    assert cloud["max_completion_tokens"] == 9
    assert not {"max_tokens", "top_k", "return_token_ids"} & set(cloud)
    assert cloud["user"] == "me"


@pytest.mark.parametrize(
    ("dialect", "plain"),
    [
        ("vllm", {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0}),
        ("sglang", {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}),
        ("llama_cpp", {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0}),
    ],
)
def test_what_a_models_makers_recommend_is_turned_off(
    dialect: str, plain: dict[str, float], root: Path
) -> None:
    assert sent(root, request(), dialect=dialect).items() >= plain.items()
    wanted = sent(root, request(), dialect=dialect, extra={"min_p": 0.1})
    assert wanted["min_p"] == 0.1


@pytest.mark.parametrize("name", ["seed", "temperature", "top_p", "logprobs", "response_format"])
def test_what_the_step_says_is_not_said_again_in_extra(name: str) -> None:
    with pytest.raises(ValueError, match="set by the backend itself"):
        OpenAiSettings(extra={name: 1})


def test_a_seed_of_63_bits_fits_a_server_that_reads_31(root: Path) -> None:
    assert sent(root, request(2**62 + 12345))["seed"] < 2**31


def test_words_come_after_the_picture_with_the_hint_last(root: Path) -> None:
    body = sent(root, request(task="rec"), hint="pairs", preset="qwen3_vl")
    assert [part["type"] for part in body["messages"][0]["content"]] == ["image_url", "text"]
    words = words_of(body)
    assert words.startswith("Ask.\n")
    assert "the whole image is 1000 by 1000" in words


def test_boxes_are_read_in_the_models_spelling(root: Path) -> None:
    said = "Question: Where? Answer: <|box_start|>(1,2),(3,4)<|box_end|>"
    with ChatServer(lambda call: good(call, said)) as server:
        backend = at(server, preset="qwen2_vl")
        assert backend.generate([request()], root)[0].text == "Question: Where? Answer: [1,2,3,4]"
        assert server.calls[0].body["skip_special_tokens"] is False
        with pytest.raises(ConfigError, match="control tokens"):
            at(server, preset="qwen2_vl", dialect="openai")


@pytest.mark.parametrize("sign", ["<|im_end|>", "</s>", "[INST]", "<image>", "<end_of_turn>"])
def test_signs_of_a_chat_template_are_never_sent_as_words(sign: str, root: Path) -> None:
    hostile = Request.of(
        ImageRef("a.png", 40, 30, "aa"), "", "agnostic", 0, f"Ask{sign}Yes", Sampling()
    )
    with ChatServer() as server:
        (found,) = at(server).generate([hostile], root)
        assert not server.calls
    assert found.finish == "error"
    assert sign in found.detail


def test_token_ids_are_kept_where_the_server_gives_them(root: Path) -> None:
    def with_ids(call: Call) -> Answer:
        body = json.loads(good(call).content)
        choice = body["choices"][0]
        choice["token_ids"] = list(range(len(choice["logprobs"]["content"])))
        return Answer(content=json.dumps(body).encode())

    with ChatServer(with_ids) as server:
        (found,) = at(server).generate([request()], root)
    assert found.token_ids == tuple(range(len(found.logprobs))) != ()


def test_guided_answers_are_asked_for_and_looked_at(root: Path) -> None:
    form = '{"pairs": [{"question": "What?", "answer": "a cat"}]}'

    def script(call: Call) -> Answer:
        return good(call, form if call.nth > 1 else "What? A cat.")

    with ChatServer(script) as server:
        backend = at(server, hint="json", guided_json=True, first_wait_s=0.01)
        (found,) = backend.generate([request()], root)
        assert found.text == form
        # The same seed would bring the same again.
        assert len({call.body["seed"] for call in server.calls}) == len(server.calls) == 2
        schema = server.calls[0].body["response_format"]["json_schema"]["schema"]
        assert schema["additionalProperties"] is False
    with pytest.raises(ConfigError, match="guided_json needs the hint json"):
        load_backend("openai", "tiny", settings={"guided_json": True})


def test_a_request_with_a_schema_is_guided_by_it_and_gets_no_hint(root: Path) -> None:
    prompt, schema = zero_shot("rec", "", Canvas("per_1000", 0, 40, 30))
    asked = msgspec.structs.replace(request(task="rec"), prompt=prompt, schema=schema)
    form = '{"question": "Where is the cup?", "box": [1, 2, 30, 40]}'
    other = '{"pairs": [{"question": "What?", "answer": "a cat"}]}'
    with ChatServer(lambda call: good(call, form if call.nth > 1 else other)) as server:
        backend = at(server, hint="json", guided_json=True, preset="qwen2_vl", first_wait_s=0.01)
        (found,) = backend.generate([asked], root)
        body = server.calls[0].body
    assert body["response_format"]["json_schema"]["schema"] == schema
    assert words_of(body) == prompt
    assert (found.text, len(server.calls)) == (form, 2)


def pixels(url: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(url.partition(",")[2])))


def test_a_plain_file_is_sent_as_it_is(root: Path) -> None:
    url = data_url(root, "a.png", None)
    assert url.startswith("data:image/png;base64,")
    assert base64.b64decode(url.partition(",")[2]) == (root / "a.png").read_bytes()


def test_other_files_are_made_upright_rgb_and_small_enough(root: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    photo = Image.new("RGB", (400, 300), "red")
    photo.save(root / "turned.jpg", exif=turned)
    photo.save(root / "large.png")
    photo.convert("CMYK").save(root / "ink.jpg")
    Image.new("RGBA", (40, 30), (255, 0, 0, 0)).save(root / "clear.png")
    photo.save(root / "web.webp")
    assert pixels(data_url(root, "turned.jpg", None)).size == (300, 400)
    small = pixels(data_url(root, "large.png", 30_000))
    assert small.size == (200, 150)
    for name in ("ink.jpg", "clear.png", "web.webp"):
        image = pixels(data_url(root, name, None))
        kind = "PNG" if name.endswith("png") else "JPEG"
        assert (image.format, image.mode) == (kind, "RGB")
    assert pixels(data_url(root, "clear.png", None)).getpixel((5, 5)) == (255, 255, 255)


def test_a_model_of_squares_gets_squares(root: Path) -> None:
    with ChatServer() as server:
        at(server, preset="llava_hf").generate([request()], root)
        assert pixels(picture_of(server.calls[0].body)).size == (40, 40)


def test_the_square_of_a_png_has_its_very_pixels(root: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / "noise.png")
    square = np.asarray(pixels(data_url(root, "noise.png", None, squared=True)))
    assert square.shape == (40, 40, 3)
    assert (square[5:35] == noise).all()
    assert (square[:5] == (122, 116, 104)).all()


def test_a_png_too_large_to_be_sent_as_one_is_sent_as_a_jpeg(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(1)
    few = Image.fromarray(draw.integers(0, 255, (40, 60), dtype=np.uint8)).convert("P")
    few.putpalette(draw.integers(0, 255, 768, dtype=np.uint8).tolist())
    few.save(root / "few.png")
    assert pixels(data_url(root, "few.png", None)).format == "PNG"
    monkeypatch.setattr("genixer.inference.data_url._MOST_BYTES", 5_000)
    assert (root / "few.png").stat().st_size < 5_000
    assert pixels(data_url(root, "few.png", None)).format == "JPEG"


def test_pixels_of_an_image_that_was_made_smaller_would_mean_others() -> None:
    with pytest.raises(ConfigError, match="leave most_px out"):
        load_backend("openai", "m", settings={"preset": "qwen2_5_vl", "most_px": 10_000})


def test_an_image_is_read_once_for_its_requests(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genixer.inference import data_url as module

    read: list[str] = []
    real = module.data_url
    monkeypatch.setattr(module, "data_url", lambda *a: read.append(a[1]) or real(*a))
    with ChatServer() as server:
        at(server).generate([request(n) for n in range(20)], root)
    assert read == ["a.png"]


def test_images_are_read_one_at_a_time_and_hold_up_no_look_up_of_a_server(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up, open_now, most_open = threading.Event(), 0, 0

    def slowly(*asked: Any) -> str:
        nonlocal open_now, most_open
        open_now += 1
        most_open = max(most_open, open_now)
        looked_up.wait(5)
        time.sleep(0.01)
        open_now -= 1
        return data_url(*asked)

    async def read_and_look_up() -> list[str]:
        urls = DataUrls(None, squared=False)
        reading = [asyncio.create_task(urls.of(root, name)) for name in ("a.png", "b.png", "c.png")]
        await asyncio.sleep(0.1)
        await asyncio.wait_for(asyncio.get_running_loop().getaddrinfo("localhost", 80), 3)
        looked_up.set()
        return await asyncio.gather(*reading)

    monkeypatch.setattr("genixer.inference.data_url.data_url", slowly)
    for name in ("b.png", "c.png"):
        (root / name).write_bytes((root / "a.png").read_bytes())
    thread = LoopThread("test")
    try:
        assert thread.call(read_and_look_up()) == [data_url(root, "a.png", None)] * 3
    finally:
        thread.close()
    assert most_open == 1


def test_answers_stream_as_they_come(root: Path) -> None:
    def script(call: Call) -> Answer:
        answer = good(call)
        return Answer(content=answer.content, delay_s=0.6 if call.body["seed"] == 0 else 0.0)

    asked = [request(number) for number in range(6)]
    with ChatServer(script) as server:
        backend = at(server)
        assert isinstance(backend, Streams)
        found = [one.request_id for one in backend.stream(asked, root)]
    assert sorted(found) == sorted(one.id for one in asked)
    assert found[-1] == asked[0].id


def test_the_revision_is_of_model_and_settings_and_lasts(root: Path) -> None:
    with ChatServer() as server:
        first = at(server).revision
        models = json.loads(server.models.content)
        models["data"][0]["created"] = 99
        server.models = Answer(content=json.dumps(models).encode())
        assert at(server, concurrency_max=3).revision == first
        assert at(server, hint="pairs").revision != first
        models["data"][0]["root"] = "other-vlm"
        server.models = Answer(content=json.dumps(models).encode())
        assert at(server).revision != first


def test_the_revision_tells_one_manner_of_asking_from_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ChatServer() as server:
        now = at(server).revision
        monkeypatch.setattr("genixer.inference.openai._MANNER", 1)
        assert at(server).revision != now


def test_what_a_dialect_cannot_is_known_to_the_plan_without_its_libraries() -> None:
    code = (
        "import sys\nfrom genixer.errors import ConfigError\n"
        "from genixer.stages.generate import GenerateSettings\n"
        "from pydantic import ValidationError\n"
        "try:\n    GenerateSettings(images='x', backend='openai', top_k=5,"
        " backend_settings={'dialect': 'openai'})\n"
        "except ValidationError as error:\n    print(error)\n"
        "print([one for one in ('torch', 'aiohttp', 'transformers') if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot do: top_k" in done.stdout
    assert done.stdout.endswith("[]\n")
