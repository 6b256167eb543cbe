from pathlib import Path

from genixer.data import Turn
from genixer.sources.dialogue import LlavaInstruct

FIXTURES = Path(__file__).parents[1] / "fixtures"


def test_the_mark_of_the_picture_goes_and_the_words_stay():
    path = FIXTURES / "sources" / "llava_instruct.json"
    settings = LlavaInstruct.Settings(images=FIXTURES / "images", conversations=path)
    first, second, third = LlavaInstruct(settings).read()
    assert first.turns[0] == Turn("user", "What are the colors of the bus?")
    assert second.turns[0] == Turn("user", "Where is the cat?")
    assert second.turns[3] == Turn("assistant", "1. Perhaps.\n2. It is grey.")
    assert [row.task for row in (first, second, third)] == ["md"] * 3
