"""English contractions whose apostrophes people leave out, for the VQA answer normaliser."""

from __future__ import annotations

__all__ = ["CONTRACTIONS"]

_NOT = (
    *("ain't", "aren't", "can't", "couldn't", "didn't", "doesn't", "don't", "hadn't", "hasn't"),
    *("haven't", "isn't", "mightn't", "mustn't", "needn't", "oughtn't", "shan't", "shouldn't"),
    *("wasn't", "weren't", "won't", "wouldn't"),
)
_HAVE = (
    *("could've", "might've", "must've", "not've", "should've", "they've", "we've", "what've"),
    *("where've", "who've", "would've", "you've"),
)
_PERSON = (
    *("he's", "how's", "somebody's", "someone's", "something's", "that's", "there's", "what's"),
    *("when's", "where's", "who's", "why's", "how'll", "it'll", "somebody'll", "someone'll"),
    *("that'll", "there'll", "they'll", "what'll", "who'll", "why'll", "you'll", "how'd", "it'd"),
    *("somebody'd", "someone'd", "something'd", "that'd", "there'd", "they'd", "where'd", "who'd"),
    *("you'd", "there're", "they're", "what're", "why're", "you're", "he'd"),
)
_OTHER = ("let's", "ma'am", "o'clock", "y'all", "'twas")
# Left out: forms that without the apostrophe are words of their own (ill, its, lets, shed, well).
_WORDS = frozenset(["lets"])

CONTRACTIONS: dict[str, str] = {
    key: form
    for form in (*_NOT, *_HAVE, *_PERSON, *_OTHER)
    if (key := form.replace("'", "")) not in _WORDS
} | {
    # Two apostrophes, one of them left out.
    key: f"{start}n't've"
    for start in ("could", "had", "might", "should", "would")
    for key in (f"{start}nt've", f"{start}n'tve")
}
"""Correct form by what is written without its apostrophes: `dont` -> `don't`."""
