import json
from pathlib import Path

import pytest

from genixer.data import Box, Quarantined, Turn
from genixer.sources.grounding import CocoInstances, RefCoco

FIXTURES = Path(__file__).parents[1] / "fixtures"
SOURCES = FIXTURES / "sources"


def refcoco(**settings):
    base = {"images": FIXTURES / "images", "refs": SOURCES / "refs.json"}
    base["instances"] = SOURCES / "instances.json"
    return list(RefCoco(RefCoco.Settings(**{**base, **settings})).read())


def instances(path=SOURCES / "instances.json", **settings):
    base = {"images": FIXTURES / "images", "instances": path}
    return list(CocoInstances(CocoInstances.Settings(**base, **settings)).read())


def test_each_expression_is_asked_both_ways_with_the_box_as_a_share_of_the_image():
    rec, reg, *_ = rows = refcoco()
    assert [row.task for row in rows] == ["rec", "reg"] * 4
    assert "man in blue" in rec.turns[0].text
    assert rec.turns[1] == Turn("assistant", "<box>", (Box(0.5, 0.5, 0.75, 0.75),))
    assert reg.turns[0].boxes == rec.turns[1].boxes
    assert "<box>" in reg.turns[0].text
    assert reg.turns[1].text == "man in blue"
    assert {row.origin.question_type for row in rows} == {"person", "dog"}


def test_split_and_tasks_choose_the_rows():
    assert [row.turns[1].text for row in refcoco(split="val", tasks=("reg",))] == ["dog"]
    assert refcoco(split="testA") == []


def test_the_form_of_a_question_depends_on_the_reference_alone():
    alone = {row.id for row in refcoco(tasks=("rec",))}
    assert alone == {row.id for row in refcoco(tasks=("reg", "rec"))} - {
        row.id for row in refcoco(tasks=("reg",))
    }


def test_a_box_just_over_the_edge_is_cut_and_one_further_out_is_refused():
    # 10.0 + 30.4 px is 0.4 px over an edge of 40 px.
    assert refcoco()[-1].turns[0].boxes == (Box(0.25, 0.25, 1.0, 0.75),)
    strict = refcoco(slack_px=0.25)[-1]
    assert isinstance(strict, Quarantined)
    assert strict.reason == "box_outside_image"
    assert "30.4" in strict.detail


def test_objects_are_listed_from_top_to_bottom_without_crowds():
    first, second = instances()
    assert first.turns[1] == Turn(
        "assistant",
        "dog <box>, person <box>",
        (Box(0.0, 0.0, 0.25, 0.25), Box(0.5, 0.5, 0.75, 0.75)),
    )
    assert second.turns[1].text == "dog <box>"


@pytest.mark.parametrize(
    "bbox", [[float("1e308"), 0, 5, 5], [-1e9, 0, 5, 5], [0, 0, 1e308, 5], [-0.9, 0, 0.5, 5]]
)
def test_a_box_of_absurd_numbers_is_counted_not_a_crash(bbox, tmp_path):
    data = json.loads((SOURCES / "instances.json").read_text())
    data["annotations"][0]["bbox"] = bbox
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(data))
    assert instances(path)[0].reason in ("box_outside_image", "empty_box")
