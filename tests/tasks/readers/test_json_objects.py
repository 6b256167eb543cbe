import pytest
from hypothesis import given
from hypothesis import strategies as st

from genixer.tasks.base import Canvas, ParseError
from genixer.tasks.readers.json_objects import FencedJsonReader, JsonReader

CANVAS = Canvas("unit", 2)


def pairs(text, reader=JsonReader):
    found = reader().pairs(text, CANVAS)
    return found.reason if isinstance(found, ParseError) else found


PAIR = [("What?", "a cat")]
TWO = [*PAIR, ("Old?", "no")]


@pytest.mark.parametrize(
    "text",
    [
        '{"question": "What?", "answer": "a cat"}',
        '{"Question": "What?", "Answer": "a cat", "Question-Type": "what", "id": 7}',
        '{"q": "What?", "A": "a cat"}',
        '{"query": "What?", "response": "a cat"}',
        '{"instruction": "What?", "output": "a cat"}',
        '{"user": "What?", "assistant": "a cat"}',
        '[{"question": "What?", "answer": "a cat"}]',
        '{"QA pairs": [{"q": "What?", "a": "a cat"}], "image": "1.png"}',
        '{"dialog": [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "a cat"}]}',
        '[{"role": "User", "content": "What?"}, {"role": "assistant", "content": "a cat"}]',
    ],
)
def test_keys_may_be_spelled_in_several_ways(text):
    assert pairs(text) == PAIR


@pytest.mark.parametrize(
    "text",
    [
        '[{"q": "What?", "a": "a cat"}, {"q": "Old?", "a": "no"}]',
        '{"dialogue": [{"q": "What?", "a": "a cat"}, {"q": "Old?", "a": "no"}]}',
        """{"messages": [
            {"role": "user", "content": "What?"}, {"role": "assistant", "content": "a cat"},
            {"role": "user", "content": "Old?"}, {"role": "assistant", "content": "no"}
        ]}""",
    ],
)
def test_an_array_is_a_dialogue(text):
    assert pairs(text) == TWO


@pytest.mark.parametrize(
    ("answer", "written"),
    [
        ("[0.1, 0.20, 0.5, 1]", "[0.10,0.20,0.50,1.00]"),
        ("[0.1000, 0, 0.5, 1.0]", "[0.10,0.00,0.50,1.00]"),
        ("[0.1, 0.2]", "[0.10,0.20]"),
        ("[[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]]", "[0.10,0.20,0.30,0.40;0.00,0.00,1.00,1.00]"),
        ("3", "3"),
        ("0.50", "0.50"),
    ],
)
def test_numbers_keep_their_value_and_get_the_digits_of_the_canvas(answer, written):
    assert pairs(f'{{"q": "Where?", "a": {answer}}}') == [("Where?", written)]


def test_a_place_has_keys_of_its_own():
    assert pairs('{"q": "Where?", "bbox_2d": [0.1, 0.2, 0.3, 0.4]}') == [
        ("Where?", "[0.10,0.20,0.30,0.40]")
    ]
    assert pairs('{"q": "Where?", "point": [0.1, 0.2]}') == [("Where?", "[0.10,0.20]")]
    assert JsonReader().pairs('{"q": "?", "box": [1, 20, 30, 400]}', Canvas("pixel", 0)) == [
        ("?", "[1,20,30,400]")
    ]


@given(st.lists(st.decimals(0, 1, places=3), min_size=4, max_size=4))
def test_no_number_is_ever_rounded(numbers):
    found = pairs(f'{{"q": "Where?", "a": [{", ".join(map(str, numbers))}]}}')
    if found == "bad_box":
        assert any(number != round(number, 2) for number in numbers)
    else:
        assert [float(one) for one in found[0][1][1:-1].split(",")] == [*map(float, numbers)]


