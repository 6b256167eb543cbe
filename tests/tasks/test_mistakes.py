import random

import pytest

from genixer.tasks.mistakes import changed, miscounted, swapped


@pytest.mark.parametrize(
    "text", ["1.5 m", "2 of 3", "12:30", "about 1,000", "none", "route 123456"]
)
def test_a_number_that_is_no_count_is_left_alone(text):
    assert all(miscounted(text, random.Random(seed)) is None for seed in range(9))


def test_a_change_never_gives_back_what_it_was_given():
    texts = ["yes", "No", "3", "twelve", "a red car", "Left", "the upper blue one", "0", "Ten"]
    for text in texts:
        for seed in range(20):
            for change in (changed, swapped):
                assert change(text, random.Random(seed)) != text
