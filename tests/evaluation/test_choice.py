"""Which letter an answer gives."""

import pytest

from genixer.evaluation.choice import letter


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A", "A"),
        (" C ", "C"),
        ("D. a red book", "D"),
        ("I think so. The answer is B.", "B"),
        ("The answer is B. The answer is C.", ""),
        ("The answer is B", ""),
        ("b", ""),
        ("A.", ""),
        ("Apple", ""),
        ("(A)", ""),
        ("", ""),
    ],
)
def test_only_the_forms_of_the_rule_count(text: str, found: str) -> None:
    assert letter(text) == found
