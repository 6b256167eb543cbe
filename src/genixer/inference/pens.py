"""Who decides the next token inside the library's `generate`: a request's seed, or a given answer.

Both look at the raw scores first. Letters: B rows, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation.stopping_criteria import StoppingCriteria, StoppingCriteriaList

from genixer.data import Sampling
from genixer.errors import BackendError
from genixer.inference.sampling import Luck, pick
from genixer.models.sight import Sight, in_place_of_pixels
from genixer.models.vlm import LoadedVlm, Seen

__all__ = ["Pen", "Rail"]


class Pen(LogitsProcessor):
    """Draws every row's tokens as its `Sampling` says and notes them, until an end or its `most`.

    `tokens[i]` and `logprobs[i]` are row i's, the end token included.
    """

    def __init__(
        self, samplings: Sequence[Sampling], most: Sequence[int], end_ids: Sequence[int]
    ) -> None:
        """Nothing is written yet."""
        self._samplings, self._most, self._ends = samplings, most, frozenset(end_ids)
        self._luck = Luck(samplings)
        self._step = 0
        self.tokens: list[list[int]] = [[] for _ in samplings]
        self.logprobs: list[list[float]] = [[] for _ in samplings]

    def run(
        self,
        loaded: LoadedVlm,
        rows: Sequence[Sequence[int]],
        seen: Sequence[Seen],
        sights: Sequence[Sight] | None = None,
    ) -> None:
        """Write after the prompts `rows`; `sights` are what the tower made of `seen`, if known."""
        _generate(loaded, rows, seen, sights, self, max(self._most), _Full(self))

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """`scores` [B, V] with all but the token drawn at minus infinity."""
        live = [row for row in range(len(self.tokens)) if not self.ended(row)]
        raw = scores.float().cpu()
        picked = pick(
            raw[live], [self._samplings[row] for row in live], self._luck, live, self._step
        )
        logprobs = raw[live].log_softmax(-1).gather(-1, picked[:, None])[:, 0]
        for row, token, logprob in zip(live, picked.tolist(), logprobs.tolist(), strict=True):
            if not math.isfinite(logprob):
                raise BackendError("the model's weights give no probabilities")
            self.tokens[row].append(token)
            self.logprobs[row].append(logprob)
        self._step += 1
        return _only(scores, torch.tensor([tokens[-1] for tokens in self.tokens]))

    def ended(self, row: int) -> bool:
        """Whether nothing more is written in `row`."""
        own = self.tokens[row]
        return len(own) >= self._most[row] or (bool(own) and own[-1] in self._ends)


class _Full(StoppingCriteria):
    """Tells `generate` which rows are done."""

    def __init__(self, pen: Pen) -> None:
        self._pen = pen

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        done = [self._pen.ended(row) for row in range(len(input_ids))]
        return torch.tensor(done, device=input_ids.device)


class Rail(LogitsProcessor):
    """Leads every row along a given answer and notes how likely the model found it.

    With `copies` 1 all `options` have one token, and a row is a prompt; else each prompt stands in
    as many rows as there are options, in their order.
    """

    def __init__(self, options: Sequence[list[int]], copies: int) -> None:
        """Nothing is read yet."""
        self._options, self._copies = options, copies
        self._steps: list[Tensor] = []

    def run(
        self,
        loaded: LoadedVlm,
        rows: Sequence[Sequence[int]],
        seen: Sequence[Seen],
        sights: Sequence[Sight] | None = None,
    ) -> None:
        """Read the options after the prompts `rows`; `sights` as for a `Pen`."""
        longest = max(len(option) for option in self._options)
        _generate(loaded, rows, seen, sights, self, longest, None)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """`scores` [B, V] with all but the option's next token at minus infinity."""
        step = len(self._steps)
        # What comes after the end of a shorter option counts for nothing.
        column = torch.tensor([ids[min(step, len(ids) - 1)] for ids in self._options])
        logprobs = scores.float().log_softmax(-1).cpu()
        if self._copies == 1:
            self._steps.append(logprobs[:, column])
            return scores
        forced = column.repeat(len(scores) // self._copies)
        found = logprobs.gather(-1, forced[:, None]).view(-1, self._copies)
        going = torch.tensor([step < len(ids) for ids in self._options])
        self._steps.append(torch.where(going, found, 0.0))
        return _only(scores, forced)

    def weights(self) -> list[list[float]]:
        """Summed log-probability of every option, a list a prompt."""
        found: list[list[float]] = torch.stack(self._steps).double().sum(0).tolist()
        return found


def _only(scores: Tensor, tokens: Tensor) -> Tensor:
    """`scores` [B, V] at minus infinity but for one token a row."""
    forced = torch.full_like(scores, -torch.inf)
    return forced.scatter(-1, tokens.to(scores.device)[:, None], 0.0)


def _generate(
    loaded: LoadedVlm,
    rows: Sequence[Sequence[int]],
    seen: Sequence[Seen],
    sights: Sequence[Sight] | None,
    decides: LogitsProcessor,
    most: int,
    stops: StoppingCriteria | None,
) -> None:
    """Run the model after the prompts `rows`, at most `most` tokens, as `decides` says."""
    inputs = loaded.inputs(rows, seen, left=True, pixels=sights is None)
    there = {name: value.to(loaded.model.device) for name, value in inputs.items()}
    loaded.model.generate(
        **there,
        **(in_place_of_pixels(sights) if sights else {}),
        generation_config=GenerationConfig(
            max_new_tokens=most,
            do_sample=False,
            use_cache=True,
            eos_token_id=list(loaded.end_ids),
            pad_token_id=loaded.pad_id,
        ),
        logits_processor=LogitsProcessorList([decides]),
        stopping_criteria=StoppingCriteriaList([stops] if stops else []),
    )
