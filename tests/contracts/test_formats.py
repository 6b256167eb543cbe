"""What every format in the registry owes, plugins included."""

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genixer.data import Box, ImageRef, Origin, Point, Quarantined, Sample, Turn
from genixer.errors import ConfigError, LossError
from genixer.formats import FORMATS
from genixer.frames import FRAMES
from genixer.marks import count_marks
from genixer.store.images import ImageCatalog
from genixer.tasks.grammar import join_marks

IMAGES = Path(__file__).parents[1] / "fixtures" / "images"
# Exact on the grid of every format; boxes anywhere are drawn below.
ON_GRID = Box(0.0, 0.0, 1.0, 1.0)
ORIGIN = Origin("genixer", "CC0", ("p1",), "base", "r1", "d1", "specific", 3, "", {"judge": 0.75})
HOSTILE = [
    *("<image>", "<image>\n", "<video>", "<box>", "<point>", "\\<box>", "\\", "<boxes>", "<bbox>"),
    *("<ref-object>", "<ref>cat</ref>", "<box>(1,2),(3,4)</box>", "<img>x</img>", "<|box_start|>"),
    *(
        "<loc0001>",
        "<loc",
        "0001>",
        "<seg001>",
        "[0.1,0.2,0.3,0.4]",
        "[1",
        ",2]",
        "(1,2)",
        "<",
        ">",
    ),
    *(
        " ",
        "\n",
        "\r",
        "\t",
        "",
        ", ",
        ".",
        "é",
        "日本",
        "\u2028",
        "\x00",
        '"',
        "{}",
        "</s>",
        "=1+1",
        "@x",
    ),
]

names = pytest.mark.parametrize("name", sorted(FORMATS))


def ask(task, *texts, boxes=(), path="1.png", origin=ORIGIN):
    image: ImageRef = ImageCatalog(IMAGES).ref(path)
    turns = [
        Turn("assistant" if at % 2 else "user", text, boxes if count_marks(text)[0] else ())
        for at, text in enumerate(texts)
    ]
    return Sample.of(task, image, tuple(turns), origin)


SAMPLES = [
    ask("common_vqa", "What is it?", "a cat"),
    ask("common_vqa", " spaces \n", "stay\n\n", path="2.png"),
    ask("adv_vqa", "Is there a cat?", "no", origin=Origin("pope", "MIT")),
    ask("mc_vqa", "What?\nA. a\nB. b", "B"),
    ask("md", "What?", "A cat: é 日本 \u2028.", "Old?", 'No, "new" \\ {x}.'),
    ask("md", "Only one?", "Yes."),
    ask("rec", "Where is it?", "<box>", boxes=(ON_GRID,)),
    ask("reg", "What is at <box>?", "a \\<bok> cat", boxes=(ON_GRID,)),
    ask("dense_caption", "List.", "cat <box>, dog <box>", boxes=(ON_GRID, ON_GRID)),
]


def load(name, **values):
    return FORMATS.load(name)(FORMATS.settings(name, values))


def endings(name):
    return FORMATS.load(name).endings


def place(folder, ending):
    return folder / (f"out.{ending}" if ending else "out")


def carried(name, tmp_path):
    """Samples that the format can carry; grounding and one question are what each must."""
    fits = [
        sample
        for sample in SAMPLES
        if load(name).write([sample], place(tmp_path / "one", endings(name)[0]), IMAGES)["written"]
    ]
    assert {sample.task for sample in fits} >= {"rec", "reg"}
    return fits


@names
def test_what_is_written_is_read_back_whole(name, tmp_path):
    samples = carried(name, tmp_path)
    for ending in endings(name):
        out = place(tmp_path / "deep" / ending, ending)
        assert load(name).write(iter(samples), out, IMAGES) == {"written": len(samples)}
        assert list(load(name).read(out, IMAGES)) == samples


@names
def test_the_same_samples_are_the_same_bytes(name, tmp_path):
    trees = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        load(name).write(SAMPLES, place(folder, endings(name)[0]), IMAGES)
        trees.append(tree(folder))
    assert trees[0] == trees[1]
    assert str(tmp_path).encode() not in b"".join(trees[0].values())


