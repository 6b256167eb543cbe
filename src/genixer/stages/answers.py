"""What a model has answered in a unit of work that is not committed yet, so that it is asked once.

A backend in this process answers blocks, which are redone whole or not at all: what it says may
depend on what it is asked together with. One that `Streams` answers request by request, and none of
its answers is asked for again.

A request that ends the process, or needs more memory than there is, must not cost the others. Its
block is tried once more as it is, then in halves, until the request stands alone and is given up.
"""

from __future__ import annotations

import logging
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import takewhile, zip_longest
from pathlib import Path
from types import TracebackType

import msgspec

from genixer.data import Completion, Request
from genixer.errors import BackendError, MemoryFullError
from genixer.inference.ahead import announce
from genixer.inference.base import Backend, Streams
from genixer.store.journal import Journal
from genixer.store.shards import raw_text

__all__ = ["Answer", "Answers", "keyed"]

log = logging.getLogger(__name__)


class Answer(msgspec.Struct, frozen=True, array_like=True, tag="answer"):
    """A completion with all that the backend adds to a row, so that it need not be loaded again."""

    key: str
    completion: Completion
    frame: str = ""
    decimals: int = 0
    revision: str = ""
    reason: str = "backend_error"
    detail: str = ""
    """Why there is no completion, if it is not the backend that says so."""
    raw: str = ""
    """What came instead (`raw_text`)."""


class _Tried(msgspec.Struct, frozen=True, array_like=True, tag="tried"):
    """Written before requests are asked, once they are under suspicion of ending the process."""

    keys: list[str]


class _Afresh(msgspec.Struct, frozen=True, array_like=True, tag="afresh"):
    """A new run: what ended before may have been killed by its user, nobody is under suspicion."""


_encode = msgspec.msgpack.Encoder().encode
_DECODER = msgspec.msgpack.Decoder(Answer | _Tried | _Afresh)


def keyed(blocks: Iterable[Sequence[Request]]) -> list[dict[str, Request]]:
    """Requests of every block by a key of their own: the id, numbered where it comes again.

    An id comes again where the same picture lies in the pool twice.
    """
    seen = Counter[str]()
    found = []
    for block in blocks:
        keys = []
        for request in block:
            again = seen[request.id]
            seen[request.id] += 1
            keys.append(f"{request.id}#{again}" if again else request.id)
        found.append(dict(zip(keys, block, strict=True)))
    return found


