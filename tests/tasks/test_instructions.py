import re

import pytest

from genixer.tasks import TASKS
from genixer.tasks.instructions import lines

FORMS = {
    "general": (58, set()),
    "rec_questions": (50, {"expression"}),
    "reg_questions": (100, {"box"}),
    "dense_questions": (5, set()),
    "caption_questions": (5, set()),
    "point_qa": (5, set()),
    "qcboxa": (5, set()),
    "rd": (5, set()),
}


@pytest.mark.parametrize("name", sorted({*FORMS, *TASKS}))
def test_template_file_has_enough_different_lines_and_only_its_own_placeholder(name):
    least, placeholders = FORMS.get(name, (2, set()))
    found = lines(name)
    assert len(found) >= least
    assert len(set(found)) == len(found)
    for line in found:
        assert set(re.findall(r"\{(.*?)\}", line)) == placeholders
        assert len(re.findall(r"[{}]", line)) == 2 * len(placeholders)
        assert line == line.strip()
        assert "<" not in line
        assert "Question:" not in line
        assert "Answer:" not in line


def test_general_lines_name_no_task():
    for line in lines("general"):
        assert not re.search(r"\b(box|boxes|options?|letters?|yes|talk|region|list)\b", line)


def test_words_of_all_templates_are_few():
    words = {
        word
        for name in {*FORMS, *TASKS}
        for line in lines(name)
        for word in re.findall("[a-z]+", line.lower())
    }
    assert len(words) <= 200