def tree(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@names
def test_sidecars_say_where_rows_come_from_and_whom_to_name(name, tmp_path):
    samples = carried(name, tmp_path)
    out = place(tmp_path, endings(name)[0])
    load(name).write(samples, out, IMAGES)
    rows = out.with_name(f"{out.name}.provenance.jsonl").read_bytes().splitlines()
    assert [sample.id in row.decode() for sample, row in zip(samples, rows, strict=True)] == [
        True for _ in samples
    ]
    said = out.with_name(f"{out.name}.attribution.txt").read_text().splitlines()[1:]
    pope = sum(sample.origin.source == "pope" for sample in samples)
    assert said == [
        f"{len(samples) - pope} rows from genixer, written by the model base: CC0",
        *([f"{pope} rows from pope: MIT"] if pope else []),
    ]


@names
def test_what_cannot_be_carried_is_counted_and_not_written(name, tmp_path):
    samples = carried(name, tmp_path)
    hostile = [ask("reg", "What is <image> at <box>?", "a cat", boxes=(ON_GRID,)), *samples]
    out = place(tmp_path, endings(name)[0])
    done = load(name).write(hostile, out, IMAGES)
    assert done == {"written": len(samples), "image_mark": 1}
    assert list(load(name).read(out, IMAGES)) == samples


@names
def test_a_strict_export_is_all_or_nothing(name, tmp_path):
    samples = carried(name, tmp_path)
    hostile = ask("reg", "What is <image> at <box>?", "a cat", boxes=(ON_GRID,))
    out = place(tmp_path / "strict", endings(name)[0])
    with pytest.raises(
        LossError, match=rf"1 of {len(samples) + 1} rows.*image_mark 1.*{hostile.id}"
    ):
        load(name, strict=True).write([*samples, hostile], out, IMAGES)
    assert tree(tmp_path / "strict") == {}
    assert load(name, strict=True).write(samples, out, IMAGES) == {"written": len(samples)}
    assert list(load(name, strict=True).read(out, IMAGES)) == samples


CARRY_WORDS = {
    *("axolotl", "llama_factory", "llava", "messages", "ms_swift", "qwen_json", "sharegpt"),
}
"""Formats whose rows may be without an image."""


@names
def test_words_alone_are_carried_whole_or_counted_by_name(name, tmp_path):
    turns = (
        Turn("user", "Is [0.1,0.2,0.3,0.4] a list?"),
        Turn("assistant", "Yes, a \\<box> is not."),
    )
    alone = Sample.of("md", None, turns, ORIGIN)
    marked = Sample.of("md", None, (Turn("user", "<image>?"), Turn("assistant", "b")), ORIGIN)
    seen = carried(name, tmp_path)
    for ending in endings(name):
        out = place(tmp_path / "words" / ending, ending)
        done = load(name).write([alone, *seen, marked], out, IMAGES)
        kept = [alone, *seen] if name in CARRY_WORDS else seen
        assert list(load(name).read(out, IMAGES)) == kept
        refused = {"coco": {"no_boxes": 2}}.get(name, {"no_image": 2})
        if name in CARRY_WORDS:
            refused = {"image_mark": 1}
        assert done == {"written": len(kept), **refused}


@names
def test_nothing_is_a_file_too(name, tmp_path):
    for ending in endings(name):
        out = place(tmp_path / ending, ending)
        assert load(name).write([], out, IMAGES) == {"written": 0}
        if ending != "jsonl":
            assert list(load(name).read(out, IMAGES)) == []


@names
def test_a_failure_half_way_leaves_the_old_files(name, tmp_path):
    out = place(tmp_path, endings(name)[0])
    load(name).write(SAMPLES, out, IMAGES)
    before = tree(tmp_path)

    def breaking():
        yield SAMPLES[6]
        raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError, match="plug"):
        load(name).write(breaking(), out, IMAGES)
    assert tree(tmp_path) == before


@names
@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1}', b"\xff\xfe\x00"])
def test_a_file_of_another_kind_is_a_config_error_that_names_it(name, content, tmp_path):
    for ending in endings(name):
        path = tmp_path / f"wrong.{ending}"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="wrong"):
            list(load(name).read(path, IMAGES))


@names
def test_a_file_that_is_not_there_is_a_config_error(name, tmp_path):
    for ending in endings(name):
        with pytest.raises(ConfigError, match="nowhere"):
            list(load(name).read(tmp_path / f"nowhere.{ending}", IMAGES))


CORNERS = st.lists(st.floats(0, 1), min_size=4, max_size=4).map(
    lambda at: Box(min(at[:2]), min(at[2:]), max(at[:2]), max(at[2:]))
)
POINTS = st.builds(Point, st.floats(0, 1), st.floats(0, 1))
WORDS = st.lists(st.sampled_from(HOSTILE) | st.text("ab <>[]\\.,\n", max_size=4), max_size=4).map(
    "".join
)


