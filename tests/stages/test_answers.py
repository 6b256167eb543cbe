"""Answers outlive a kill, block by block or request by request, and are never asked for twice."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from genixer.data import Completion, ImageRef, Request, Sampling
from genixer.errors import BackendError, MemoryFullError
from genixer.inference.base import Streams
from genixer.inference.scripted import ScriptedBackend, ScriptedSettings
from genixer.stages.answers import Answers, keyed
from genixer.store.journal import Journal

BLOCK = 8


class Killed(BaseException):
    """The process ended here."""


class Model(ScriptedBackend):
    """Counts what it is asked; ends the process, or the memory, where it is told to."""

    def __init__(self) -> None:
        super().__init__("any", 1, ScriptedSettings())
        self.blocks: list[list[str]] = []
        self.dies_of: set[str] = set()
        self.dies_at = 10**9
        self.most = 10**9

    def generate(self, requests: Sequence[Request], images: Path) -> list[Completion]:
        self.blocks.append([request.id for request in requests])
        if self.dies_of & set(self.blocks[-1]) or len(self.blocks) > self.dies_at:
            raise Killed
        if len(requests) > self.most:
            raise MemoryError
        return super().generate(requests, images)


class Stream(Model):
    """Answers one by one, in an order that changes."""

    def __init__(self, order: int = 0) -> None:
        super().__init__()
        self.rng = random.Random(order)
        self.answered: list[str] = []
        self.closed = False
        self.errors: set[str] = set()
        self.extra: list[Completion] = []
        self.left_out: set[str] = set()

    def stream(self, requests: Sequence[Request], images: Path) -> Iterator[Completion]:
        self.blocks.append([request.id for request in requests])
        try:
            yield from self.extra
            for request in self.rng.sample(list(requests), len(requests)):
                if len(self.answered) >= self.dies_at or request.id in self.dies_of:
                    raise Killed
                if request.id in self.left_out:
                    continue
                self.answered.append(request.id)
                if request.id in self.errors:
                    yield Completion(request.id, "", (), (), "error")
                else:
                    yield self._complete(request)
        finally:
            self.closed = True


@pytest.fixture
def requests(tmp_path: Path) -> list[Request]:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    image = ImageRef("a.png", 4, 4, "ab")
    return [Request.of(image, "rec", "specific", n, "Ask.", Sampling()) for n in range(29)]


class Unit:
    """A shard that is asked for again and again, until its process lives to the end."""

    def __init__(self, requests: list[Request], home: Path) -> None:
        blocks = [requests[at : at + BLOCK] for at in range(0, len(requests), BLOCK)]
        self.blocks, self.home, self.deaths, self.loads = keyed(blocks), home, 0, 0

    def ask(self, model: Model) -> dict[str, Completion]:
        def load() -> Any:
            self.loads += 1
            return model

        with Answers(self.home / "work", self.deaths) as answers:
            answers.ask(self.blocks, load, self.home)
            return {key: answers.known[key].completion for block in self.blocks for key in block}

    def ask_until_done(self, model: Model) -> dict[str, Completion]:
        while True:
            try:
                return self.ask(model)
            except Killed:
                self.deaths += 1


@pytest.fixture
def unit(requests: list[Request], tmp_path: Path) -> Unit:
    return Unit(requests, tmp_path)


@pytest.fixture
def expected(unit: Unit, requests: list[Request]) -> dict[str, Completion]:
    done = Model().generate(requests, unit.home)
    return {completion.request_id: completion for completion in done}


@pytest.mark.parametrize("blocks", [0, 1, 2, 3])
def test_a_killed_unit_asks_only_for_blocks_it_has_not(
    unit: Unit, expected: dict[str, Completion], blocks: int
) -> None:
    first, second = Model(), Model()
    first.dies_at = blocks
    with pytest.raises(Killed):
        unit.ask(first)
    assert unit.ask(second) == expected
    answered = Counter(key for block in first.blocks[:blocks] + second.blocks for key in block)
    assert answered == Counter(expected.keys())


@pytest.mark.parametrize("kind", [Model, Stream])
def test_no_model_is_loaded_when_nothing_is_left(
    unit: Unit, expected: dict[str, Completion], kind: type[Model]
) -> None:
    unit.ask(kind())
    assert unit.loads == 1
    assert unit.ask(kind()) == expected
    assert unit.loads == 1


def test_a_block_that_was_torn_in_the_journal_is_asked_whole(
    unit: Unit, expected: dict[str, Completion]
) -> None:
    unit.ask(Model())
    path = unit.home / "work" / "answers"
    path.write_bytes(path.read_bytes()[:-700])
    again = Model()
    assert unit.ask(again) == expected
    assert again.blocks == [[request.id for request in block.values()] for block in unit.blocks[3:]]


def test_a_stream_gets_everything_at_once_and_is_never_asked_twice(
    unit: Unit, expected: dict[str, Completion]
) -> None:
    assert isinstance(Stream(), Streams)
    assert not isinstance(Model(), Streams)
    asked = Counter[str]()
    for order in range(4):
        model = Stream(order)
        model.dies_at = 7
        with pytest.raises(Killed):
            unit.ask(model)
        assert len(model.blocks) == 1
        assert set(model.blocks[0]) == expected.keys() - asked.keys()
        assert model.closed
        asked.update(model.answered)
    last = Stream(9)
    found = unit.ask(last)
    assert list(found) == list(expected)
    assert found == expected
    assert asked + Counter(last.answered) == Counter(expected.keys())


def test_what_a_server_could_not_answer_is_asked_again_by_the_next_run_only(
    unit: Unit, requests: list[Request], expected: dict[str, Completion]
) -> None:
    model = Stream()
    model.errors = {requests[3].id, requests[20].id}
    found = unit.ask(model)
    assert {key for key, one in found.items() if one.finish == "error"} == model.errors
    again = Stream()
    assert unit.ask(again) == expected
    assert set(again.blocks[0]) == model.errors


def test_one_picture_listed_twice_gives_two_rows_and_one_question_to_a_stream(
    requests: list[Request], tmp_path: Path
) -> None:
    twice = [*requests[:3], *requests[:3], requests[0]]
    for kind in (Model, Stream):
        unit, model = Unit(twice, tmp_path / kind.__name__), kind()
        (tmp_path / kind.__name__).mkdir()
        (tmp_path / kind.__name__ / "a.png").write_bytes((tmp_path / "a.png").read_bytes())
        found = unit.ask(model)
        assert len(found) == 7
        assert [one.request_id for one in found.values()] == [one.id for one in twice]
        assert len(model.blocks[0]) == (3 if kind is Stream else 7)
        assert unit.ask(kind()) == found
        assert unit.loads == 1


def test_a_stream_that_answers_too_little_or_something_else_is_refused(unit: Unit) -> None:
    model = Stream()
    model.left_out = {next(iter(unit.blocks[0]))}
    with pytest.raises(BackendError, match="1 of 29 requests were not answered"):
        unit.ask(model)
    model = Stream()
    model.extra = [Completion("strange", "", (), (), "stop")]
    with pytest.raises(BackendError, match="an answer to strange, which was not open"):
        unit.ask(model)


@pytest.mark.parametrize("most", [1, 3, 7])
def test_a_block_too_large_for_the_memory_is_halved(
    unit: Unit, expected: dict[str, Completion], most: int
) -> None:
    model = Model()
    model.most = most
    assert unit.ask(model) == expected
    fitting = Counter(key for block in model.blocks if len(block) <= most for key in block)
    assert fitting == Counter(expected.keys())


class Greedy(Model):
    """Needs all memory for one of its requests."""

    def generate(self, requests: Sequence[Request], images: Path) -> list[Completion]:
        if self.dies_of & {request.id for request in requests}:
            raise MemoryFullError("model any failed: no room")
        return super().generate(requests, images)


def test_a_request_too_large_for_the_memory_costs_itself_alone(
    unit: Unit, requests: list[Request], expected: dict[str, Completion]
) -> None:
    model = Greedy()
    model.dies_of = {requests[5].id, requests[28].id}
    found = unit.ask(model)
    assert {key for key, one in found.items() if one.finish == "error"} == model.dies_of
    assert {**found, **{key: expected[key] for key in model.dies_of}} == expected


@pytest.mark.parametrize("kind", [Model, Stream])
@pytest.mark.parametrize("culprits", [[0], [13], [28], [8, 9], [1, 15, 16]])
def test_requests_that_end_the_process_are_found_and_given_up(
    unit: Unit,
    requests: list[Request],
    expected: dict[str, Completion],
    kind: type[Model],
    culprits: list[int],
) -> None:
    model = kind()
    model.dies_of = {requests[number].id for number in culprits}
    found = unit.ask_until_done(model)
    assert {key for key, one in found.items() if one.finish == "error"} == model.dies_of
    assert {**found, **{key: expected[key] for key in model.dies_of}} == expected
    assert unit.deaths <= 7 * len(culprits)
    loads = unit.loads
    assert unit.ask(model) == found, "what was given up stays so"
    assert unit.loads == loads


def test_one_death_alone_changes_no_block(unit: Unit, expected: dict[str, Completion]) -> None:
    first, second = Model(), Model()
    first.dies_at = 2
    with pytest.raises(Killed):
        unit.ask(first)
    unit.deaths = 1
    assert unit.ask(second) == expected
    assert [len(block) for block in second.blocks] == [8, 5]


def test_a_new_run_puts_nobody_under_the_suspicion_of_the_last(
    unit: Unit, requests: list[Request]
) -> None:
    model = Model()
    model.dies_of = {requests[0].id}
    for unit.deaths in range(3):
        with pytest.raises(Killed):
            unit.ask(model)
    assert [len(block) for block in model.blocks] == [8, 8, 4]
    for unit.deaths in (0, 1):
        whole = Model()
        whole.dies_of = model.dies_of
        with pytest.raises(Killed):
            unit.ask(whole)
        assert [len(block) for block in whole.blocks] == [8]


def test_a_run_in_which_nothing_ends_writes_answers_only(unit: Unit) -> None:
    unit.ask(Model())
    assert len(Journal(unit.home / "work" / "answers").rows) == 29
