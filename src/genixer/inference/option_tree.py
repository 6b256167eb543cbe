"""Answers of several tokens, weighed by nothing but "how likely are these next tokens here?".

Options that begin alike share the question: each distinct beginning is asked about once, and all
tokens that follow it are weighed together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

__all__ = ["follow_ups", "weigh_options"]

Start = tuple[int, ...]
"""Tokens of an answer so far."""


def follow_ups(options: Sequence[Sequence[int]]) -> dict[Start, list[int]]:
    """Every beginning of an option, and the tokens that go on from it in some option.

    >>> follow_ups([[5, 6], [5, 7], [8]])
    {(): [5, 8], (5,): [6, 7]}
    """
    found: dict[Start, dict[int, None]] = {}
    for option in options:
        for place, token in enumerate(option):
            found.setdefault(tuple(option[:place]), {})[token] = None
    return {start: list(tokens) for start, tokens in found.items()}


def weigh_options(
    options: Sequence[Sequence[int]], answer: Callable[[Start], Mapping[int, float]]
) -> tuple[float, ...]:
    """Summed log-probability of each option; `answer(start)` gives those of the tokens after it.

    >>> weigh_options([[5, 6], [8]], {(): {5: -1.0, 8: -2.0}, (5,): {6: -0.5}}.__getitem__)
    (-1.5, -2.0)
    """
    return tuple(
        math.fsum(answer(tuple(option[:place]))[token] for place, token in enumerate(option))
        for option in options
    )