@st.composite
def turns(draw, role):
    """A turn of hostile words; marks stand anywhere, in groups or not."""
    kinds = draw(st.lists(st.sampled_from(["box", "box", "point"]), max_size=4))
    pieces = [draw(WORDS) for _ in range(len(kinds) + 1)]
    groups, left = [], kinds.count("box")
    while left and draw(st.booleans()):
        groups.append(draw(st.integers(1, left)))
        left -= groups[-1]
    return Turn(
        role,
        join_marks(pieces, kinds),
        tuple(draw(CORNERS) for kind in kinds if kind == "box"),
        tuple(draw(POINTS) for kind in kinds if kind == "point"),
        () if left else tuple(groups),
    )


@st.composite
def samples(draw):
    pairs = draw(st.integers(1, 2))
    said = [draw(turns(role)) for role in ("user", "assistant") * pairs]
    task = draw(st.sampled_from(["dense_caption", "rec", "md"]))
    image = ImageCatalog(IMAGES).ref(draw(st.sampled_from(["1.png", "2.png"])))
    return Sample.of(task, image, tuple(said), ORIGIN)


def frames(name):
    """Settings for every frame that the format may be told to write."""
    field = FORMATS.load(name).Settings.model_fields.get("frame")
    known = get_args(field.annotation) or (*FRAMES, "resized_28_3136_12845056") if field else ()
    return [{"frame": frame} for frame in known] or [{}]


def words(sample):
    return (
        sample.task,
        sample.image,
        [(t.role, t.text, t.groups) for t in sample.turns],
        sample.origin,
    )


def corners(sample):
    return [
        (at, size)
        for turn in sample.turns
        for one in (*turn.boxes, *turn.points)
        for at, size in zip(
            (one.x0, one.y0, one.x1, one.y1) if isinstance(one, Box) else (one.x, one.y),
            (sample.image.width, sample.image.height) * 2,
            strict=False,
        )
    ]


@names
@settings(max_examples=60)
@given(data=st.data())
def test_hostile_rows_come_back_whole_or_are_refused(name, data, tmp_path_factory):
    """Words exactly, places no farther than was reported, and exactly once they are on the grid."""
    values = data.draw(st.sampled_from(frames(name)))
    out = place(tmp_path_factory.mktemp("law"), endings(name)[-1])
    sample = data.draw(samples())
    done = load(name, **values).write([sample], out, IMAGES)
    if not done["written"]:
        assert sum(done.values()) == 1
        return
    (back,) = load(name, **values).read(out, IMAGES)
    assert isinstance(back, Sample), back
    assert words(back) == words(sample)
    moved = [
        abs(one - other) * size
        for (one, size), (other, _) in zip(corners(sample), corners(back), strict=True)
    ]
    rounding = getattr(done, "rounding", None)
    assert max(moved, default=0) <= (rounding.largest_px if rounding else 0) + 1e-5
    again = load(name, **values).write([back], out, IMAGES)
    assert again == {"written": 1}
    assert getattr(again, "rounding", None) is None or again.rounding.moved == 0
    assert list(load(name, **values).read(out, IMAGES)) == [back]


@names
def test_how_far_boxes_move_is_told(name, tmp_path):
    out = place(tmp_path, endings(name)[0])
    exact = load(name).write([ask("rec", "Where?", "<box>", boxes=(ON_GRID,))], out, IMAGES)
    odd = Box(1 / 3, 1 / 7, 0.777777, 0.999123)
    done = load(name).write([ask("rec", "Where?", "<box>", boxes=(odd,))], out, IMAGES)
    (back,) = load(name).read(out, IMAGES)
    found = back.turns[1].boxes[0]
    far = max(abs(found.x0 - odd.x0) * 64, abs(found.x1 - odd.x1) * 64)
    if exact.rounding.seen == 0:  # exact numbers stand beside the text
        assert far == 0
        return
    assert (exact.rounding.seen, exact.rounding.moved) == (1, 0)
    assert (done.rounding.seen, done.rounding.moved) == (1, 1)
    assert far <= done.rounding.largest_px + 1e-9 < 1.0
    assert "moved to the grid" in str(done.rounding)


@names
def test_a_missing_image_is_quarantined_where_it_is_named(name, tmp_path):
    if not set(endings(name)) & {"json", "jsonl", "csv"}:
        pytest.skip("the images are inside")
    out = place(tmp_path, endings(name)[0])
    load(name).write([SAMPLES[6]], out, IMAGES)
    (row,) = load(name).read(out, tmp_path)
    assert isinstance(row, Quarantined)
    assert row.where.startswith(out.name)
    assert row.reason == "missing_image"
    assert SAMPLES[6].id in row.raw
