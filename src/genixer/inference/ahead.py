"""Reading ahead: what is asked about next is opened while the model is busy with what is now.

Nothing depends on it but the time it takes: what was not read ahead is read when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Generic, Protocol, TypeVar, runtime_checkable

from genixer.data import Request

__all__ = ["Ahead", "ReadsAhead", "announce"]

K = TypeVar("K")
V = TypeVar("V")


class Ahead(Generic[K, V]):
    """Calls `read` for announced keys in a thread of its own, one after the other.

    >>> numbers = Ahead(len)
    >>> numbers.expect(["one", "three"])
    >>> numbers.get("three"), numbers.get("never announced")
    (5, 15)
    """

    def __init__(self, read: Callable[[K], V]) -> None:
        """Start nothing yet."""
        self._read = read
        self._thread: ThreadPoolExecutor | None = None
        self._coming: dict[K, Future[V]] = {}
        self._latest: dict[K, None] = {}

    def expect(self, keys: Iterable[K]) -> None:
        """These come after what was announced last; what was announced before that is dropped."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        latest, self._latest = self._latest, dict.fromkeys(keys)
        kept = latest | self._latest
        for key in [key for key in self._coming if key not in kept]:
            self._coming.pop(key).cancel()
        for key in self._latest:
            if key not in self._coming:
                self._coming[key] = self._thread.submit(self._read, key)

    def get(self, key: K) -> V:
        """What `read` gives for `key`, or raises; read now if it was not announced."""
        future = self._coming.pop(key, None)
        return self._read(key) if future is None else future.result()


@runtime_checkable
class ReadsAhead(Protocol):
    """A backend that opens images while it computes."""

    def expect(self, requests: Sequence[Request], images: Path) -> None:
        """These requests will be asked next."""
        ...


def announce(backend: object, requests: Sequence[Request], images: Path) -> None:
    """Tell `backend` what it will be asked next, if it wants to know."""
    if isinstance(backend, ReadsAhead):
        backend.expect(requests, images)
