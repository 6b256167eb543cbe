import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from genixer.data import Box, Origin, Point, Quarantined, Sample, Turn
from genixer.errors import ConfigError
from genixer.formats.coco import CocoFormat, CocoSettings
from genixer.store.images import ImageCatalog

FIXTURES = Path(__file__).parents[1] / "fixtures"
IMAGES = FIXTURES / "images"
COCO, BROKEN = (FIXTURES / "formats" / name for name in ("coco.json", "coco_broken.json"))
WIDE = ImageCatalog(IMAGES).ref("1.png")
LEFT = Box(0.0, 0.0, 0.5, 1.0)


def sample(task, question, answer, *boxes, image=WIDE):
    marks = question.count("<box>")
    turns = Turn("user", question, boxes[:marks]), Turn("assistant", answer, boxes[marks:])
    return Sample.of(task, image, turns, Origin("x", "MIT"))


def written(tmp_path, *samples):
    assert CocoFormat().write(samples, tmp_path / "out.json", IMAGES) == {"written": len(samples)}
    return json.loads((tmp_path / "out.json").read_bytes())


def changed(tmp_path, file, change):
    change(file)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(file))
    return list(CocoFormat().read(path, IMAGES))


def test_a_box_is_x_y_width_height_in_pixels_with_the_words_about_it(tmp_path):
    file = written(
        tmp_path,
        sample("rec", "Where is the red cup?", "<box>", LEFT),
        sample("reg", "What is at <box>?", "a \\<box> cup", LEFT),
        sample("dense_caption", "List.", "cup <box>, cat <box>", LEFT, LEFT),
    )
    assert [one["bbox"] for one in file["annotations"]] == [[0.0, 0.0, 32.0, 48.0]] * 4
    assert [one["area"] for one in file["annotations"]] == [32.0 * 48] * 4
    captions = [one["caption"] for one in file["annotations"]]
    assert captions == ["the red cup", "a <box> cup", "cup", "cat"]
    names = {one["id"]: one["name"] for one in file["categories"]}
    found = [names[one["category_id"]] for one in file["annotations"]]
    assert found == ["region", "region", "cup", "cat"]
    assert len(file["images"]) == 1
    assert file["licenses"] == [{"id": 1, "name": "MIT", "url": ""}]


def test_boxes_and_sizes_are_those_of_the_upright_image(tmp_path):
    picture = Image.new("RGB", (60, 40))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "held.jpg", exif=exif)
    held = ImageCatalog(tmp_path).ref("held.jpg")
    one = sample("rec", "Where?", "<box>", Box(0.0, 0.5, 1.0, 1.0), image=held)
    file = written(tmp_path, one)
    assert (file["images"][0]["width"], file["images"][0]["height"]) == (40, 60)
    assert file["annotations"][0]["bbox"] == [0.0, 30.0, 40.0, 30.0]
    assert list(CocoFormat().read(tmp_path / "out.json", tmp_path)) == [one]


edges = st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted)


@given(edges, edges)
def test_every_box_comes_back_exactly(tmp_path_factory, xs, ys):
    one = sample("rec", "Where?", "<box>", Box(xs[0], ys[0], xs[1], ys[1]))
    out = tmp_path_factory.mktemp("coco") / "out.json"
    CocoFormat().write([one], out, IMAGES)
    assert list(CocoFormat().read(out, IMAGES)) == [one]


def test_a_box_that_was_moved_in_the_file_is_where_it_was_moved_to(tmp_path):
    file = written(tmp_path, sample("rec", "Where?", "<box>", Box(0.1, 1 / 3, 0.3, 0.7)))

    def move(file):
        file["annotations"][0]["bbox"] = [16, 12, 32, 24]

    (found,) = changed(tmp_path, file, move)
    assert found.turns[1].boxes == (Box(0.25, 0.25, 0.75, 0.75),)


def test_samples_without_boxes_and_with_points_are_counted(tmp_path):
    point = Turn("user", "<point>?", (), (Point(0.5, 0.5),)), Turn("assistant", "<box>", (LEFT,))
    score = Origin("x", scores={"judge": float("nan")})
    odd = [
        sample("common_vqa", "What?", "a cat"),
        Sample.of("rec", WIDE, point, Origin("x")),
        Sample.of("rec", WIDE, sample("rec", "?", "<box>", LEFT).turns, score),
    ]
    counts = CocoFormat().write(odd, tmp_path / "out.json", IMAGES)
    assert counts == {"written": 0, "no_boxes": 1, "points_not_supported": 1, "bad_score": 1}


def test_a_file_of_others_becomes_the_objects_of_each_image():
    tall, wide = CocoFormat(CocoSettings(licence="CC BY 4.0")).read(COCO, IMAGES)
    assert (tall.image.path, wide.image.path) == ("2.png", "1.png")
    assert wide.turns[1].text == "dog <box>, person <box>"
    assert wide.turns[1].boxes == (Box(0.0, 0.0, 0.25, 0.25), Box(0.5, 0.5, 0.75, 0.75))
    assert tall.turns[1].boxes == (Box(0.25, 0.25, 1.0, 0.75),)
    assert (wide.task, wide.origin) == ("dense_caption", Origin("coco", "CC BY 4.0"))


