import json
from pathlib import Path

import pytest

from genixer.data import Box, Origin, Quarantined, Sample, Turn
from genixer.formats.qwen_json import QwenJsonFormat, QwenJsonSettings
from genixer.frames import resized_size
from genixer.store.images import ImageCatalog

IMAGES = Path(__file__).parents[1] / "fixtures" / "images"
IMAGE = ImageCatalog(IMAGES).ref("1.png")  # 64 x 48 px
LEFT, RIGHT = Box(0.0, 0.0, 0.5, 1.0), Box(0.5, 0.25, 1.0, 1.0)


def sample(answer, *boxes, question="Where?", asked=(), task="dense_caption", groups=()):
    turns = Turn("user", question, asked), Turn("assistant", answer, boxes, (), groups)
    return Sample.of(task, IMAGE, turns, Origin("x"))


def said(tmp_path, one, **settings):
    kind = QwenJsonFormat(QwenJsonSettings(**settings))
    done = kind.write([one], tmp_path / "out.jsonl", IMAGES)
    if not done["written"]:
        return done
    assert list(kind.read(tmp_path / "out.jsonl", IMAGES)) == [one]
    return json.loads((tmp_path / "out.jsonl").read_text())["conversations"][1]["value"]


def test_a_list_of_objects_is_an_array_with_labels(tmp_path):
    found = json.loads(said(tmp_path, sample('old "cat" <box>, dog <box>', LEFT, RIGHT)))
    assert found == [
        {"bbox_2d": [0, 0, 500, 1000], "label": 'old "cat"'},
        {"bbox_2d": [500, 250, 1000, 1000], "label": "dog"},
    ]


@pytest.mark.parametrize(
    ("answer", "boxes", "groups", "text"),
    [
        ("<box>", (LEFT,), (), '{"bbox_2d": [0, 0, 500, 1000]}'),
        ("At <box>.", (LEFT,), (), 'At {"bbox_2d": [0, 0, 500, 1000]}.'),
        (
            "<box><box>",
            (LEFT, RIGHT),
            (2,),
            '[{"bbox_2d": [0, 0, 500, 1000]}, {"bbox_2d": [500, 250, 1000, 1000]}]',
        ),
        (
            "cat <box><box>",
            (LEFT, RIGHT),
            (2,),
            'cat {"bbox_2d": [0, 0, 500, 1000]}{"bbox_2d": [500, 250, 1000, 1000]}',
        ),
        ("\n<box>", (LEFT,), (), None),
        ("[<box>]", (LEFT,), (), None),
        ("```json\n<box>```", (LEFT,), (), None),
        ("the bbox_2d <box>", (LEFT,), (), None),
        ("<|box_start|>", (), (), None),
        ("<box> [1]", (LEFT,), (), '{"bbox_2d": [0, 0, 500, 1000]} [1]'),
    ],
)
def test_other_boxes_stand_in_their_place_or_are_refused(tmp_path, answer, boxes, groups, text):
    found = said(tmp_path, sample(answer, *boxes, groups=groups, task="rd"))
    assert found == (text if text is not None else {"written": 0, "qwen_mark": 1})


def test_numbers_are_those_of_the_frame(tmp_path):
    one = sample("<box>", RIGHT, task="rec")
    assert said(tmp_path, one, frame="pixel") == '{"bbox_2d": [32, 12, 64, 48]}'
    # 64 x 48 px become 56 x 56: two by two patches.
    assert said(tmp_path, one, frame="resized_pixel") == '{"bbox_2d": [28, 14, 56, 56]}'


def test_sizes_are_those_of_the_models_own_processor():
    theirs = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    for limits in ((3136, 12_845_056), (3136, 50_176), (40_000, 1_003_520)):
        for width in (1, 14, 27, 42, 64, 640, 1283, 9000):
            for height in (1, 13, 48, 477, 3000):
                if max(width, height) / min(width, height) > 200:
                    continue
                found = resized_size(width, height, 28, *limits)
                assert found == theirs.smart_resize(height, width, 28, *limits)[::-1]


def test_an_image_that_the_processor_refuses_is_counted(tmp_path):
    from PIL import Image

    Image.new("RGB", (402, 2)).save(tmp_path / "line.png")
    line = ImageCatalog(tmp_path).ref("line.png")
    one = Sample.of("md", line, (Turn("user", "?"), Turn("assistant", "!")), Origin("x"))
    for frame, done in (("resized_pixel", {"written": 0, "image_too_long": 1}), ("pixel", None)):
        kind = QwenJsonFormat(QwenJsonSettings(frame=frame))
        assert kind.write([one], tmp_path / "a.json", tmp_path) == (done or {"written": 1})
    (found,) = QwenJsonFormat(QwenJsonSettings(frame="resized_pixel")).read(
        tmp_path / "a.json", tmp_path
    )
    assert found.reason == "image_too_long"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('```json\n[\n\t{"bbox_2d": [0, 0, 500, 1e3], "label": "cat"}\n]\n```', "cat <box>"),
        ('{"label": "old cat", "bbox_2d": [0, 0, 500, 1000]}', "old cat <box>"),
        ('{ "bbox_2d" : [0.0,0,500 , 1000.0] }', "<box>"),
        ('{"bbox_2d": [0, 0, 500]}', "bad_box"),
        ('I see {"bbox_2d": [0, 0, 500, 1000], "label": "cat"}', "bad_box"),
        ('[{"bbox_2d": [0, 0, 5, 5], "label": "cat", "role": "pet"}]', "bad_box"),
        ('[{"bbox_2d": [0, 0, 5, 5], "label": "cat, red"}]', "bad_label"),
        ('[{"bbox_2d": [0, 0, 5, 5], "label": "cat"}, {"bbox_2d": [0, 0, 5, 5]}]', "bad_label"),
        ('{"bbox_2d": [0, 0, 500, 1001]}', "box_outside"),
        ('{"bbox_2d": [9, 0, 5, 100]}', "box_inverted"),
        ("[]", "[]"),
    ],
)
def test_answers_of_others_are_read_or_told(tmp_path, answer, expected):
    row = {
        "image": "1.png",
        "conversations": [
            {"from": "human", "value": "<image>\nLocate."},
            {"from": "gpt", "value": answer},
        ],
    }
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    (found,) = QwenJsonFormat().read(tmp_path / "a.jsonl", IMAGES)
    assert expected == (found.reason if isinstance(found, Quarantined) else found.turns[1].text)
