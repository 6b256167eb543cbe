"""Runs of words: what counts as a word, and what makes two runs equal."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genixer.filters import ngrams
from genixer.filters.ngrams import NGrams, words_of

words = st.text("abcde", min_size=1, max_size=4)


def by_the_slow_way(text: str) -> list[bytes]:
    return (
        ngrams._NOT_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold()).encode().split()
    )


@given(st.text(st.characters(max_codepoint=127)))
def test_the_table_for_plain_text_is_the_rule_for_all_text(text: str) -> None:
    assert words_of(text) == by_the_slow_way(text)


@given(st.text())
def test_words_of_words_are_the_same_words(text: str) -> None:
    once = b" ".join(words_of(text)).decode()
    assert words_of(once) == words_of(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Is it  NEW?", "is it new"),
        ("\uff26\uff35\uff2c\uff2c width", "full width"),
        ("Cafe\u0301 <box>", "café box"),
        ("snake_case", "snake case"),
        ("\ud800 lone", "lone"),
        ("?!", ""),
    ],
)
def test_words_are_what_is_left_of_case_width_and_signs(text: str, expected: str) -> None:
    assert b" ".join(words_of(text)).decode() == expected


@given(st.lists(st.lists(words, max_size=9), max_size=6), st.integers(1, 5), st.booleans())
def test_runs_are_equal_exactly_when_their_words_are(
    texts: list[list[str]], size: int, short: bool
) -> None:
    runs, counts = NGrams(size, short).of([" ".join(text) for text in texts])
    expected = []
    for text, count in zip(texts, counts.tolist(), strict=True):
        own = [tuple(text[at : at + size]) for at in range(len(text) - size + 1)]
        if short and 0 < len(text) < size:
            own = [tuple(text)]
        assert count == len(own)
        expected += own
    assert len(runs) == len(expected)
    assert len(set(runs.tolist())) == len(set(expected))
    assert len(set(zip(runs.tolist(), expected, strict=True))) == len(set(expected))


def test_a_run_is_the_same_number_wherever_it_stands_and_whoever_asks() -> None:
    one, _ = NGrams(2).of(["zero", "some other words", "a red cup"])
    two, _ = NGrams(2).of(["a red"])
    assert two[0] in one


def test_forgetting_words_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(f"word{number}" for number in range(50))
    expected, _ = NGrams(3).of([text, text])
    monkeypatch.setattr(ngrams, "_MOST_WORDS", 4)
    grams = NGrams(3)
    assert np.array_equal(grams.of([text, text])[0], expected)
    assert len(grams._words) <= 4
