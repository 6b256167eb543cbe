"""Options of one token, weighed by the list of first tokens that a server gives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from genixer.errors import ConfigError

__all__ = ["check_options", "weigh"]


def check_options(options: Sequence[str]) -> None:
    """Raise `ConfigError` for an option that is no single word.

    >>> check_options(["Yes", "No"])
    >>> check_options(["Yes", "a longer answer"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    genixer.errors.ConfigError: option 'a longer answer' has several tokens: ...
    """
    for option in options:
        if len(option.split()) != 1:
            raise ConfigError(
                f"option {option!r} has several tokens: a server weighs single words only; use the "
                "backend transformers or vlm"
            )


def weigh(first: Sequence[tuple[str, float]], options: Sequence[str]) -> tuple[float, ...]:
    """Log-probability of each option, given the likeliest tokens `first` with theirs.

    A token is the option as it stands or after a space, whichever is likelier: a model takes one of
    them only. One that is not listed is at most as likely as the last listed, and as what the list
    leaves over: it gets that bound, so that the share of the other is not overstated. NaN for all
    where none is listed.

    >>> weigh([("Yes", math.log(0.75)), ("Maybe", math.log(0.125))], ["Yes", "No"])
    (-0.287682, -2.079442)
    >>> weigh([("Maybe", -0.5)], ["Yes", "No"])
    (nan, nan)
    """
    listed: dict[str, float] = {}
    for token, logprob in first:
        listed[token] = max(logprob, listed.get(token, -math.inf))
    found = [_likelier(listed, option, f" {option}") for option in options]
    if all(math.isnan(value) for value in found):
        return tuple(found)
    # Of all that is listed: half signs are several tokens of one text.
    rest = 1.0 - math.fsum(math.exp(logprob) for _, logprob in first)
    bound = min(*listed.values(), math.log(max(rest, 1e-12)), 0.0)
    return tuple(round(bound if math.isnan(value) else value, 6) for value in found)


def _likelier(listed: Mapping[str, float], *spellings: str) -> float:
    return max((listed[one] for one in spellings if one in listed), default=math.nan)