@pytest.mark.parametrize(
    ("options", "answer", "letter"),
    [
        ('["cat", "dog"]', "B", "B"),
        ('["cat", "dog"]', "dog", "B"),
        ('["cat", "dog"]', "(B) dog", "B"),
        ('["A. cat", "B. dog"]', "B. dog", "B"),
        ('["A) cat", "B) dog"]', "A", "A"),
        ('{"A": "cat", "B": "dog"}', "dog", "B"),
    ],
)
def test_options_stand_below_the_question_and_the_answer_is_a_letter(options, answer, letter):
    found = pairs(f'{{"question": "What?", "options": {options}, "answer": "{answer}"}}')
    assert found == [("What?\nA. cat\nB. dog", letter)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a cat", "not_json"),
        ('{"q": "What?", "a": "a cat"', "bad_json"),
        ('{"q": "What?", "a": "a cat"} Done.', "bad_json"),
        ('{"q": "What?", "a": NaN}', "bad_json"),
        ("[" * 100_000, "bad_json"),
        ('{"q": "What?", "a": "a cat", "a": "a dog"}', "repeated_key"),
        ('{"q": "What?", "a": "a cat", "A": "a dog"}', "repeated_key"),
        ('{"q": "What?", "a": "a cat", "why": "it purrs"}', "unknown_key"),
        ('{"pairs": [{"q": "What?", "a": "a cat"}], "why": "it purrs"}', "unknown_key"),
        ('{"a": "a cat"}', "no_question"),
        ('{"q": "What?"}', "no_answer"),
        ("{}", "no_question"),
        ("[]", "bad_value"),
        ("[0.1, 0.2, 0.3, 0.4]", "bad_value"),
        ('{"qa": "What?"}', "bad_value"),
        ('{"qa": [], "pairs": []}', "ambiguous_keys"),
        ('{"q": "What?", "query": "Who?", "a": "a cat"}', "ambiguous_keys"),
        ('{"q": "What?", "a": "a cat", "bbox": [0, 0, 1, 1]}', "ambiguous_keys"),
        ('{"q": 7, "a": "a cat"}', "bad_value"),
        ('{"q": "What?", "a": null}', "bad_value"),
        ('{"q": "What?", "a": true}', "bad_value"),
        ('{"q": "What?", "a": {"b": 1}}', "bad_value"),
        ('{"q": "Where?", "bbox": "left"}', "bad_box"),
        ('{"q": "Where?", "a": []}', None),
        ('{"q": "Where?", "a": [0.123, 0, 1, 1]}', "bad_box"),
        ('{"q": "Where?", "a": [-0.1, 0, 1, 1]}', "bad_box"),
        ('{"q": "Where?", "a": [1e-1, 0, 1, 1]}', "bad_box"),
        ('{"q": "Where?", "a": ["0.1", 0, 1, 1]}', "bad_box"),
        ('{"q": "Where?", "a": [[0, 0, 1, 1], 1]}', "bad_box"),
        ('[{"role": "assistant", "content": "a cat"}]', "bad_turns"),
        ('[{"role": "user", "content": "What?"}]', "bad_turns"),
        ('[{"role": "system", "content": "Be."}, {"role": "user", "content": "?"}]', "bad_turns"),
        ('[{"role": "user", "content": "What?"}, {"q": "What?", "a": "cat"}]', "bad_turns"),
        ('[{"role": "user", "content": ["What?"]}]', "bad_value"),
        ('{"q": "What?", "options": ["cat"], "a": "A"}', "bad_options"),
        ('{"q": "What?", "options": "cat", "a": "A"}', "bad_options"),
        ('{"q": "What?", "options": {"A": "a", "C": "c"}, "a": "A"}', "bad_options"),
        ('{"q": "What?", "options": ["cat", "dog"], "a": "owl"}', "answer_not_an_option"),
        ('{"q": "What?", "options": ["cat", "dog"], "a": "C"}', "answer_not_an_option"),
        ('{"q": "What?", "options": ["cat", "dog"], "a": "A. dog"}', "answer_not_an_option"),
        ('{"q": "What?", "options": ["B", "cat"], "a": "B"}', "ambiguous_answer"),
    ],
)
def test_an_object_that_leaves_a_doubt_is_refused_with_its_reason(text, reason):
    if reason is None:
        assert pairs(text) == [("Where?", "[]")]
    else:
        assert pairs(text) == reason


def test_number_of_more_digits_than_python_converts_is_a_bad_box():
    assert pairs(f'{{"q": "?", "a": [{"9" * 5000}, 0.{"1" * 400}, 1, 1]}}') == "bad_box"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('```json\n{"q": "What?", "a": "a cat"}\n```', PAIR),
        ('```\n{"q": "What?", "a": "a cat"}```', PAIR),
        ('```JSON  \n\n{"q": "What?",\n "a": "a cat"}\n\n```', PAIR),
        ('{"q": "What?", "a": "a cat"}', "not_fenced"),
        ('Here:\n```json\n{"q": "What?", "a": "a cat"}\n```', "bad_fence"),
        ('```json\n{"q": "What?", "a": "a cat"}\n```\nBye.', "bad_fence"),
        ('```json\n{"q": "What?", "a": "a cat"}', "bad_fence"),
        ('```python\n{"q": "What?", "a": "a cat"}\n```', "bad_fence"),
        ("```json\n{}\n```\n```json\n{}\n```", "bad_fence"),
        ("```json\nWhat?\n```", "not_json"),
        ('```json\n{"q": "What?"}\n```', "no_answer"),
    ],
)
def test_a_fence_holds_json_and_nothing_stands_around_it(text, found):
    assert pairs(text, FencedJsonReader) == found
