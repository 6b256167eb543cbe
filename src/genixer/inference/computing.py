"""The conditions under which a model in this process is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from genixer.errors import BackendError

__all__ = ["computing"]


@contextmanager
def computing(name: str, threads: int) -> Iterator[None]:
    """No gradients, `threads` threads; torch's own failures come out as those of model `name`."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            yield
    except (RuntimeError, ValueError, MemoryError) as error:
        raise BackendError(f"model {name} failed: {error}") from error
    finally:
        torch.set_num_threads(before)
