"""A key is in one header, and nowhere that a run leaves or shows."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from chat_server import Answer, Call, ChatServer, good
from PIL import Image

from genixer.data import ImageRef, Request, Sampling
from genixer.errors import BackendError, ConfigError
from genixer.inference import load_backend
from genixer.inference.api_key import ApiKey

SECRET = "sk-test-4f9a7c21d0e8b365"


@pytest.fixture
def run_config(tmp_path: Path) -> Path:
    pool = tmp_path / "pool"
    pool.mkdir()
    for number in range(4):
        Image.new("RGB", (32, 24), (number * 60, 9, 9)).save(pool / f"{number}.png")
    return tmp_path / "keys.yaml"


def write(path: Path, server: ChatServer, **settings: object) -> None:
    told = {"base_url": server.url, "api_key_env": "A_TEST_KEY", "attempts": 2}
    told |= {"first_wait_s": 0.01, **settings}
    asked = {
        "images": str(path.parent / "pool"),
        "model": "tiny",
        "backend": "openai",
        "backend_settings": told,
        "tasks": ["common_vqa", "rec"],
    }
    steps = {"raw": {"stage": "generate", "with": asked}}
    whole = {"name": "keys", "seed": 1, "images": str(path.parent / "pool"), "steps": steps}
    path.write_text(yaml.safe_dump(whole))


def echo(call: Call) -> Answer:
    """Gives the key back wherever a server could, to every second request in an error."""
    if call.body["seed"] % 2:
        return good(call, f"Question: What? Answer: {call.headers['Authorization']}")
    said = {"error": {"message": f"cannot with {call.headers['Authorization']}"}}
    return Answer(500, json.dumps(said).encode())


def artefacts(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def go(config: Path, out: Path, workers: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "genixer.cli", "run", str(config), "--out", str(out)]
    command += ["--workers", str(workers)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("workers", [0, 1])
def test_no_artefact_of_a_run_holds_the_key(
    workers: int, run_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TEST_KEY", SECRET)
    with ChatServer(echo) as server:
        write(run_config, server)
        out = run_config.parent / "run"
        done = go(run_config, out, workers)
        assert done.returncode == 0, done.stderr
        assert {call.headers["Authorization"] for call in server.calls} == {f"Bearer {SECRET}"}
        # And one that ends in an error, with its traceback.
        server.script = lambda call: Answer(401, f"no {SECRET} here".encode())
        other = run_config.parent / "other"
        failed = go(run_config, other, workers)
        assert failed.returncode == 6, failed.stderr
    files = artefacts(out) | artefacts(other)
    assert sum(b"[A_TEST_KEY]" in data for data in files.values()) >= 2
    assert not [path for path, data in files.items() if SECRET.encode() in data]
    assert SECRET not in done.stdout + done.stderr + failed.stdout + failed.stderr
    assert "A_TEST_KEY" in failed.stderr
    quarantined = b"".join(data for path, data in files.items() if "quarantine" in str(path))
    assert b"backend_error" in quarantined
    assert b"status 500: cannot with Bearer [A_TEST_KEY]" in quarantined


def test_logs_of_the_libraries_do_not_hold_the_key(
    run_config: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("A_TEST_KEY", SECRET)
    ApiKey("A_TEST_KEY").guard_logs()
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("aiohttp.client").debug("headers: %s", f"Bearer {SECRET}")
    assert caplog.messages == ["headers: Bearer [A_TEST_KEY]"]


def test_a_key_is_not_in_what_python_shows_of_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TEST_KEY", SECRET)
    key = ApiKey("A_TEST_KEY")
    assert SECRET not in repr(key) + str(key)
    assert SECRET not in key.redact(f"a {SECRET} b{SECRET}")
    monkeypatch.setenv("A_TEST_KEY", "EMPTY")
    assert ApiKey("A_TEST_KEY").redact("EMPTY is a word") == "EMPTY is a word"
    monkeypatch.setenv("A_TEST_KEY", "two words")
    with pytest.raises(ConfigError) as caught:
        ApiKey("A_TEST_KEY")
    assert "two words" not in str(caught.value)


def test_a_server_elsewhere_needs_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_TEST_KEY", raising=False)
    far = {"base_url": "https://models.example/v1", "api_key_env": "A_TEST_KEY"}
    with pytest.raises(ConfigError, match="environment variable A_TEST_KEY"):
        load_backend("openai", "m", settings=far)


@pytest.mark.parametrize(
    "url",
    [
        "http://me:word@127.0.0.1/v1",
        "http://h/v1?key=1",
        "http://h/#/v1",
        "file:///etc",
        "http://h:99999/v1",
        "http://a..b/v1",
        "http://" + "a" * 64 + "/v1",
    ],
)
def test_an_address_holds_no_secret_and_is_one(url: str) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        load_backend("openai", "m", settings={"base_url": url})


def test_proxies_of_the_environment_are_not_used(
    run_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with ChatServer() as server:
        load_backend("openai", "tiny", settings={"base_url": server.url})
        assert server.probes == 1


FAR = {"base_url": "http://models.example/v1", "api_key_env": "A_TEST_KEY", "trust_env": True}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with a key and no proxy."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("A_TEST_KEY", SECRET)
    return monkeypatch


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize(
    "form", ["http://127.0.0.1:%d", "127.0.0.1:%d", "http://me:pw@127.0.0.1:%d"]
)
def test_a_proxy_is_taken_where_the_environment_is_trusted(
    name: str, form: str, bare: pytest.MonkeyPatch
) -> None:
    with ChatServer() as server:
        bare.setenv(name, form % server.port)
        load_backend("openai", "tiny", settings=FAR)
        assert server.probes == 1


@pytest.mark.parametrize("told", ["127.0.0.1", "127.0.0.1:%d"])
def test_what_needs_no_proxy_goes_past_it(told: str, bare: pytest.MonkeyPatch) -> None:
    bare.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with ChatServer() as server:
        bare.setenv("NO_PROXY", told.replace("%d", str(server.port)))
        load_backend("openai", "tiny", settings={**FAR, "base_url": server.url})
        assert server.probes == 1


@pytest.mark.parametrize("proxy", ["socks5://me:pa55word@h:1", "http://pa55word:99999", "http://["])
def test_a_proxy_that_cannot_be_used_is_not_gone_past(proxy: str, bare: pytest.MonkeyPatch) -> None:
    bare.setenv("HTTP_PROXY", proxy)
    with pytest.raises(ConfigError, match="HTTP_PROXY") as caught:
        load_backend("openai", "tiny", settings=FAR)
    assert "pa55word" not in str(caught.value)


def test_the_password_of_a_proxy_is_not_shown(bare: pytest.MonkeyPatch) -> None:
    far = {**FAR, "base_url": "https://models.example/v1", "patience_s": 0.0}
    with ChatServer() as server:  # which makes no tunnels
        bare.setenv("HTTPS_PROXY", f"http://me:pa55word@127.0.0.1:{server.port}")
        with pytest.raises(BackendError, match="ClientHttpProxyError: 501") as caught:
            load_backend("openai", "tiny", settings=far)
    assert "pa55word" not in str(caught.value)


def test_a_login_of_netrc_stands_in_no_keys_way(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("default login me password pa55word\n")
    (tmp_path / "netrc").chmod(0o600)
    bare.setenv("NETRC", str(tmp_path / "netrc"))
    with ChatServer() as server:
        load_backend("openai", "tiny", settings={**FAR, "base_url": server.url})
        assert server.probes == 1


@pytest.mark.parametrize("said", ['{"error": {"message": "%s"}}', "%s"])
def test_a_key_that_a_message_is_cut_in_shows_no_part_of_itself(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TEST_KEY", SECRET)
    Image.new("RGB", (32, 24)).save(tmp_path / "0.png")
    asked = Request.of(ImageRef("0.png", 32, 24, "aa"), "", "agnostic", 0, "Ask.", Sampling(4))
    settings = {"api_key_env": "A_TEST_KEY", "attempts": 1, "patience_s": 0.0}
    with ChatServer() as server:
        backend = load_backend("openai", "tiny", settings={"base_url": server.url, **settings})
        for before in range(270, 300):
            text = said % ("x" * before + SECRET)
            answer = Answer(500, text.encode())
            server.script = lambda call, answer=answer: answer
            (found,) = backend.generate([asked], tmp_path)
            assert SECRET[:3] not in found.detail
        server.models = Answer(500, ("x" * 290 + SECRET).encode())
        with pytest.raises(BackendError) as caught:
            load_backend("openai", "tiny", settings={"base_url": server.url, **settings})
        assert SECRET[:3] not in str(caught.value)
