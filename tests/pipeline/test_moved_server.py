"""A server may move in the middle of a run, or be pressed otherwise; the model may not change."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from chat_server import Answer, Call, ChatServer, good
from PIL import Image

from genixer.config import load_config
from genixer.errors import BackendError, SettingsChangedError
from genixer.inference import BACKENDS, settings_of_rows
from genixer.inference.base import BackendSettings
from genixer.pipeline.plan import make_plan
from genixer.pipeline.run import run
from genixer.pipeline.verify import verify

PICTURES = 6
Write = Callable[..., Path]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a config that asks the server at an address two things about every picture."""
    monkeypatch.chdir(tmp_path)
    Path("pool").mkdir()
    for number in range(PICTURES):
        Image.new("RGB", (20, 30), (number, 0, 0)).save(f"pool/{number}.png")

    def write(url: str, more: dict[str, object] | None = None, **settings: object) -> Path:
        own = {"base_url": url, "patience_s": 0.0, "first_wait_s": 0.01, **settings}
        given = {"images": "pool", "model": "tiny", "backend": "openai", "tasks": ["rec"]}
        asked = {"stage": "generate", "rows_per_shard": 4, "with": {**given, "block": 4}}
        asked["with"] |= {"backend_settings": own}
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump({"name": "r", "steps": {"raw": asked, **(more or {})}}))
        return path

    return write


def answers(count: int) -> Callable[[Call], Answer]:
    """A script that answers so many calls and none after them."""
    left = [None] * count

    def script(call: Call) -> Answer:
        if not left:
            return Answer(status=401)
        left.pop()
        return good(call)

    return script


def interrupted(config: Write) -> set[str]:
    """Run until a server has answered 5 of the 12 requests; what it answered."""
    with ChatServer(answers(5)) as server:
        with pytest.raises(BackendError):
            run(config(server.url, concurrency_max=1), out="out", workers=0)
        return {call.row for call in server.calls[:5]}


def test_a_run_goes_on_with_a_server_that_has_moved_and_is_pressed_otherwise(
    config: Write,
) -> None:
    done = interrupted(config)
    with ChatServer() as server:
        moved = config(server.url, concurrency_max=8, timeout_s=5.0, patience_s=1.0, attempts=2)
        assert run(moved, out="out", workers=0).worked == ("raw",)
        assert len(server.asked()) == 2 * PICTURES - 5
        assert not server.asked().keys() & done
        assert verify("out").ok
    assert run(config("http://10.0.0.7:1/v1"), out="out", workers=0).worked == ()


def test_a_run_does_not_go_on_with_another_model_of_the_same_name(config: Write) -> None:
    interrupted(config)
    with ChatServer() as server:
        server.models = Answer(content=b'{"data": [{"id": "tiny", "root": "another-vlm"}]}')
        with pytest.raises(SettingsChangedError, match=r"openai is another one.*--new-run DIR"):
            run(config(server.url), out="out", workers=0)
        assert not server.calls
    with ChatServer() as server:
        run(config(server.url), out="out", workers=1)
        assert verify("out").ok


def test_a_judge_that_changes_in_the_middle_stops_the_step(config: Write) -> None:
    def steps(url: str) -> dict[str, object]:
        judge = {"name": "judge", "model": "tiny", "backend": "openai"}
        own = {"base_url": url, "patience_s": 0.0, "first_wait_s": 0.01}
        chain = [{**judge, "backend_settings": own, "keep_above": 0.0}]
        read = {"stage": "decode", "from": ["raw"]}
        judged = {"stage": "filter", "from": ["samples"], "rows_per_shard": 2}
        judged["with"] = {"block": 2, "filters": chain}
        return {"samples": read, "judged": judged}

    said = "Question: Where is it? Answer: [0.100,0.200,0.300,0.400]"
    with ChatServer(lambda call: good(call, said)) as writer:
        with ChatServer(answers(4)) as judge, pytest.raises(BackendError):
            run(config(writer.url, steps(judge.url)), out="out", workers=0)
        with ChatServer() as judge:
            judge.models = Answer(content=b'{"data": [{"id": "tiny", "root": "another-vlm"}]}')
            with pytest.raises(SettingsChangedError, match="asked as judge is another one"):
                run(config(writer.url, steps(judge.url)), out="out", workers=0)
        with ChatServer() as judge:
            assert run(config(writer.url, steps(judge.url)), out="out", workers=0).worked == (
                "judged",
            )


def test_what_is_asked_is_in_the_fingerprint_and_where_is_not(config: Write) -> None:
    def fingerprint(url: str = "http://a/v1", **settings: object) -> str:
        plan = make_plan(load_config(config(url, **settings)), Path("out"))
        return plan.by_name["raw"].fingerprint

    assert fingerprint() == fingerprint("http://b/v1", stop_after=3, api_key_env="", trust_env=True)
    for told in ({"hint": "json"}, {"most_px": 4096}, {"extra": {"a": 1}}, {"dialect": "sglang"}):
        assert fingerprint(**told) != fingerprint()


def test_only_what_changes_no_row_is_marked() -> None:
    marked = {
        name: BACKENDS.settings_class(name).not_of_rows() for name in ("openai", "vllm", "scripted")
    }
    told = {"dialect", "preset", "hint", "guided_json", "most_px", "extra"}
    assert marked.pop("openai") == BACKENDS.settings_class("openai").model_fields.keys() - told
    assert marked == {
        "vllm": {"memory", "cache_gb"},
        "scripted": {"delay_s", "fail_every"},
    }
    assert BackendSettings.not_of_rows() == set()
    for name in ("nobody", "vlm", "transformers"):
        assert settings_of_rows(name, {"base_url": "a"}) == {"base_url": "a"}
