import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from genixer.data import (
    Box,
    Completion,
    Generation,
    ImageRef,
    Measured,
    Origin,
    Rejected,
    Request,
    Sample,
    Sampling,
    Turn,
    encode_row,
)
from genixer.report.gallery import GalleryBuilder

WIDE = ImageRef("wide.png", 640, 160, "aa")
GONE = ImageRef("gone.png", 64, 64, "bb")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    Image.new("RGB", (640, 160), (200, 40, 40)).save(tmp_path / "wide.png")
    return tmp_path


def sample(number: int, image: ImageRef = WIDE, **scores: float) -> Sample:
    turns = (
        Turn("user", rf"Where is <box> number {number} of \<box>?", (Box(0, 0, 0.5, 1),)),
        Turn("assistant", "<box>", (Box(0.25, 0.5, 1, 1),)),
    )
    return Sample.of("rec", image, turns, Origin("generated", mode="specific", scores=scores))


def none() -> Iterator[Measured]:
    return iter(())


def test_marks_are_numbered_over_all_turns_and_literal_ones_stay_text(images: Path) -> None:
    builder = GalleryBuilder(5, "judge")
    builder.keep("judge", [sample(1)])
    row = builder.gallery(images, none).rows[0]
    assert [word.parts for word in row.words] == [["Where is ", 0, " number 1 of <box>?"], [1]]
    assert row.marks == [[0.0, 0.0, 0.5, 1.0], [0.25, 0.5, 1.0, 1.0]]
    assert row.size == (640, 160)


def test_rejected_rows_are_read_back_from_plain_values(images: Path) -> None:
    one = sample(1, judge=0.2)
    plain = Rejected(one.id, "judge_said_no", json.loads(encode_row(one)), {"clip": 0.4})
    builder = GalleryBuilder(5, "judge")
    builder.refuse("judge", [plain])
    row = builder.gallery(images, none).rows[0]
    assert (row.outcome, row.reason, row.mode) == ("rejected", "judge_said_no", "specific")
    assert row.scores == {"judge": 0.2, "clip": 0.4}


def test_completion_that_did_not_parse_is_shown_as_it_came(images: Path) -> None:
    request = Request.of(WIDE, "reg", "agnostic", 0, "Ask.", Sampling())
    completion = Completion(request.id, "Question: <b>", (1,), (-0.1,), "length")
    one = Generation(request.id, request, completion)
    builder = GalleryBuilder(5, "judge")
    builder.refuse("decode", [Rejected(one.id, "no_answer", one)])
    row = builder.gallery(images, none).rows[0]
    assert (row.outcome, row.task, row.mode) == ("unreadable", "reg", "agnostic")
    assert [(word.role, word.parts) for word in row.words] == [("raw", ["Question: <b>"])]


def test_row_of_another_kind_is_passed_over(images: Path) -> None:
    builder = GalleryBuilder(5, "judge")
    builder.refuse("decode", [Rejected("x", "odd", {"some": "thing"})])
    assert builder.gallery(images, none).rows == []


def test_picture_is_a_small_data_uri_stored_once(images: Path) -> None:
    builder = GalleryBuilder(5, "judge")
    builder.keep("judge", [sample(1), sample(2)])
    gallery = builder.gallery(images, none)
    assert [row.image for row in gallery.rows] == [0, 0]
    assert len(gallery.pictures) == 1
    assert gallery.pictures[0].startswith("data:image/jpeg;base64,")


def test_row_whose_picture_is_gone_is_shown_without(images: Path) -> None:
    builder = GalleryBuilder(5, "judge")
    builder.keep("judge", [sample(1, GONE)])
    gallery = builder.gallery(images, none)
    assert (gallery.rows[0].image, gallery.pictures) == (-1, [])


def test_truth_reaches_the_row_and_the_tally(images: Path) -> None:
    right, wrong = sample(1, judge=0.9), sample(2, judge=0.8)
    measured = [
        Measured(right.id, "rec", "specific", "right"),
        Measured(wrong.id, "rec", "specific", "wrong", "it is on the left"),
    ]
    builder = GalleryBuilder(5, "judge")
    builder.know(measured)
    builder.keep("judge", [right, wrong])
    rows = {row.id: row for row in builder.gallery(images, lambda: iter(measured)).rows}
    assert (rows[right.id].truth, rows[wrong.id].detail) == ("right", "it is on the left")
    judge = builder.judge(0.5)
    assert judge is not None
    assert (judge.passing["rec"]["right"][170], judge.passing["rec"]["wrong"][170]) == (1, 0)


def test_total_counts_every_row_offered_and_kept_counts_tasks(images: Path) -> None:
    builder = GalleryBuilder(2, "judge")
    builder.keep("judge", [sample(number) for number in range(7)])
    builder.refuse("rules", [Rejected(sample(9).id, "box_too_small", sample(9))])
    gallery = builder.gallery(images, none)
    assert (gallery.total, len(gallery.rows)) == (8, 2)
    assert {row.outcome for row in gallery.rows} == {"kept", "rejected"}
    assert builder.kept == {"rec": 7}
