"""The dedup stage keeps the first of each, and says for whom the others went."""

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from genixer.data import Box, ImageRef, Origin, Sample, Turn, content_id, decode_row
from genixer.errors import DataError
from genixer.stages import duplicates
from genixer.stages.dedup import DedupSettings, DedupStage
from genixer.stages.duplicates import Group

LONG = "the {} red cup stands on the table to the left of the small brown dog near the {} window"


def sample(
    question: str, answer: str = "yes", picture: str = "a.png", box: float | None = None
) -> Sample:
    boxes = () if box is None else (Box(box, 0.1, 0.5, 0.5),)
    turns = Turn("user", question, boxes), Turn("assistant", answer)
    image = ImageRef(picture, 9, 9, content_id(picture.partition("@")[0]))
    return Sample.of("common_vqa", image, turns, Origin(picture))


ROWS = [
    *(sample("New?"), sample("Old?"), sample("new", "no")),
    *(sample("Old ?"), sample("Red?"), sample("NEW?", picture="a.png@2")),
    sample("New?", picture="b.png"),
]


def fates(step) -> dict[str, str]:
    return {one.id: one.reason for one in step.rejects}


def groups(step) -> list[Group]:
    return [
        decode_row(line, Group) for line in (step.files / "groups.jsonl").read_bytes().splitlines()
    ]


def test_words_alone_are_the_same_by_their_words(run_stage) -> None:
    def alone(question: str) -> Sample:
        return Sample.of("md", None, sample(question).turns, Origin("sharegpt"))

    rows = [alone("New?"), sample("New?"), alone("Old?"), alone("new?")]
    for by in ("question", "content"):
        settings = DedupSettings(by=by, picture_distance=0, word_overlap=0.5)
        done = run_stage(DedupStage(settings), rows, name=f"by-{by}")
        assert fates(done) == {rows[3].id: "duplicate"}
    looked = run_stage(DedupStage(DedupSettings(by="image", picture_distance=2)), rows, name="look")
    assert fates(looked) == {}


def told(step) -> list[tuple[str, list[str]]]:
    return [(one.kept, [row.id for row in one.dropped]) for one in groups(step)]


@pytest.mark.parametrize("shard", [1, 2, 4, 512])
def test_the_first_of_each_question_about_a_picture_is_kept_in_order(run_stage, shard) -> None:
    step = run_stage(DedupStage(DedupSettings()), ROWS, shard=shard)
    texts = [s.turns[0].text for s in step.rows(Sample)]
    assert texts == ["New?", "Old?", "Red?", "New?"]
    assert [r.reason for r in step.rejects] == ["duplicate"] * 3


def test_with_content_another_answer_is_another_sample(run_stage) -> None:
    step = run_stage(DedupStage(DedupSettings(by="content")), ROWS)
    assert len(step.kept) == 5


def test_a_table_says_which_rows_form_a_group_and_which_was_kept(run_stage) -> None:
    step = run_stage(DedupStage(DedupSettings()), ROWS, shard=4)
    assert told(step) == [
        (ROWS[0].id, [ROWS[2].id, ROWS[5].id]),
        (ROWS[1].id, [ROWS[3].id]),
    ]
    assert {row.reason for one in groups(step) for row in one.dropped} == {"duplicate"}


def test_no_rows_make_empty_tables(run_stage) -> None:
    step = run_stage(DedupStage(DedupSettings(word_overlap=0.5)), [])
    assert (step.kept, told(step)) == ([], [])


TEXTS = [
    *(LONG.format(*two) for two in (("big", "old"), ("big", "new"), ("tall", "old"))),
    "what colour is the dog that sits under the table in the middle of the garden",
]
NEAR = [sample(text) for text in TEXTS]


def test_texts_that_share_most_of_their_words_are_one(run_stage) -> None:
    stage = DedupStage(DedupSettings(word_overlap=0.6))
    step = run_stage(stage, NEAR)
    assert fates(step) == dict.fromkeys([NEAR[1].id, NEAR[2].id], "near_duplicate")
    [group] = groups(step)
    assert group.kept == NEAR[0].id
    assert [row.overlap for row in group.dropped] == [0.8] * 2


def test_equal_texts_without_words_are_one_and_share_nothing_to_speak_of(run_stage) -> None:
    settings = DedupSettings(word_overlap=0.6, across_pictures=True)
    step = run_stage(DedupStage(settings), [sample("?"), sample("!", picture="b.png")])
    [group] = groups(step)
    assert [(row.reason, row.overlap) for row in group.dropped] == [("near_duplicate", None)]


def test_near_texts_about_other_pictures_or_boxes_stay(run_stage) -> None:
    rows = [
        sample(TEXTS[0]),
        sample(TEXTS[1], picture="b.png"),
        sample(f"<box> {TEXTS[0]}", box=0.1),
        sample(f"<box> {TEXTS[0]}", box=0.3),
    ]
    assert run_stage(DedupStage(DedupSettings(word_overlap=0.6)), rows).rejects == []
    settings = DedupSettings(word_overlap=0.6, across_pictures=True)
    step = run_stage(DedupStage(settings), rows, name="across")
    assert fates(step) == {rows[1].id: "near_duplicate"}


def test_equal_words_about_another_picture_are_no_duplicate_unless_asked(run_stage) -> None:
    rows = [sample("New?"), sample("new", picture="b.png")]
    assert run_stage(DedupStage(DedupSettings()), rows).rejects == []
    step = run_stage(DedupStage(DedupSettings(across_pictures=True)), rows, name="across")
    assert fates(step) == {rows[1].id: "near_duplicate"}


