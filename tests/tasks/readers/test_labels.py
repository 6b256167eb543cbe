import pytest

from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.readers import load_reader

PAIR = [("What?", "a cat")]
TWO = [*PAIR, ("Old?", "no,\nyoung")]


def pairs(name, text):
    found = load_reader(name).pairs(text, Canvas())
    return found.reason if isinstance(found, ParseError) else found


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("marks", "Q: What? A: a cat", PAIR),
        ("marks", "q: What?\n  a: a cat", "labels_not_in_pairs"),
        ("marks", "q: What?\na: a cat", PAIR),
        ("marks", "Question: What?\nAnswer: a cat", PAIR),
        ("marks", "QUESTION:What?\n\nANSWER:a cat", PAIR),
        ("marks", "Q: What?\nA: a cat\n\nQ: Old?\nA: no,\nyoung", TWO),
        ("marks", "Q: What is a: b?\nA: a cat", [("What is a: b?", "a cat")]),
        ("marks", "Q: What?\nA. cat\nB. dog\nA: B", [("What?\nA. cat\nB. dog", "B")]),
        ("bold", "**Question:** What? **Answer:** a cat", PAIR),
        ("bold", "**Question**: What?\n**Answer**: a cat", PAIR),
        ("bold", "**q:** What?\n\n**a:** a cat", PAIR),
        ("bold", "**Q1:** What?\n**A1:** a cat\n**Q2:** Old?\n**A2:** no,\nyoung", TWO),
        ("bold", "1. **Question:** What?\n **Answer:** a cat", PAIR),
        ("numbered", "Q1: What?\nA1: a cat\nQ2: Old?\nA2: no,\nyoung", TWO),
        ("numbered", "Question 1: What? Answer 1: a cat", PAIR),
        ("numbered", "1. Q: What?\n   A: a cat\n2. Q: Old?\n   A: no,\nyoung", TWO),
        ("numbered", "1) Question: What?\nAnswer: a cat", PAIR),
        ("numbered", "Q1: What?\nA: a cat", PAIR),
    ],
)
def test_labels_may_be_written_in_several_ways(name, text, found):
    assert pairs(name, text) == found


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("marks", "What? A: a cat", "no_marks"),
        ("marks", "A: a cat", "labels_not_in_pairs"),
        ("marks", "Q: What?", "labels_not_in_pairs"),
        ("marks", "Q: What?\nA: a cat\nA: a dog", "labels_not_in_pairs"),
        ("marks", "Q: What?\nA: cat\nB: dog\nA: A", "labels_not_in_pairs"),
        ("marks", "Q: What?\nA: a cat\nQ: Old?", "labels_not_in_pairs"),
        ("marks", "Q: What?\nAnswer: a cat", "mixed_labels"),
        ("marks", "Q1: What?\nA1: a cat", "no_marks"),
        ("bold", "Sure! **Q:** What? **A:** a cat", "no_bold_labels"),
        ("bold", "**Answer:** a cat", "labels_not_in_pairs"),
        ("bold", "**Question:** What? **A:** a cat", "mixed_labels"),
        ("bold", "**Q1:** What? **A2:** a cat", "bad_numbering"),
        ("numbered", "Q: What?\nA1: a cat", "not_numbered"),
        ("numbered", "1. What? a cat", "not_numbered"),
        ("numbered", "Q2: What?\nA2: a cat", "bad_numbering"),
        ("numbered", "Q1: What?\nA1: a cat\nQ3: Old?\nA3: no", "bad_numbering"),
        ("numbered", "Q1: What?\nA1: a cat\nQ: Old?\nA: no", "bad_numbering"),
        ("numbered", "1. Q2: What?\nA: a cat", "bad_numbering"),
        ("numbered", f"Q{'1' * 6}: What?\nA: a cat", "bad_numbering"),
        ("numbered", f"Q{'1' * 5000}: What?\nA: a cat", "not_numbered"),
    ],
)
def test_labels_that_leave_a_doubt_are_refused_with_their_reason(name, text, reason):
    assert pairs(name, text) == reason
