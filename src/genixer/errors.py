"""What can go wrong, as a tree: one class per way out, one exit code per class.

    GenixerError (1)
    |-- ConfigError (2)        a key, a value or a file of the user's is wrong
    |   `-- UnknownNameError   a task, source, format ... nobody registered
    |-- DataError (3)          records, boxes or text that break a rule
    |   |-- CannotEncodeError  a codec or format cannot carry this text
    |   |-- FrameError         a box outside its frame, or two frames mixed
    |   |-- LicenceError       an export for a use that a licence forbids
    |   `-- LossError          an export that would leave rows out unasked
    |-- StoreError (4)         shards or manifests: missing, damaged, full disk
    |   |-- CorruptShardError  bytes do not match their digest
    |   |-- LeaseLostError     another process took over this unit of work
    |   `-- LockedError        another run holds the folder
    |-- SettingsChangedError (5)  the run folder belongs to other settings
    |-- BackendError (6)       a model or server failed
    |   `-- MemoryFullError    it was given more at once than there is memory for
    |-- IncompleteError (7)    the run ended with work left
    |-- BadLossError (8)       a training's loss is no number
    |-- ParityError (9)        two backends that do not say the same
    `-- BudgetSpentError (10)  the run stopped at --max-cost or --max-hours

Broken *data* never reaches the user as one of these: it is counted and kept aside. They are for
broken code or config.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

__all__ = [
    "BackendError",
    "BadLossError",
    "BudgetSpentError",
    "CannotEncodeError",
    "ConfigError",
    "CorruptShardError",
    "DataError",
    "FrameError",
    "GenixerError",
    "IncompleteError",
    "LeaseLostError",
    "LicenceError",
    "LockedError",
    "LossError",
    "MemoryFullError",
    "ParityError",
    "SettingsChangedError",
    "StoreError",
    "UnknownNameError",
    "near",
]


class GenixerError(Exception):
    """Root of everything this package raises on purpose.

    `exit_code` is what the command line ends with.
    """

    exit_code = 1


class ConfigError(GenixerError):
    """A config key, value or path that the user can correct."""

    exit_code = 2


class UnknownNameError(ConfigError):
    """A name that is not in its table; the message lists the near ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        """Say which `kind` of thing `name` was meant to be, and what is there."""
        known = sorted(known)
        super().__init__(f"no {kind} is called {name!r}; {near(name, known)}")
        self.kind, self.name, self.known = kind, name, known


class DataError(GenixerError):
    """A record, box or text that breaks a rule of `genixer.data`."""

    exit_code = 3


class CannotEncodeError(DataError):
    """Text that a codec or format cannot carry without loss.

    `reason` is the snake_case word that is counted.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        """Keep `reason` for the count and `detail` for people."""
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class FrameError(DataError):
    """A coordinate outside its declared frame, or two frames where one was declared."""


class LicenceError(DataError):
    """Rows whose licence forbids the use that an export is declared for."""


class LossError(DataError):
    """An export that would leave rows out, where nobody said that it may."""


class StoreError(GenixerError):
    """A shard, manifest or folder that cannot be read or written."""

    exit_code = 4


class CorruptShardError(StoreError):
    """A committed file, `path`, whose bytes no longer match the digest in its receipt."""

    path: Path | None = None


class LeaseLostError(StoreError):
    """A unit of work that another process took over; what was made of it here is dropped."""


class LockedError(StoreError):
    """Another live process holds the run folder."""


class SettingsChangedError(GenixerError):
    """A run folder that was made with other settings; the message is the difference."""

    exit_code = 5


class BackendError(GenixerError):
    """A model or server that failed after its retries."""

    exit_code = 6


class MemoryFullError(BackendError):
    """A model that was given more at once than there is memory for; fewer requests may go."""


class IncompleteError(GenixerError):
    """A run that ended before every step was complete."""

    exit_code = 7


class BadLossError(GenixerError):
    """The loss became NaN or infinite; the message names the step and the rows of the batch."""

    exit_code = 8


class ParityError(GenixerError):
    """Two backends whose rows must not be mixed; the message shows the worst examples."""

    exit_code = 9


class BudgetSpentError(GenixerError):
    """A run that stopped where its budget ends; everything begun is committed."""

    exit_code = 10


def near(name: str, known: Iterable[str]) -> str:
    """Sentence that helps with a mistyped name: the near ones, else all.

    >>> near("filtre", ["filter", "mix"])
    'did you mean filter?'
    >>> near("zzz", ["filter", "mix"])
    'known: filter, mix'
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3)
    return f"did you mean {', '.join(close)}?" if close else f"known: {', '.join(known) or 'none'}"
