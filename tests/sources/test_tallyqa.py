from pathlib import Path

from genixer.sources.tallyqa import TallyQa

FIXTURES = Path(__file__).parents[1] / "fixtures"


def test_numbers_become_words_of_the_answer_and_the_kind_is_simple_or_complex():
    path = FIXTURES / "sources" / "tallyqa.json"
    rows = list(TallyQa(TallyQa.Settings(images=FIXTURES / "images", questions=path)).read())
    assert [row.turns[1].text for row in rows] == ["4", "0", "15"]
    assert [row.origin.question_type for row in rows] == ["complex", "simple", "imported_genome"]


def test_images_may_lie_in_a_folder_of_the_image_root():
    path = FIXTURES / "sources" / "tallyqa.json"
    settings = TallyQa.Settings(images=FIXTURES, questions=path, image_prefix="images/")
    assert next(TallyQa(settings).read()).image.path == "images/1.png"
