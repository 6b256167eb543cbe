"""A byte-level tokenizer for small models.

It knows whole words, one token for each printed coordinate, and any other text in bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from transformers import PreTrainedTokenizerFast

__all__ = ["SPECIAL", "train_tokenizer"]

SPECIAL = {
    "pad_token": "<pad>",
    "bos_token": "<s>",
    "eos_token": "</s>",
}
MARKS = ("<image>", "<user>", "<assistant>")


def train_tokenizer(
    texts: Iterable[str], vocabulary: int, decimals: int
) -> PreTrainedTokenizerFast:
    """Tokenizer of at most `vocabulary` tokens learned from `texts`.

    The same texts in the same order give the same one.

    Lossless for any text. Numbers of `decimals` decimals in [0, 1] are one token each. Control
    tokens come first: pad, begin, end, image, user, assistant.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    numbers = [f"{i / 10**decimals:.{decimals}f}" for i in range(10**decimals + 1)]
    # With its punctuation a coordinate is one token still: a box takes four, not nine.
    coordinates = [mark.format(one) for mark in ("{}", "[{},", "{},", "{}]") for one in numbers]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(coordinates),
        special_tokens=[*SPECIAL.values(), *MARKS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    number = re.compile(rf"\[?[01]\.\d{{{decimals}}}[],]?")
    # Coordinates are tokens already: merges spent on them would be lost to words.
    tokenizer.train_from_iterator((number.sub("", text) for text in texts), trainer)
    tokenizer.add_tokens(coordinates)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)
