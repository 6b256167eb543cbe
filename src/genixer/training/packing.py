"""Which rows share one row of a batch, so that hardly any place in it is padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genixer.errors import DataError

__all__ = ["pack", "pack_groups"]


def pack(lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """Bins of indices whose `lengths` add up to at most `budget`, each index once.

    Best fit decreasing: longest first, each into the fullest bin that has room. Lengths and budget
    are tokens. Deterministic; time grows as the number of indices times a logarithm of `budget`.
    Raises `DataError` that names the first few indices too long for any bin, or without a token.

    >>> [one.tolist() for one in pack(np.array([5, 3, 2, 6]), 8)]
    [[3, 2], [0, 1]]
    """
    _check(lengths, budget)
    bins: list[list[int]] = []
    # Bins by the room that is left in them, and which rooms there are.
    by_room: list[list[int]] = [[] for _ in range(budget + 1)]
    rooms = _Rooms(budget)
    order = np.argsort(-lengths, kind="stable")
    for index, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        room = rooms.least(length)
        if room > budget:
            room, number = budget, len(bins)
            bins.append([index])
        else:
            number = by_room[room].pop()
            bins[number].append(index)
            if not by_room[room]:
                rooms.remove(room)
        left = room - length
        if left:
            if not by_room[left]:
                rooms.add(left)
            by_room[left].append(number)
    return [np.asarray(one) for one in bins]


def pack_groups(
    prefixes: np.ndarray, conversations: Sequence[np.ndarray], budget: int
) -> list[list[tuple[int, np.ndarray]]]:
    """Bins of groups: an image with conversations that share its prefix.

    `prefixes` [G] holds the tokens of each image's prefix, `conversations[g]` those of each of its
    conversations. A group whose conversations do not fit one bin is cut into as few as best fit
    finds, each with the prefix again. A bin lists pairs of a group's number and the numbers of
    its conversations there, each conversation once. Raises `DataError` like `pack`.

    >>> pack_groups(np.array([4, 4]), [np.array([3, 3]), np.array([2])], 8)
    [[(0, array([0]))], [(0, array([1]))], [(1, array([0]))]]
    """
    pieces: list[tuple[int, np.ndarray]] = []
    sizes: list[int] = []
    for number, own in enumerate(conversations):
        prefix = int(prefixes[number])
        try:
            parts = pack(own, budget - prefix) if len(own) else []
        except DataError as error:
            raise DataError(f"group {number}, whose prefix has {prefix} tokens: {error}") from error
        for part in parts:
            pieces.append((number, np.sort(part)))
            sizes.append(prefix + int(own[part].sum()))
    return [[pieces[i] for i in one] for one in pack(np.asarray(sizes, np.int64), budget)]


def _check(lengths: np.ndarray, budget: int) -> None:
    wrong = np.flatnonzero((lengths > budget) | (lengths < 1))
    if len(wrong):
        shown = ", ".join(f"{i} ({int(lengths[i])})" for i in wrong[:8])
        raise DataError(
            f"{len(wrong)} of {len(lengths)} lengths are not between 1 and the budget of {budget} "
            f"tokens; index (length): {shown}; raise the budget or leave these rows out"
        )


class _Rooms:
    """A set of numbers from 1 to `most` that tells its least member of at least some number.

    Bits of one integer for each stretch of 64, and one integer over all stretches: two look-ups.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._bits = [0] * (most // 64 + 1)
        self._stretches = 0

    def add(self, number: int) -> None:
        self._bits[number >> 6] |= 1 << (number & 63)
        self._stretches |= 1 << (number >> 6)

    def remove(self, number: int) -> None:
        stretch = number >> 6
        self._bits[stretch] &= ~(1 << (number & 63))
        if not self._bits[stretch]:
            self._stretches &= ~(1 << stretch)

    def least(self, number: int) -> int:
        """The least member from `number` up; more than `most` where there is none."""
        stretch = number >> 6
        rest = self._bits[stretch] >> (number & 63)
        if rest:
            return number + _lowest(rest)
        later = self._stretches >> (stretch + 1)
        if not later:
            return self._most + 1
        stretch += 1 + _lowest(later)
        return (stretch << 6) + _lowest(self._bits[stretch])


def _lowest(bits: int) -> int:
    """Place of the lowest bit that is set."""
    return (bits & -bits).bit_length() - 1
