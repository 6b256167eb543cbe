"""The conditions under which a model in this process is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from genixer.errors import BackendError, MemoryFullError

__all__ = ["computing"]


@contextmanager
def computing(name: str, threads: int) -> Iterator[None]:
    """No gradients, `threads` threads; torch's own failures come out as those of model `name`.

    Raises `MemoryFullError` when there is not enough memory, `BackendError` for all others.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            yield
    except (RuntimeError, ValueError, MemoryError) as error:
        kind = MemoryFullError if _memory_full(error) else BackendError
        raise kind(f"model {name} failed: {error}") from error
    finally:
        torch.set_num_threads(before)


def _memory_full(error: Exception) -> bool:
    # On a CPU torch has no class for it.
    no_room = "DefaultCPUAllocator: can't allocate memory" in str(error)
    return no_room or isinstance(error, MemoryError | torch.OutOfMemoryError)
