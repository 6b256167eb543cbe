from pathlib import Path

from genixer.sources.captions import CocoCaptions
from genixer.tasks.instructions import lines

FIXTURES = Path(__file__).parents[1] / "fixtures"


def test_every_caption_is_a_row_about_the_image_its_id_names():
    path = FIXTURES / "sources" / "captions.json"
    rows = list(
        CocoCaptions(CocoCaptions.Settings(captions=path, images=FIXTURES / "images")).read()
    )
    assert [row.image.path for row in rows] == ["1.png", "2.png", "1.png"]
    # Outer space goes, a literal mark is escaped.
    assert rows[1].turns[1].text == "A very clean room with a \\<box> on a shelf."
    assert {row.turns[0].text for row in rows} <= set(lines("caption_questions"))
