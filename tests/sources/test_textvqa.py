from pathlib import Path

import pytest

from genixer.sources.textvqa import TextVqa, majority

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["a", "b", "b"], "b"),
        (["B ", "a", "b", "a"], "B"),
        (["", " ", "x"], "x"),
        ([], ""),
        ([" "], ""),
    ],
)
def test_the_answer_of_most_people_wins_and_the_first_of_equals(answers, expected):
    assert majority(answers) == expected


def test_a_refusal_counts_only_when_most_people_refuse():
    path = FIXTURES / "sources" / "textvqa.json"
    known = {"images": FIXTURES / "images", "image_pattern": "{image_id}.png"}
    rows = list(TextVqa(TextVqa.Settings(questions=path, **known)).read())
    assert [row.turns[1].text for row in rows] == ["nokia", "Stop now", "ann"]
