"""The fault matrix's row of the backend: whatever a server does, no row is lost or made up."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from chat_server import BAD, CERTIFICATE, Answer, Call, ChatServer, good, words_of

from genixer.data import Completion, ImageRef, Request, Sampling, encode_row
from genixer.errors import BackendError, ConfigError
from genixer.inference import load_backend
from genixer.inference.openai import OpenAiBackend

FAST = {"first_wait_s": 0.02, "longest_wait_s": 5.0, "timeout_s": 1.0, "attempts": 3}


def rows(count: int, first: int = 0) -> list[Request]:
    image = ImageRef("a.png", 40, 30, "aa")
    return [
        Request.of(image, "", "agnostic", number, f"Ask {number}.", Sampling(9, 0.7, seed=number))
        for number in range(first, first + count)
    ]


def backend_at(server: ChatServer, **settings: object) -> OpenAiBackend:
    values = {"base_url": server.url, **FAST, **settings}
    made = load_backend("openai", "tiny", settings=values)
    assert isinstance(made, OpenAiBackend)
    return made


def number_of(call: Call) -> int:
    return int(call.body["messages"][0]["content"][1]["text"][4:-1])


def only(number: int, bad: Callable[[Call], Answer], times: int) -> Callable[[Call], Answer]:
    """Answers request `number` badly, `times` times; all else well."""

    def script(call: Call) -> Answer:
        return bad(call) if number_of(call) == number and call.nth <= times else good(call)

    return script


@pytest.mark.parametrize("fault", sorted(BAD))
def test_a_fault_that_passes_costs_a_second_try_and_no_more(fault: str, root: Path) -> None:
    asked = rows(6)
    with ChatServer() as server:
        sound = backend_at(server).generate(asked, root)
    with ChatServer(only(3, BAD[fault], 1)) as server:
        found = backend_at(server).generate(asked, root)
        counts = sorted(server.asked().values())
        seeds = [call.body["seed"] for call in server.calls if number_of(call) == 3]
    assert counts == [1, 1, 1, 1, 1, 2]
    # The model's own answer, which the same seed would bring again.
    drawn = fault == "no text"
    assert (seeds[0] != seeds[1]) == drawn
    kept = [number for number in range(6) if number != 3 or not drawn]
    assert [found[number] for number in kept] == [sound[number] for number in kept]
    assert found[3].text


@pytest.mark.parametrize("fault", sorted(BAD))
def test_a_fault_that_stays_ends_in_an_error_of_that_row_alone(fault: str, root: Path) -> None:
    asked = rows(6)
    with ChatServer(only(3, BAD[fault], 99)) as server:
        found = backend_at(server).generate(asked, root)
        counts = sorted(server.asked().values())
    assert counts == [1, 1, 1, 1, 1, FAST["attempts"]]
    lost = found.pop(3)
    assert lost == Completion(asked[3].id, "", (), (), "error", lost.detail)
    assert lost.detail
    assert all(one.finish != "error" and one.text for one in found)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 302])
def test_what_is_wrong_with_all_requests_stops_at_once(status: int, root: Path) -> None:
    elsewhere = {"Location": "http://127.0.0.2:9/steal"}
    body = b'{"error": {"message": "not like this"}}'
    with ChatServer(lambda call: Answer(status, body, elsewhere)) as server:
        backend = backend_at(server, concurrency_max=1)
        with pytest.raises(BackendError, match=f"status {status}") as caught:
            backend.generate(rows(50), root)
        # A 400 is looked at once more, with a request that cannot be at fault (twice if both of the
        # rows on their way ask for that).
        assert len(server.calls) <= 4
        of_rows = Counter(call.row for call in server.calls if words_of(call.body) != "Hi")
        assert max(of_rows.values()) == 1
    if status == 401:
        assert "OPENAI_API_KEY" in str(caught.value)


def test_a_request_that_is_refused_alone_is_that_rows_error(root: Path) -> None:
    too_long = Answer(400, b'{"message": "4097 tokens are too many"}')
    with ChatServer(only(0, lambda call: too_long, 99)) as server:
        found = backend_at(server, concurrency_max=1).generate(rows(4), root)
        assert server.asked().total() == 5  # four, and one to see whose fault it is
    assert [one.finish == "error" for one in found] == [True, False, False, False]
    assert "4097 tokens are too many" in found[0].detail


def test_a_header_that_is_no_text_can_be_kept_in_a_row(root: Path) -> None:
    odd = Answer(content=b"busy", kind="text/\xff")
    with ChatServer(only(0, lambda call: odd, 99)) as server:
        found = backend_at(server).generate(rows(2), root)
    assert [one.finish == "error" for one in found] == [True, False]
    assert b"not JSON" in encode_row(found[0])


def test_a_server_that_answers_nothing_any_more_stops_the_run(root: Path) -> None:
    with ChatServer(BAD["500"]) as server:
        backend = backend_at(server, stop_after=5, attempts=2)
        with pytest.raises(
            BackendError, match=r"5 requests in a row \(setting stop_after\) got no answer"
        ):
            backend.generate(rows(500), root)
        assert len(server.calls) < 200


def plain(call: Call) -> bool:
    """Whether it is the request that no server can mind."""
    return call.body["messages"][0]["content"][1]["text"] == "Hi"


def test_many_requests_refused_one_after_another_stop_no_server_that_is_well(root: Path) -> None:
    refused = Answer(400, b'{"message": "too many tokens"}')
    with ChatServer(lambda call: good(call) if plain(call) else refused) as server:
        found = backend_at(server, stop_after=3, concurrency_max=1).generate(rows(10), root)
    assert [one.finish for one in found] == ["error"] * 10


def test_a_server_that_comes_to_refuse_everything_stops_the_run(root: Path) -> None:
    refused = Answer(400, b'{"message": "no images here"}')
    with ChatServer() as server:
        backend = backend_at(server, stop_after=3, concurrency_max=1)
        backend.generate(rows(1), root)
        server.script = lambda call: refused
        with pytest.raises(BackendError, match="refuses what it is asked"):
            backend.generate(rows(10, first=1), root)


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_everybody_waits_as_long_as_the_server_asks(form: str, root: Path) -> None:
    asked = (
        {"Retry-After": "1"}
        if form == "seconds"
        else {
            # Against the server's own, wrong, clock.
            "Retry-After": "Thu, 26 Nov 1998 10:00:01 GMT",
            "Date": "Thu, 26 Nov 1998 10:00:00 GMT",
        }
    )
    told: list[float] = []

    def script(call: Call) -> Answer:
        if number_of(call) == 0 and call.nth == 1:
            told.append(time.monotonic())
            return Answer(429, b"{}", asked)
        return good(call)

    with ChatServer(script) as server:
        found = backend_at(server, concurrency_max=1).generate(rows(5), root)
        after = [call.at for call in server.calls if call.at > told[0]]
    assert all(one.finish != "error" for one in found)
    assert len(after) == 5
    assert min(after) - told[0] >= 0.99


def test_a_wait_longer_than_allowed_ends_the_run(root: Path) -> None:
    later = Answer(429, b"{}", {"Retry-After": "3600"})
    with ChatServer(lambda call: later) as server:
        backend = backend_at(server)
        with pytest.raises(BackendError, match="longest_wait_s"):
            backend.generate(rows(3), root)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_a_server_that_is_gone_for_good_ends_the_run(root: Path) -> None:
    with ChatServer() as server:
        backend = backend_at(server, patience_s=0.5)
        backend.generate(rows(3), root)
    begun = time.monotonic()
    with pytest.raises(BackendError, match="what was answered is kept"):
        backend.generate(rows(3), root)
    assert 0.5 <= time.monotonic() - begun < 8.0


def test_a_server_whose_certificate_nobody_signed_is_not_waited_for(root: Path) -> None:
    with ChatServer(tls=True) as server, pytest.raises(BackendError, match="SSL_CERT_FILE"):
        backend_at(server, patience_s=60.0)


def test_a_certificate_that_is_named_is_trusted(root: Path) -> None:
    code = (
        "import sys; from genixer.inference import load_backend; "
        "load_backend('openai', 'tiny', settings={'base_url': sys.argv[1]})"
    )
    with ChatServer(tls=True) as server:
        environment = {**os.environ, "SSL_CERT_FILE": str(CERTIFICATE)}
        words = [sys.executable, "-c", code, server.url]
        subprocess.run(words, env=environment, check=True, timeout=60)
        assert server.probes == 1


@pytest.mark.parametrize("status", [429, 500])
def test_a_server_too_busy_to_list_its_models_is_asked_again(status: int, root: Path) -> None:
    with ChatServer() as server:
        listed = server.models
        server.models = Answer(status, b"busy", {"Retry-After": "0.3"})
        timer = threading.Timer(0.2, lambda: setattr(server, "models", listed))
        timer.start()
        begun = time.monotonic()
        backend_at(server)
        assert time.monotonic() - begun >= 0.3
        assert server.probes == 2


def test_a_model_that_is_listed_before_it_is_loaded_is_waited_for(root: Path) -> None:
    """As llama.cpp does, whose `meta` is null until then."""
    loading = Answer(content=b'{"data": [{"id": "tiny", "meta": null}]}')
    loaded = Answer(content=b'{"data": [{"id": "tiny", "meta": {"n_params": 5}}]}')
    with ChatServer() as server:
        server.models = loaded
        revision = backend_at(server, dialect="llama_cpp").revision
        server.models = loading
        threading.Timer(0.2, lambda: setattr(server, "models", loaded)).start()
        assert backend_at(server, dialect="llama_cpp").revision == revision
        server.models = loading
        with pytest.raises(BackendError, match="'tiny' is still loading"):
            backend_at(server, dialect="llama_cpp", patience_s=0.2)


def test_a_server_that_stays_too_busy_ends_the_run(root: Path) -> None:
    with ChatServer() as server:
        server.models = Answer(429, b"busy")
        with pytest.raises(BackendError, match="status 429: 'busy'"):
            backend_at(server, patience_s=0.3)
        assert server.probes > 1


def test_no_server_at_all_is_said_before_any_request() -> None:
    values = {**FAST, "base_url": f"http://127.0.0.1:{free_port()}/v1", "patience_s": 0.2}
    with pytest.raises(BackendError, match="no server at"):
        load_backend("openai", "tiny", settings=values)


def test_a_server_that_comes_back_is_gone_on_with(root: Path) -> None:
    asked = rows(40)
    first = ChatServer(lambda call: Answer(content=good(call).content, delay_s=0.05))
    backend = backend_at(first, concurrency_max=4, patience_s=20.0, attempts=4)
    found: dict[str, Completion] = {}
    later: list[ChatServer] = []

    def restart() -> None:
        time.sleep(0.3)
        later.append(ChatServer(port=first.port))

    for completion in backend.stream(asked, root):
        found[completion.request_id] = completion
        if len(found) == 10:
            first.close()
            thread = threading.Thread(target=restart)
            thread.start()
    thread.join()
    later[0].close()
    assert set(found) == {request.id for request in asked}
    assert all(one.finish != "error" for one in found.values())
    assert 0 < len(later[0].calls) < len(asked)


def test_a_server_that_comes_back_with_another_model_is_asked_nothing(root: Path) -> None:
    first = ChatServer(lambda call: Answer(content=good(call).content, delay_s=0.05))
    backend = backend_at(first, concurrency_max=2, patience_s=20.0)
    stream = backend.stream(rows(40), root)
    for _ in range(5):
        next(stream)
    first.close()
    seen_by = time.monotonic() + 10.0
    while not backend._server._probing.locked():  # until those on their way see that it is gone
        assert time.monotonic() < seen_by
        time.sleep(0.01)
    with ChatServer(port=first.port) as other:
        other.models = Answer(content=b'{"data": [{"id": "tiny", "root": "other-vlm"}]}')
        with pytest.raises(BackendError, match="root 'other-vlm', not 'tiny-vlm'"):
            list(stream)
        assert not other.calls


def test_a_row_of_a_loading_server_is_not_lost(root: Path) -> None:
    with ChatServer() as server:
        backend = backend_at(server)
        server.script, server.models, well = BAD["503"], Answer(503, b"loading"), server.models

        def ready() -> None:
            server.script, server.models = good, well

        timer = threading.Timer(1.0, ready)
        timer.start()
        found = backend.generate(rows(10), root)
        timer.join()
    assert all(one.finish != "error" for one in found)


def test_rows_in_flight_are_bounded_also_when_nobody_takes_them(root: Path) -> None:
    with ChatServer() as server:
        backend = backend_at(server, concurrency_max=4)
        stream = backend.stream(rows(100), root)
        next(stream)
        time.sleep(0.5)
        assert len(server.calls) <= 9  # twice the concurrency, and the one that was taken
        assert server.most_open <= 4
        stream.close()


def settled(server: ChatServer) -> int:
    """Calls, once a busy server has read what was on its way; 5 s at most."""
    end = time.monotonic() + 5
    seen = -1
    while seen != len(server.calls) and time.monotonic() < end:
        seen = len(server.calls)
        time.sleep(0.3)
    return seen


def test_closing_a_stream_leaves_nothing_running(root: Path) -> None:
    before = threading.active_count()
    with ChatServer(BAD["slowly"]) as server:
        backend = backend_at(server, concurrency_max=8, timeout_s=30.0)
        stream = backend.stream(rows(50), root)
        server.script = good
        next(stream)
        stream.close()
        asked = settled(server)
        assert asked <= 2 * 8 + 1  # twice the concurrency, and the one that was taken
        time.sleep(0.3)
        assert len(server.calls) == asked
        assert len(backend.generate(rows(3, 100), root)) == 3
        backend.close()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_a_list_of_models_that_is_none_is_said_to_be(root: Path) -> None:
    with ChatServer() as server:
        server.models = Answer(content=b"[" * 20_000)
        with pytest.raises(BackendError, match="list of models is none"):
            backend_at(server)


def test_a_model_that_is_not_served_is_named_with_those_that_are(root: Path) -> None:
    with ChatServer() as server, pytest.raises(ConfigError, match="did you mean tiny"):
        load_backend("openai", "tinny", settings={"base_url": server.url})
