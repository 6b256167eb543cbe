"""What an export did: rows written, rows left out by reason, coordinates moved to a grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from genixer.data import Sample
from genixer.errors import CannotEncodeError, LossError

__all__ = ["Rounding", "Tally", "Written"]

_SAME_PX = 1e-6
"""Distance below which a coordinate counts as unmoved: what arithmetic alone may cost."""


class Rounding(msgspec.Struct):
    """How far the grid of a format moved boxes and points.

    `seen` were written, `moved` of them are not where they were; `largest_px` is the farthest that
    an edge or point went, in px of its image, `largest` the same in fractions of it.
    """

    seen: int = 0
    moved: int = 0
    largest_px: float = 0.0
    largest: float = 0.0

    def add(self, distance_px: float, distance: float) -> None:
        """Note one box or point: how far its farthest coordinate went."""
        self.seen += 1
        if distance_px > _SAME_PX:
            self.moved += 1
            self.largest_px = max(self.largest_px, distance_px)
            self.largest = max(self.largest, distance)

    def as_mapping(self) -> dict[str, float]:
        """The same as plain values, for `--json`."""
        return dict(msgspec.to_builtins(self))

    def __str__(self) -> str:
        if not self.moved:
            return f"{self.seen} boxes and points, none moved"
        return (
            f"{self.moved} of {self.seen} boxes and points moved to the grid, "
            f"at most {self.largest_px:.3g} px ({self.largest:.2g} of the image)"
        )


class Written(dict[str, int]):
    """Rows `written` and rows left out by reason, with the `rounding` of those written.

    >>> done = Written({"written": 8, "not_pairs": 1})
    >>> done["written"], done.lost
    (8, {'not_pairs': 1})
    """

    def __init__(self, counts: Mapping[str, int], rounding: Rounding | None = None) -> None:
        """Keep both."""
        super().__init__(counts)
        self.rounding = rounding or Rounding()

    @property
    def lost(self) -> dict[str, int]:
        """Rows left out, by reason."""
        return {reason: count for reason, count in self.items() if reason != "written"}


class Tally:
    """Counts while a format writes. With `strict`, `settle` refuses what would leave rows out."""

    def __init__(self, name: str, strict: bool) -> None:
        """`name` is the format's, for the message."""
        self._rounding = Rounding()
        self._placed: list[tuple[float, float]] = []
        self._name, self._strict, self._first = name, strict, ""
        self._written = 0
        self._lost: Counter[str] = Counter()

    def placed(self, distance_px: float, distance: float) -> None:
        """A box or point of the row at hand goes that far to the grid, if the row is written."""
        self._placed.append((distance_px, distance))

    def wrote(self) -> None:
        """The row at hand is written."""
        self._written += 1
        if self._placed:
            for distances in self._placed:
                self._rounding.add(*distances)
            self._placed.clear()

    def left_out(self, sample: Sample, error: CannotEncodeError) -> None:
        """The row at hand cannot be."""
        self._placed.clear()
        self._lost[error.reason] += 1
        self._first = self._first or f"{sample.id}: {error}"[:300]

    def settle(self) -> Written:
        """What was done; to be called before the files appear.

        Raises `LossError` when rows were left out and may not be.
        """
        done = Written({"written": self._written, **self._lost}, self._rounding)
        if self._strict and done.lost:
            reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(done.lost.items()))
            raise LossError(
                f"{sum(done.lost.values())} of {sum(done.values())} rows cannot be carried by "
                f"{self._name}: {reasons}; the first is {self._first}; nothing was written: "
                f"--allow-loss leaves them out and writes the other {done['written']}"
            )
        return done
