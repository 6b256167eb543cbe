"""Tokenizers: a byte-level one for small models, Llama's, and small ones of Llama's kind.

The first knows whole words, one token for each printed coordinate, and any other text in bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PreTrainedTokenizerFast

from genixer.errors import ConfigError
from genixer.models.sentencepiece import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    Piece,
    llama_backend,
    read_pieces,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from genixer.models.base import Preset

__all__ = [
    "SPECIAL",
    "add_control",
    "new_tokenizer",
    "read_tokenizer",
    "train_llama_tokenizer",
    "train_tokenizer",
    "wrap_llama",
]

LLAMA_CONTROL = ("<unk>", "<s>", "</s>")

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


def train_llama_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Tokenizer of Llama's kind with at most `vocabulary` tokens, learned from `texts`.

    `▁` stands for a space and before every text, words are cut by merges, what is left is bytes;
    control tokens are `<unk>`, `<s>` and `</s>`. For small models of the large ones' layout.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    room = vocabulary - len(LLAMA_CONTROL) - 256
    trainer = trainers.BpeTrainer(vocab_size=room, show_progress=False)
    learned.train_from_iterator(texts, trainer)
    words = sorted(learned.get_vocab(), key=learned.get_vocab().__getitem__)
    pieces = [
        *(Piece(name, 0.0, UNKNOWN if name == "<unk>" else CONTROL) for name in LLAMA_CONTROL),
        *(Piece(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)),
        *(Piece(word, -float(rank), NORMAL) for rank, word in enumerate(words)),
    ]
    return wrap_llama(llama_backend(pieces))


def wrap_llama(backend: Tokenizer) -> PreTrainedTokenizerFast:
    """`backend` with the names of Llama's control tokens; what is missing pads with `<unk>`."""
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>" if backend.token_to_id("<pad>") is not None else "<unk>",
    )


def new_tokenizer(preset: Preset, texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer for a new model of `preset`, learned from `texts`, control tokens included."""
    if preset.prompt.style == "marks":
        return train_tokenizer(texts, preset.vocabulary, preset.decimals)
    tokenizer = train_llama_tokenizer(texts, preset.vocabulary)
    add_control(tokenizer.backend_tokenizer, preset)
    return tokenizer


def add_control(backend: Tokenizer, preset: Preset) -> None:
    """Give `backend` the control tokens of `preset` that it lacks, behind all others.

    Those it has become control tokens if they were ordinary ones: text that looks like them must
    stay text.
    """
    from tokenizers import AddedToken

    names = preset.tokens.names()
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in names])


def read_tokenizer(
    folder: Path, preset: Preset, prefer_pieces: bool = False
) -> PreTrainedTokenizerFast:
    """Tokenizer of the model in `folder`: `tokenizer.json`, or Llama's `tokenizer.model`.

    With `prefer_pieces` the second is taken where both are there: it is what the original code
    bases read, and a `tokenizer.json` beside it may have been made by another rule. Tokens of
    `added_tokens.json` are added to it. Raises `ConfigError` where there is neither.
    """
    fast, pieces = folder / "tokenizer.json", folder / "tokenizer.model"
    if pieces.is_file() and (prefer_pieces or not fast.is_file()):
        backend = llama_backend(read_pieces(pieces))
        _add_listed(backend, folder / "added_tokens.json")
        return wrap_llama(backend)
    if not fast.is_file():
        raise ConfigError(f"{folder} has no tokenizer: neither tokenizer.json nor tokenizer.model")
    # The folder is on disk and nothing else is looked at: there is no revision to pin.
    found: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(  # nosec B615
        folder, local_files_only=True
    )
    return found


def _add_listed(backend: Tokenizer, path: Path) -> None:
    """Add the tokens that `path` lists with their ids, in the order of these."""
    from tokenizers import AddedToken

    if not path.is_file():
        return
    listed: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
    for name, number in sorted(listed.items(), key=lambda item: item[1]):
        backend.add_special_tokens([AddedToken(name, normalized=False)])
        if backend.token_to_id(name) != number:
            raise ConfigError(
                f"{path}: token {name!r} has id {number}, the next free one is "
                f"{backend.token_to_id(name)}"
            )