def test_every_fault_of_a_broken_file_is_told_where_it_is():
    first, *rest = CocoFormat().read(BROKEN, IMAGES)
    assert first.turns[1].text == "person <box>"
    assert all(isinstance(one, Quarantined) for one in rest)
    assert [(one.where.partition(":")[2], one.reason) for one in rest] == [
        ("images[1]", "image_size_differs"),
        ("images[2]", "path_escapes"),
        ("images[3]", "image_bomb"),
        ("images[4]", "missing_image"),
        ("images[5]", "no_objects"),  # its annotation is told below
        ("images[6]", "bad_entry"),
        ("images[7]", "box_outside"),
        ("images[8]", "empty_box"),
        ("images[9]", "duplicate_id"),
        ("images[10]", "duplicate_id"),
        ("images[11]", "unknown_category"),
        ("images[12]", "box_inverted"),
        ("images[13]", "not_json"),
        ("images[14]", "bad_entry"),
        ("images[15]", "not_utf8"),
        ("annotations[2]", "not_json"),
        ("annotations[8]", "unknown_image"),
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file["annotations"].pop(), "unknown_annotation"),
        (lambda file: file["annotations"][0].update(image_id=7), "image_id_differs"),
        (lambda file: file["annotations"].append(file["annotations"][0]), "duplicate_id"),
        (lambda file: file["annotations"][0].update(fractions=[0, 0, 9, 9]), "bad_box"),
        (lambda file: file["annotations"][0].update(bbox=[0, 0, 99, 9]), "box_outside"),
        (lambda file: file["images"].clear(), "unknown_image"),
        (lambda file: file["images"][0].update(sha256="0"), "image_differs"),
        (lambda file: file["samples"][0].update(task="banana"), "unknown_task"),
        (lambda file: file["samples"][0].update(turns=[]), "boxes_differ"),
        (lambda file: file["samples"][0]["turns"][1].update(text="<box> <box>"), "boxes_differ"),
        (lambda file: file["samples"][0]["turns"][1].update(text="cat"), "boxes_differ"),
        (lambda file: file["samples"][0].update(origin={}), "bad_entry"),
    ],
)
def test_a_conversation_that_breaks_a_rule_is_quarantined(change, reason, tmp_path):
    file = written(tmp_path, sample("rec", "Where?", "<box>", LEFT))
    found = changed(tmp_path, file, change)[0]
    assert isinstance(found, Quarantined)
    assert (found.where, found.reason) == ("changed.json:samples[0]", reason)


def test_an_annotation_that_no_conversation_has_is_not_lost(tmp_path):
    file = written(tmp_path, sample("rec", "Where?", "<box>", LEFT))

    def add(file):
        file["annotations"].append({**file["annotations"][0], "id": 99})

    _, left = changed(tmp_path, file, add)
    assert (left.where, left.reason) == ("changed.json:annotations[1]", "no_sample")


@pytest.mark.parametrize("cut", range(1, 700, 23))
def test_a_file_cut_anywhere_is_refused_whole(cut, tmp_path):
    data = COCO.read_bytes()
    path = tmp_path / "cut.json"
    path.write_bytes(data[: len(data) - 2 - cut])
    with pytest.raises(ConfigError, match=r"cut\.json"):
        list(CocoFormat().read(path, IMAGES))


def test_without_categories_every_image_says_so(tmp_path):
    file = json.loads(COCO.read_bytes())
    found = changed(tmp_path, file, lambda file: file.pop("categories"))
    assert [one.reason for one in found] == ["unknown_category"] * 2


def test_a_conversation_that_no_rule_knows_has_boxes_without_words(tmp_path):
    turns = (Turn("assistant", "at <box>", (Box(0.0, 0.0, 0.5, 0.5),)),)
    one = Sample.of("md", WIDE, turns, Origin("x"))
    CocoFormat().write([one], tmp_path / "out.json", IMAGES)
    assert json.loads((tmp_path / "out.json").read_bytes())["annotations"][0]["caption"] == ""
    assert list(CocoFormat().read(tmp_path / "out.json", IMAGES)) == [one]


@pytest.mark.parametrize("path", [COCO, BROKEN])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_parts_of_a_file_of_others_are_its_rows_faults_included(path, size):
    whole, kind = list(CocoFormat().read(path, IMAGES)), CocoFormat()
    assert kind.count(path) == len(whole)
    for at in reversed(range(0, len(whole) + size, size)):
        assert list(kind.part(path, IMAGES, at, size)) == whole[at : at + size]


def test_parts_of_our_own_file_tell_of_annotations_left_over(tmp_path):
    file = written(tmp_path, *(sample("rec", "Where?", "<box>", LEFT) for _ in range(3)))
    file["annotations"] += [{**file["annotations"][0], "id": id} for id in (90, 91)]
    path = tmp_path / "more.json"
    path.write_text(json.dumps(file))
    whole, kind = list(CocoFormat().read(path, IMAGES)), CocoFormat()
    assert [one.reason for one in whole[3:]] == ["no_sample"] * 2
    assert [list(kind.part(path, IMAGES, at, 2)) for at in (4, 2, 0)] == [
        whole[4:],
        whole[2:4],
        whole[:2],
    ]
