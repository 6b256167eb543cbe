"""Texts laid out on disk so that those that share most of their runs of words are found."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from genixer.filters.dedup import keys_in
from genixer.filters.minhash import banding, overlaps, signatures
from genixer.filters.ngrams import NGrams
from genixer.store.hamming import spread_in_pieces

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

__all__ = ["NearTexts"]

_AT_ONCE = 1 << 18
"""Most candidates compared together."""


class _Band(NamedTuple):
    """The texts that agree in one band with another one, 16 bytes each."""

    members: Array
    """Texts, those of one bucket side by side, in order."""
    texts: Array
    """The same in order of all."""
    ranks: Array
    """Where each of `texts` stands in `members`."""
    starts: Array
    """Where its bucket begins."""


class NearTexts:
    """Texts in the order they are added; memory holds 8 bytes each until they are searched.

    On disk a text takes 8 bytes a band (at most 1 kB) and 4 bytes a run. A search builds tables of
    16 bytes for each band in which a text has company, none for a text that has none, and sorts
    one band at a time (about 40 bytes a text).
    """

    def __init__(self, folder: Path, overlap: float, size: int) -> None:
        """Use `folder`; texts are alike when they share the part `overlap` of runs of `size`."""
        self.overlap = overlap
        self._cut = banding(overlap)
        self._grams = NGrams(size)
        self._runs = folder / "runs.bin"
        self._keys = [folder / f"band-{band:03d}.bin" for band in range(self._cut.bands)]
        for path in (self._runs, *self._keys):
            path.touch()
        self._counts: list[Array] = []

    def add(self, texts: Sequence[str]) -> None:
        """Lay out some more texts; a thousand at a time is quick."""
        runs, counts = self._grams.of(texts)
        keys = self._cut.keys(signatures(runs, counts))
        with ExitStack() as stack:
            stack.enter_context(self._runs.open("ab")).write((runs >> 32).astype("<u4").tobytes())
            for band, path in enumerate(self._keys):
                stack.enter_context(path.open("ab")).write(keys[:, band].astype("<u8").tobytes())
        self._counts.append(counts.astype("<u4"))

    def search(self, places: Array, among: Array) -> TextSearch:
        """Search those marked in `among`; texts of different `places` are never alike."""
        import numpy as np

        counts = np.concatenate([*self._counts, np.empty(0, dtype="<u4")]).astype(np.int64)
        rows = np.flatnonzero(among & (counts > 0))
        bands = [
            _band(rows, keys_in(places[rows], np.fromfile(path, dtype="<u8")[rows]))
            for path in self._keys
        ]
        runs = np.fromfile(self._runs, dtype="<u4", count=0)
        if self._runs.stat().st_size:
            runs = np.memmap(self._runs, dtype="<u4", mode="r")
        return TextSearch(bands, runs, counts, places, self.overlap)


class TextSearch:
    """Pairs of texts that share at least a part of their runs; what it finds it has compared."""

    def __init__(
        self, bands: Sequence[_Band], runs: Array, counts: Array, places: Array, overlap: float
    ) -> None:
        """Know where everything lies."""
        import numpy as np

        self._bands, self._runs, self._counts, self._places = bands, runs, counts, places
        self._starts = np.cumsum(counts) - counts
        self._overlap = overlap

    def alike(self, rows: Array, among: Array) -> tuple[Array, Array]:
        """All candidates (later, earlier) that are alike, the later one in `rows`."""
        import numpy as np

        found = [np.empty(0, dtype=np.int64)]
        for band in self._bands:
            at = np.searchsorted(band.texts, rows)
            at[at == len(band.texts)] = 0
            mine = band.texts[at] == rows if len(band.texts) else np.zeros(len(rows), dtype=bool)
            asked, at = rows[mine], at[mine]
            starts = band.starts[at].astype(np.int64)
            counts = band.ranks[at] - starts
            for owners, places in spread_in_pieces(starts, counts, _AT_ONCE):
                earlier = band.members[places].astype(np.int64)
                wanted = among[earlier]
                found.append(np.unique(asked[owners[wanted]] << 32 | earlier[wanted]))
        pairs = np.unique(np.concatenate(found))
        later, earlier = pairs >> 32, pairs & 0xFFFFFFFF
        close = self.overlaps(later, earlier) >= self._overlap
        return later[close], earlier[close]

    def overlaps(self, later: Array, earlier: Array) -> Array:
        """Part of their runs that each pair shares; 0 for texts of different places."""
        import numpy as np

        result = np.zeros(len(later), dtype=np.float64)
        same = np.flatnonzero(self._places[later] == self._places[earlier])
        sizes = self._counts[later[same]] + self._counts[earlier[same]]
        for piece in np.split(same, _cuts(sizes)):
            pairs = (later[piece], earlier[piece])
            result[piece] = overlaps(self._runs, self._starts, self._counts, pairs)
        return result


def _band(rows: Array, keys: Array) -> _Band:
    """Buckets of two and more among `rows` with these keys."""
    import numpy as np

    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    same = np.zeros(len(keys) + 1, dtype=bool)
    same[1:-1] = ordered[1:] == ordered[:-1]
    company = same[1:] | same[:-1]
    members = rows[order[company]].astype(np.uint32)
    begins = ~same[:-1][company]
    starts = np.flatnonzero(begins)[np.cumsum(begins) - 1].astype(np.uint32)
    by_text = np.argsort(members).astype(np.uint32)
    return _Band(members, members[by_text], by_text, starts[by_text])


def _cuts(sizes: Array) -> Array:
    """Where to cut pairs so that the runs of a piece stay below the limit."""
    import numpy as np

    pieces = np.cumsum(sizes) // (4 * _AT_ONCE)
    return np.flatnonzero(np.diff(pieces)) + 1
