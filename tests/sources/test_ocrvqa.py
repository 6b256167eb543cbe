from pathlib import Path

import pytest
from pydantic import ValidationError

from genixer.sources.ocrvqa import OcrVqa

FIXTURES = Path(__file__).parents[1] / "fixtures"


def read(**settings):
    known = {
        "images": FIXTURES / "images",
        "dataset": FIXTURES / "sources" / "ocrvqa.json",
        "image_pattern": "{image_id}{suffix}",
        **settings,
    }
    return list(OcrVqa(OcrVqa.Settings(**known)).read())


def test_every_question_of_a_book_is_a_row_of_its_split():
    rows = read()
    assert [row.turns[1].text for row in rows] == ["A. Author", "No", "A Year"]
    assert [row.image.path for row in rows] == ["1.png", "1.png", "2.png"]
    assert read(split="val") == []
    assert [row.reason for row in read(split="test")] == ["missing_image"]
    assert len(read(split="")) == 4


def test_a_copy_whose_files_were_renamed_is_read_by_its_pattern():
    assert [row.detail for row in read(image_pattern="images/{image_id}.jpg")][:1] == [
        "images/1.jpg"
    ]


@pytest.mark.parametrize("change", [{"image_pattern": "{image_id:06d}.jpg"}, {"split": "dev"}])
def test_settings_that_cannot_be_right_are_refused_early(change):
    with pytest.raises(ValidationError, match=r"image_id|split"):
        read(**change)