def picture(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((160, 120), Image.Resampling.BICUBIC)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed, name in enumerate("ab"):
        picture(seed).save(folder / f"{name}.png")
        picture(seed).save(folder / f"{name}.jpg", quality=70)
        picture(seed).resize((100, 75)).save(folder / f"{name}_small.png")
    Image.new("RGB", (64, 64), "white").save(folder / "white.png")
    Image.new("RGB", (65, 64), "black").save(folder / "black.png")
    return folder


SEEN = [
    *(sample("New?", picture="a.png"), sample("Old?", picture="a.png")),
    *(sample("New?", picture="b.png"), sample("NEW", picture="a.jpg")),
    *(sample("Red?", picture="a_small.png"), sample("new", picture="a.png")),
    *(sample("New?", picture="white.png"), sample("New?", picture="black.png")),
]


def test_pictures_that_look_the_same_are_one_picture(run_stage, pictures: Path) -> None:
    step = run_stage(DedupStage(DedupSettings(picture_distance=4)), SEEN, images=pictures)
    assert fates(step) == {SEEN[3].id: "near_duplicate", SEEN[5].id: "duplicate"}
    [group] = groups(step)
    assert group.kept == SEEN[0].id
    assert [row.id for row in group.dropped] == [SEEN[3].id, SEEN[5].id]
    assert group.dropped[0].bits in range(5)
    assert group.dropped[1].bits is None


def test_by_image_all_about_the_first_picture_of_a_group_stay(run_stage, pictures: Path) -> None:
    stage = DedupStage(DedupSettings(by="image", picture_distance=4))
    step = run_stage(stage, SEEN, images=pictures)
    assert fates(step) == dict.fromkeys([SEEN[3].id, SEEN[4].id], "near_duplicate")
    assert told(step) == [(SEEN[0].id, [SEEN[3].id, SEEN[4].id])]


def test_a_picture_that_cannot_be_opened_equals_its_bytes_alone(
    run_stage, pictures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [sample("New?", picture=name) for name in ("gone.png", "gone.jpg", "gone.png@2")]
    rows[2] = rows[0]
    with caplog.at_level(logging.WARNING):
        step = run_stage(DedupStage(DedupSettings(picture_distance=4)), rows, images=pictures)
    assert [one.reason for one in step.rejects] == ["duplicate"]
    assert "only their bytes were compared of: 2 missing_image" in caplog.text


words = st.sampled_from(["red", "cup", "dog", "left", "of"])
somewhere = st.sampled_from(["a.png", "b.png"])
some_rows = st.lists(
    st.builds(
        lambda text, answer, where: sample(" ".join(text), answer, where),
        *(st.lists(words, min_size=1, max_size=7), st.sampled_from(["yes", "no"]), somewhere),
    ),
    max_size=12,
)
some_settings = st.sampled_from(
    [
        {},
        {"by": "content"},
        {"word_overlap": 0.5, "run_words": 2},
        {"word_overlap": 0.4, "run_words": 1, "across_pictures": True},
    ]
)


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(some_rows, some_settings, st.integers(1, 5), st.integers(1, 3))
def test_the_result_depends_on_the_rows_alone(run_stage, tmp_path, rows, chosen, shard, batch):
    number = len(list(tmp_path.iterdir()))
    whole = run_stage(DedupStage(DedupSettings(**chosen)), rows, name=f"whole-{number}")
    before, duplicates._TOGETHER = duplicates._TOGETHER, batch
    try:
        parts = run_stage(
            DedupStage(DedupSettings(**chosen)), rows, name=f"parts-{number}", shard=shard
        )
    finally:
        duplicates._TOGETHER = before
    assert (whole.kept, whole.rejects) == (parts.kept, parts.rejects)
    assert told(whole) == told(parts)
    kept = [one.id for one in whole.rows(Sample)]
    dropped = [id for _, many in told(whole) for id in many]
    assert sorted(dropped) == sorted(one.id for one in whole.rejects)
    assert {first for first, _ in told(whole)} <= set(kept)
    again = run_stage(
        DedupStage(DedupSettings(**chosen)), list(whole.rows(Sample)), name=f"again-{number}"
    )
    assert again.rejects == [], "what stays has no likes among what stays"


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"by": "image"}, "set picture_distance"),
        ({"by": "image", "picture_distance": 3, "word_overlap": 0.5}, "looks at no text"),
        ({"across_pictures": True, "picture_distance": 3}, "looks at no picture"),
        ({"picture_distance": 12}, "less than or equal to 11"),
        ({"word_overlap": 0.1}, "greater than or equal to 0.2"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(chosen, message) -> None:
    with pytest.raises(ValidationError, match=message):
        DedupSettings(**chosen)


def test_a_table_that_is_cut_short_is_noticed(run_stage, tmp_path: Path) -> None:
    class Cut(DedupStage):
        def process(self, step, first, count, out):
            path = step.resolve(f"@{step.name}/fates.bin")
            path.write_bytes(path.read_bytes()[:-1])
            super().process(step, first, count, out)

    with pytest.raises(DataError, match=r"fates.bin: shorter than the input"):
        run_stage(Cut(DedupSettings()), ROWS)


def test_looking_at_pictures_is_estimated_to_take_longer() -> None:
    from genixer.stages.base import Estimate

    inputs = {"rows": [Estimate(1000, 1000)]}
    quick = DedupStage(DedupSettings()).estimate(inputs)
    slow = DedupStage(DedupSettings(picture_distance=4)).estimate(inputs)
    assert slow.seconds > 1 > quick.seconds > 0
