import json
from pathlib import Path

import pytest

from genixer.errors import ConfigError
from genixer.sources.scienceqa import ScienceQa

FIXTURES = Path(__file__).parents[1] / "fixtures"


def read(split="train", **settings):
    files = {
        "problems": FIXTURES / "sources" / "scienceqa_problems.json",
        "splits": FIXTURES / "sources" / "scienceqa_splits.json",
    }
    known = {"images": FIXTURES / "images", **files, "split": split, **settings}
    return list(ScienceQa(ScienceQa.Settings(**known)).read())


def test_hint_question_and_options_come_in_this_order_with_the_letter():
    first, second = read()
    assert first.turns[0].text == "Will it attract?\nA. yes\nB. no\nC. perhaps"
    assert second.turns[0].text == (
        "Look at the\ncolours.\nWhich is colder?\nA. the sky\nB. the lake"
    )
    assert (first.turns[1].text, second.turns[1].text) == ("A", "B")
    assert first.origin.question_type == "natural science"


def test_problems_in_words_alone_are_told_apart_from_missing_images(tmp_path):
    assert [row.reason for row in read("test")] == ["no_image"]
    assert {row.reason for row in read(images=tmp_path)} == {"missing_image"}


def test_a_list_that_draws_on_a_split_finds_its_images():
    assert [row.image.path for row in read("minitrain")] == ["train/1/image.png"]
    assert read("val") == []
    prefixed = read(images=FIXTURES, image_prefix="images")
    assert next(row.image.path for row in prefixed) == "images/train/4/image.png"


def test_a_wrong_list_is_helped_and_files_that_do_not_belong_together_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no 'trian'.*did you mean train"):
        read("trian")
    other = tmp_path / "splits.json"
    other.write_text(json.dumps({"train": ["7001", "7002"]}))
    with pytest.raises(ConfigError, match="has none of the problems"):
        read(splits=other)
