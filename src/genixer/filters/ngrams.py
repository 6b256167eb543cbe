"""Runs of words as numbers: what texts are compared by, for duplicates and for leaks."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import xxhash

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

__all__ = ["NGrams", "words_of"]

_NOT_WORD = re.compile(r"[\W_]+")
_LETTERS = bytes(ord(chr(c).lower()) if chr(c).isalnum() else 32 for c in range(128)).ljust(256)
_MOST_WORDS = 200_000
"""Words whose hashes are remembered: 30 MB at most, whatever the text."""


def words_of(text: str) -> list[bytes]:
    """Words of `text` in UTF-8: lower case, width and accents of the code points unified.

    Whatever is no letter, digit or accent divides words; of a mark its name stays.

    >>> words_of("  What colour is <box> ?")
    [b'what', b'colour', b'is', b'box']
    """
    if text.isascii():  # the same by a table, in a fifth of the time
        return text.encode().translate(_LETTERS).split()
    return _NOT_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold()).encode().split()


class _WordHashes(dict[bytes, int]):
    """Hashes of words, computed once for those that come again."""

    def __missing__(self, word: bytes) -> int:
        if len(self) >= _MOST_WORDS:
            self.clear()
        found = self[word] = xxhash.xxh3_64_intdigest(word)
        return found


class NGrams:
    """Hashes of every run of `size` words of texts.

    With `short`, a text of fewer words has one run, itself; without, it has none. A text without
    words never has any.
    """

    def __init__(self, size: int, short: bool = True) -> None:
        """Know no word yet."""
        self.size, self.short = size, short
        self._words = _WordHashes()

    def of(self, texts: Sequence[str]) -> tuple[Array, Array]:
        """All runs of all texts joined in order (64 bits each), and how many each text has.

        >>> runs, counts = NGrams(2).of(["a red cup", "A red, cup!", "cup", "?"])
        >>> counts.tolist(), (runs[:2] == runs[2:4]).all().item()
        ([2, 2, 1, 0], True)
        """
        import numpy as np

        split = [words_of(text) for text in texts]
        if self.short:
            # Filled up with the empty word, a short text has one run; no text holds that word.
            split = [words and words + [b""] * (self.size - len(words)) for words in split]
        lengths = np.fromiter(map(len, split), dtype=np.int64, count=len(split))
        total = int(lengths.sum())
        # __getitem__ through map: the one call a word there is.
        flat = map(self._words.__getitem__, chain.from_iterable(split))
        words = np.fromiter(flat, dtype=np.uint64, count=total)
        counts = np.maximum(lengths - self.size + 1, 0)
        if not counts.any():
            return np.empty(0, dtype=np.uint64), counts
        runs = np.zeros(total - self.size + 1, dtype=np.uint64)
        for place in range(self.size):
            runs += words[place : place + len(runs)] * _odd(place)
        return _mixed(runs[_inside(lengths, counts, len(runs))]), counts


def _inside(lengths: Array, counts: Array, most: int) -> Array:
    """Which of the runs over all words joined begin and end in the same text."""
    import numpy as np

    starts = np.cumsum(lengths) - lengths
    steps = np.zeros(int(lengths.sum()) + 1, dtype=np.int8)
    some = counts > 0
    steps[starts[some]] += 1
    steps[starts[some] + counts[some]] -= 1
    inside: Array = np.cumsum(steps)[:most] > 0
    return inside


def _odd(place: int) -> np.uint64:
    """An odd number of 64 bits for each place of a run, so that the order of words counts."""
    import numpy as np

    return np.uint64(xxhash.xxh3_64_intdigest(f"place {place}".encode()) | 1)


def _mixed(numbers: Array) -> Array:
    """Numbers spread evenly over 64 bits: the finish of SplitMix64, a bijection."""
    import numpy as np

    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Array = numbers ^ (numbers >> np.uint64(31))
    return mixed
