"""The form of a guided answer: that of the request, or pairs."""

import json

from genixer.inference.json_form import fits_form, response_format
from genixer.tasks.base import Canvas
from genixer.tasks.zero_shot import zero_shot


def test_a_request_brings_its_own_schema() -> None:
    _, schema = zero_shot("rec", "", Canvas("per_1000", 0, 640, 480))
    asked = response_format(schema)
    assert asked["json_schema"]["schema"] == schema
    assert asked["json_schema"]["strict"] is True
    assert json.dumps(asked)
    assert response_format({}) == response_format()


def test_an_answer_has_the_keys_of_its_schema_and_no_others() -> None:
    _, schema = zero_shot("rec", "", Canvas("per_1000", 0, 640, 480))
    assert fits_form('{"question": "Where is it?", "box": [1, 2, 3, 4]}', schema)
    for other in ('{"question": "Where?"}', '{"question": "", "box": [], "more": 1}', "[]", "{"):
        assert not fits_form(other, schema)
    assert not fits_form('{"question": ' + "[" * 20_000, schema)  # a model that cannot stop
    assert fits_form('{"pairs": [{"question": "What?", "answer": "a cat"}]}', {})
