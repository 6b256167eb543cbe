import json
from pathlib import Path

import pytest

from genixer.data import Quarantined
from genixer.errors import ConfigError
from genixer.sources.gqa import Gqa

FIXTURES = Path(__file__).parents[1] / "fixtures"


def gqa(questions, **settings):
    known = {"images": FIXTURES / "images", "image_pattern": "{image_id}.png", **settings}
    return Gqa(Gqa.Settings(questions=questions, **known))


def test_the_short_answer_and_the_structure_of_the_question_are_taken():
    rows = list(gqa(FIXTURES / "sources" / "gqa.json").read())
    assert [row.turns[1].text for row in rows] == ["yes", "pipe", "red"]
    assert [row.origin.question_type for row in rows] == ["verify", "query", "choose"]


def test_the_ten_files_of_all_questions_are_one_source(tmp_path):
    entries = json.loads((FIXTURES / "sources" / "gqa.json").read_text())
    whole = list(gqa(FIXTURES / "sources" / "gqa.json").read())
    for number, (key, entry) in enumerate(entries.items()):
        path = tmp_path / f"train_all_questions_{number}.json"
        path.write_text(json.dumps({key: entry}))
    again = tmp_path / "train_all_questions_9.json"
    again.write_text(json.dumps(dict(list(entries.items())[:1])))
    source = gqa(tmp_path)
    assert [path.name for path in source.files()][:2] == [
        "train_all_questions_0.json",
        "train_all_questions_1.json",
    ]
    *rows, last = source.read()
    assert source.count() == 4
    assert rows == whole
    assert isinstance(last, Quarantined)
    assert (last.where, last.reason) == ("train_all_questions_9.json[0]", "duplicate_id")
    assert list(source.read(1, 2)) == whole[1:]


def test_a_folder_without_files_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match=r"no \*\.json"):
        list(gqa(tmp_path).read())