class Answers:
    """Answers by key, kept in a journal in `folder` as they come."""

    def __init__(self, folder: Path, deaths: int) -> None:
        """Take up what is there; `deaths` workers ended in this unit of work during this run."""
        self.known: dict[str, Answer] = {}
        self._journal = Journal(folder / "answers")
        self._tries = Counter[str]()
        self._suspects = deaths > 0
        for row in self._journal.rows:
            self._read(_DECODER.decode(row))
        if deaths <= 1 and self._tries:
            self._tries.clear()
            self._journal.append([_encode(_Afresh())])

    def _read(self, row: Answer | _Tried | _Afresh) -> None:
        if isinstance(row, Answer):
            # Defaults are left out of rows by identity: a name that was read must be the same text.
            self.known[row.key] = msgspec.structs.replace(row, frame=sys.intern(row.frame))
        elif isinstance(row, _Tried):
            self._tries.update(row.keys)
        else:
            self._tries.clear()

    def __enter__(self) -> Answers:
        """The same; the journal is closed in the end."""
        self._journal.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the journal."""
        self._journal.__exit__(kind, error, trace)

    def ask(
        self, blocks: Sequence[Mapping[str, Request]], load: Callable[[], Backend], images: Path
    ) -> None:
        """Have every request answered or given up; `load` is called only if one is open.

        Raises `BackendError` when the model fails.
        """
        open_blocks = [block for block in blocks if not self.known.keys() >= block.keys()]
        if not open_blocks:
            return
        backend = load()
        if isinstance(backend, Streams):
            open_blocks = [{key: one for block in open_blocks for key, one in block.items()}]
        for block, following in zip_longest(
            open_blocks, open_blocks[1:], fillvalue=dict[str, Request]()
        ):
            announce(backend, list(following.values()), images)
            while keys := self._next(block, whole=not isinstance(backend, Streams)):
                self._try({key: block[key] for key in keys}, backend, images)

    def _next(self, block: Mapping[str, Request], whole: bool) -> list[str]:
        """Which requests of `block` to ask now; none when all are answered or given up."""
        while left := [key for key in block if key not in self.known]:
            tries = self._tries[left[0]]
            alike = list(takewhile(lambda key: self._tries[key] == tries, left))  # noqa: B023
            size = len(block) >> tries
            if size == 0:
                self._give_up(block[left[0]], left[0])
            elif whole and tries == 0 and not any(self._tries[key] for key in left):
                return list(block)
            else:
                return alike[:size]
        return []

    def _try(self, asked: Mapping[str, Request], backend: Backend, images: Path) -> None:
        if self._suspects:
            self._journal.append([_encode(_Tried(list(asked)))])
        try:
            if isinstance(backend, Streams):
                self._stream(asked, backend, partial(backend.stream, images=images))
            else:
                completions = backend.generate(list(asked.values()), images)
                self._take(zip(asked, completions, strict=True), asked, backend)
        except (MemoryError, MemoryFullError) as error:
            log.warning("not enough memory for %d requests at once: %s", len(asked), error)
            self._tries.update(asked.keys())

    def _stream(
        self,
        asked: Mapping[str, Request],
        backend: Backend,
        start: Callable[[Sequence[Request]], Iterator[Completion]],
    ) -> None:
        """Ask for each id once, and take answers in the order in which they come."""
        keys: dict[str, list[str]] = {}
        for key, request in asked.items():
            keys.setdefault(request.id, []).append(key)
        requests = [asked[first] for first, *_ in keys.values()]
        stream = start(requests)
        with closing(stream):  # type: ignore[type-var]
            for completion in stream:
                mine = keys.pop(completion.request_id, None)
                if mine is None:
                    raise BackendError(f"an answer to {completion.request_id}, which was not open")
                pairs = [(key, completion) for key in mine]
                self._take(pairs, asked, backend, last=completion.finish != "error")
        if keys:
            raise BackendError(f"{len(keys)} of {len(requests)} requests were not answered")

    def _take(
        self,
        pairs: Iterable[tuple[str, Completion]],
        asked: Mapping[str, Request],
        backend: Backend,
        last: bool = True,
    ) -> None:
        """Note answers; those that are to `last` are found again after a crash."""
        answers = []
        for key, completion in pairs:
            detail = _unstorable(completion)
            if detail:
                nothing, raw = _nothing(completion.request_id), raw_text(completion.text)
                answers.append(Answer(key, nothing, reason="bad_answer", detail=detail, raw=raw))
                continue
            image = asked[key].image
            canvas = backend.canvas(image.width, image.height)
            answers.append(Answer(key, completion, canvas.frame, canvas.decimals, backend.revision))
        if last:
            self._journal.append(map(_encode, answers))
        self.known.update((answer.key, answer) for answer in answers)

    def _give_up(self, request: Request, key: str) -> None:
        detail = "the model's process ended, or ran out of memory, whenever it was asked this"
        log.warning("request %s is given up: %s", request.id, detail)
        answer = Answer(key, _nothing(request.id), detail=detail)
        self._journal.append([_encode(answer)])
        self.known[key] = answer


def _nothing(request_id: str) -> Completion:
    return Completion(request_id, "", (), (), "error")


def _unstorable(completion: Completion) -> str:
    """Why no row can hold `completion`; empty if one can."""
    if not all(map(math.isfinite, completion.logprobs)):
        return "a log-probability is no finite number"
    try:
        completion.text.encode()
    except UnicodeEncodeError as error:
        return f"no Unicode text: {error.reason} at character {error.start}"
    return ""
