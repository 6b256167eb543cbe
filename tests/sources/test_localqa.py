import json
from pathlib import Path

import pytest

from genixer.data import Box, Point
from genixer.errors import ConfigError
from genixer.sources.localqa import LocalQa

FIXTURES = Path(__file__).parents[1] / "fixtures"


def read(**settings):
    base = {
        "images": FIXTURES / "images",
        "dataset": FIXTURES / "sources" / "localqa.json",
        "image_patterns": ("{image_id}.png",),
    }
    return list(LocalQa(LocalQa.Settings(**{**base, **settings})).read())


def test_a_question_is_asked_of_each_object_and_answered_for_it():
    rows = read()[:4]
    assert [row.turns[1].text for row in rows] == ["blue", "blue", "red", "red"]
    assert rows[0].turns[0].boxes == (Box(0.5, 0.5, 0.75, 0.75),)
    assert rows[1].turns[0].points == (Point(0.625, 0.625),)
    assert [row.origin.question_type for row in rows[:2]] == ["local_box", "local_point"]
    assert read(places=("point",)) == read()[1::2]


def test_the_published_list_of_a_split_chooses_the_images(tmp_path):
    split = tmp_path / "train.json"
    split.write_text(json.dumps(["2", 7]))
    assert {row.image.path for row in read(split=split)} == {"2.png"}
    split.write_text('["2", {}]')
    with pytest.raises(ConfigError, match=r"train\.json: expected image ids"):
        read(split=split)


def test_a_split_is_part_of_what_the_step_depends_on(tmp_path):
    settings = LocalQa.Settings(images=tmp_path, dataset=tmp_path / "a", split=tmp_path / "b")
    assert LocalQa(settings).files() == [tmp_path / "a", tmp_path / "b"]
