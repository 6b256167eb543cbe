"""Near texts: what is found has been compared, what is alike is found, disjoint texts never are."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genixer.filters import near_texts
from genixer.filters.near_texts import NearTexts


def pairs(folder: Path, texts: list[str], overlap: float, size: int = 2, step: int = 1000, **known):
    near = NearTexts(folder, overlap, size)
    for start in range(0, len(texts), step):
        near.add(texts[start : start + step])
    everyone = np.ones(len(texts), dtype=bool)
    places = known.get("places", np.zeros(len(texts), dtype=np.uint64))
    among = known.get("among", everyone)
    search = near.search(places, among)
    later, earlier = search.alike(known.get("rows", np.arange(len(texts))), everyone)
    return list(zip(later.tolist(), earlier.tolist(), strict=True))


def jaccard(one: str, two: str, size: int = 2) -> float:
    def runs(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[at : at + size]) for at in range(max(1, len(words) - size + 1))}

    return len(runs(one) & runs(two)) / len(runs(one) | runs(two))


def scribbles(count: int, seed: int = 1) -> list[str]:
    """Texts of twenty words, each followed by copies with one to four words replaced."""
    rng, found = random.Random(seed), []
    for number in range(count):
        words = [f"w{number}x{rng.randrange(30)}" for _ in range(20)]
        for changes in range(5):
            copy = list(words)
            for at in rng.sample(range(20), changes):
                copy[at] = f"new{rng.randrange(10**6)}"
            found.append(" ".join(copy))
    return found


@pytest.mark.parametrize("overlap", [0.5, 0.7, 0.9])
def test_all_pairs_above_the_threshold_are_found_and_no_other(
    tmp_path: Path, overlap: float
) -> None:
    texts = scribbles(40)
    found = pairs(tmp_path, texts, overlap)
    expected = [
        (later, earlier)
        for later in range(len(texts))
        for earlier in range(later // 5 * 5, later)
        if jaccard(texts[later], texts[earlier]) >= overlap
    ]
    assert len(expected) >= 7
    assert set(found) <= set(expected)
    # 0.1 % may be missed; of a few hundred, more than two is no luck.
    assert len(expected) - len(found) <= 2


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(st.lists(st.text("abc ", min_size=1, max_size=20), max_size=8), st.floats(0.2, 1.0))
def test_texts_without_a_word_in_common_are_never_alike(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], overlap: float
) -> None:
    apart = [" ".join(f"{word}{number}" for word in t.split()) for number, t in enumerate(texts)]
    assert pairs(tmp_path_factory.mktemp("near"), apart, overlap, 1) == []


def test_pieces_of_any_size_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = scribbles(12)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    whole = pairs(tmp_path / "a", texts, 0.6)
    monkeypatch.setattr(near_texts, "_AT_ONCE", 3)
    assert pairs(tmp_path / "b", texts, 0.6, step=7) == whole
    assert len(whole) > 12


def test_texts_of_different_places_are_never_alike(tmp_path: Path) -> None:
    texts = ["where is the red cup"] * 4
    places = np.array([1, 2, 1, 2], dtype=np.uint64)
    assert pairs(tmp_path, texts, 0.5, places=places) == [(2, 0), (3, 1)]


def test_texts_left_out_are_found_by_nobody(tmp_path: Path) -> None:
    among = np.array([True, False, True])
    assert pairs(tmp_path, ["a b c"] * 3, 0.5, among=among) == [(2, 0)]


def test_only_the_rows_asked_about_are_answered(tmp_path: Path) -> None:
    assert pairs(tmp_path, ["a b c"] * 3, 0.5, rows=np.array([1])) == [(1, 0)]


@pytest.mark.parametrize("texts", [[], ["?"], ["?", "!", ""]])
def test_texts_without_words_are_alike_to_none(tmp_path: Path, texts: list[str]) -> None:
    assert pairs(tmp_path, texts, 0.5) == []
