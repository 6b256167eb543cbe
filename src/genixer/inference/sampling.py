"""Drawing tokens so that one request's luck never depends on its neighbours.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from genixer.data import Sampling

__all__ = ["Luck", "pick"]


class Luck:
    """The random numbers of a block: one in [0, 1) a row and step, decided by the row's seed alone.

    >>> one, other = Sampling(temperature=1.0, seed=1), Sampling(temperature=1.0, seed=2)
    >>> bool(Luck([one, other]).at([1], 5) == Luck([other]).at([0], 5))
    True
    """

    def __init__(self, samplings: Sequence[Sampling]) -> None:
        """Draw the numbers of every row that samples; greedy rows have none."""
        steps = max((s.max_new_tokens for s in samplings if s.temperature > 0), default=0)
        self._numbers = np.zeros((len(samplings), steps))
        for row, sampling in enumerate(samplings):
            if sampling.temperature > 0:
                # Philox counts: number n of a seed is the same however many are asked for.
                stream = np.random.Generator(np.random.Philox(key=sampling.seed))
                self._numbers[row] = stream.random(steps)

    def at(self, rows: Sequence[int], step: int) -> Tensor:
        """Numbers of `rows` at `step`, float64 [len(rows)]."""
        return torch.from_numpy(self._numbers[list(rows), step])


def pick(
    logits: Tensor, samplings: Sequence[Sampling], luck: Luck, rows: Sequence[int], step: int
) -> Tensor:
    """Next token of each row of `logits` [B, V], as int64 [B].

    The likeliest one, or where there is a temperature one drawn after it, top-k and top-p were
    applied. `samplings[i]` and `rows[i]`, the row's number in `luck`, belong to `logits[i]`.
    """
    tokens = logits.argmax(-1)
    warm = [i for i, sampling in enumerate(samplings) if sampling.temperature > 0]
    if not warm:
        return tokens
    drawn_from = [samplings[i] for i in warm]
    heat = torch.tensor([s.temperature for s in drawn_from], dtype=torch.float64)
    scores = _truncated(logits[warm].double() / heat[:, None], drawn_from)
    reach = scores.softmax(-1).cumsum(-1)
    # A hair below the total, so that rounding can never point behind the last token of weight.
    target = luck.at([rows[i] for i in warm], step)[:, None] * reach[:, -1:] * (1.0 - 1e-15)
    tokens[warm] = torch.searchsorted(reach, target, right=True)[:, 0]
    return tokens


def _truncated(scores: Tensor, samplings: Sequence[Sampling]) -> Tensor:
    """`scores` with everything outside each row's top-k and then top-p at minus infinity."""
    if all(s.top_k == 0 and s.top_p >= 1.0 for s in samplings):
        return scores
    size = scores.shape[-1]
    ranked, order = scores.sort(dim=-1, descending=True, stable=True)
    most = torch.tensor([s.top_k or size for s in samplings])
    ranked = ranked.masked_fill(torch.arange(size) >= most[:, None], -torch.inf)
    share = ranked.softmax(-1)
    before = share.cumsum(-1) - share
    mass = torch.tensor([s.top_p for s in samplings], dtype=torch.float64)
    # The token that crosses the mass stays in, as does the first.
    ranked = ranked.masked_fill((before >= mass[:, None]) & (torch.arange(size) > 0), -torch.inf)
    return torch.full_like(scores, -torch.inf).scatter(-1, order, ranked)
