"""Leaks are found by bytes, by look and by words, and said of the benchmark they belong to."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genixer.data import ImageRef, Origin, Sample, Turn
from genixer.errors import ConfigError
from genixer.filters import decontaminate
from genixer.filters.decontaminate import (
    DecontaminateFilter,
    DecontaminateSettings,
    Finding,
    Leak,
    LeakFinder,
    leak_table,
)
from genixer.filters.leak_index import HashedItem, LeakIndex, LeakIndexBuilder, picture_key
from genixer.filters.ngrams import NGrams
from genixer.store.perceptual import picture_hash_of_file

QUESTION = "Going by the shadows of the trees, at what time of the day was this picture taken?"


def picture(folder: Path, name: str, seed: int, **known: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((200, 150), Image.Resampling.BICUBIC)
    image.save(folder / name, **known)


def sample(path: str, question: str = "What is it?", sha256: str = "") -> Sample:
    turns = Turn("user", question), Turn("assistant", "a cup")
    return Sample.of("common_vqa", ImageRef(path, 200, 150, sha256 or path), turns, Origin("t"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name, seed in (("test.png", 1), ("copy.jpg", 1), ("other.png", 2), ("third.png", 3)):
        picture(tmp_path, name, seed)
    Image.new("RGB", (50, 50), "white").save(tmp_path / "white.png")
    Image.new("RGB", (60, 50), "grey").save(tmp_path / "grey.png")
    return tmp_path


@pytest.fixture
def index(images: Path) -> LeakIndex:
    builder = LeakIndexBuilder(words=13, common_above=3)
    look = picture_hash_of_file(images, "test.png")
    runs = tuple(NGrams(13, short=False).of([QUESTION])[0].tolist())
    builder.add(HashedItem("1", "pope", picture_key("test.png"), look, runs, True))
    builder.add(HashedItem("2", "rec", picture_key("test.png"), look))
    builder.add(HashedItem("3", "rec", picture_key("white.png")))
    (images / "a.leaks").write_bytes(builder.build())
    return LeakIndex(images / "a.leaks")


def leaks(index: LeakIndex, images: Path, *samples: Sample) -> list[list[tuple[str, str]]]:
    found = LeakFinder(index).find(samples, images)
    return [[(leak.benchmark, leak.by) for leak in one.leaks] for one in found]


def test_words_alone_leak_by_words_alone(index: LeakIndex, images: Path) -> None:
    def alone(question: str) -> Sample:
        turns = Turn("user", question), Turn("assistant", "noon")
        return Sample.of("md", None, turns, Origin("t"))

    assert leaks(index, images, alone(QUESTION), alone("What is it?")) == [[("pope", "words")], []]
    found = leaks(index, images, alone("Well?"), sample("test.png"), alone(QUESTION))
    assert [bool(one) for one in found] == [False, True, True]


def test_bytes_and_look_and_words_are_told_apart(index: LeakIndex, images: Path) -> None:
    found = leaks(
        index,
        images,
        sample("test.png"),
        sample("copy.jpg"),
        sample("other.png", f"Well. {QUESTION.upper()} Say."),
        sample("white.png"),
    )
    assert found == [
        [("pope", "bytes"), ("pope", "look"), ("rec", "bytes"), ("rec", "look")],
        [("pope", "look"), ("rec", "look")],
        [("pope", "words")],
        [("rec", "bytes")],
    ]


def test_what_no_benchmark_holds_is_clean(index: LeakIndex, images: Path) -> None:
    clean = [
        sample("other.png"),
        sample("third.png", "What time of the day was this picture taken?"),
        sample("grey.png"),
    ]
    assert leaks(index, images, *clean) == [[], [], []]
    assert LeakFinder(index).find([], images) == []


def test_answers_of_the_model_are_not_questions(index: LeakIndex, images: Path) -> None:
    turns = Turn("user", "Say something."), Turn("assistant", QUESTION)
    one = Sample.of("common_vqa", ImageRef("third.png", 1, 1, "x"), turns, Origin("t"))
    assert leaks(index, images, one) == [[]]


def test_any_question_of_a_dialogue_counts(index: LeakIndex, images: Path) -> None:
    talk = (Turn("user", "Hi"), Turn("assistant", "Yes?"), Turn("user", QUESTION))
    one = Sample.of("md", ImageRef("third.png", 1, 1, "x"), talk, Origin("t"))
    assert leaks(index, images, one) == [[("pope", "words")]]


def test_distance_says_how_alike_is_the_same(index: LeakIndex, images: Path) -> None:
    picture(images, "rough.jpg", 1, quality=2)
    [near] = LeakFinder(index, distance=11).find([sample("rough.jpg")], images)
    assert near.leaks
    bits = near.leaks[0].bits
    assert bits > 0
    for distance in (bits - 1, bits):
        [one] = LeakFinder(index, distance).find([sample("rough.jpg")], images)
        assert bool(one.leaks) == (distance >= bits)


def test_a_picture_is_looked_at_once_and_forgotten_when_there_are_many(
    index: LeakIndex, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    real = decontaminate.picture_hash_of_file

    def counting(root: Path, path: str) -> int | None:
        looked.append(path)
        return real(root, path)

    monkeypatch.setattr(decontaminate, "picture_hash_of_file", counting)
    monkeypatch.setattr(decontaminate, "_REMEMBERED", 2)
    finder = LeakFinder(index)
    names = ["test.png", "test.png", "other.png", "third.png"]
    finder.find([sample(name) for name in names], images)
    finder.find([sample("third.png")], images)
    finder.find([sample("test.png")], images)
    assert looked == ["test.png", "other.png", "third.png", "test.png"]


def test_reasons_name_the_picture_before_the_question(index: LeakIndex, images: Path) -> None:
    judge = DecontaminateFilter(DecontaminateSettings(index=str(images / "a.leaks"))).judge
    rows = [
        sample("test.png", QUESTION),
        sample("other.png", QUESTION),
        sample("gone.png"),
        sample("gone.png", QUESTION, sha256="test.png"),
        sample("third.png"),
    ]
    assert [one.reason for one in judge(rows, images)] == [
        "benchmark_picture",
        "benchmark_question",
        "missing_image",
        "benchmark_picture",
        "",
    ]


def test_the_table_counts_samples_by_benchmark_and_way(index: LeakIndex) -> None:
    findings = [
        Finding((Leak("pope", "bytes"), Leak("pope", "look"), Leak("rec", "look", 2))),
        Finding((Leak("pope", "words"),)),
        Finding(problem="missing_image"),
    ]
    table = leak_table(LeakFinder(index, 6), 10, findings)
    assert (table.rows, table.leaked, table.unreadable) == (13, 2, 1)
    assert (table.distance, table.words, table.index) == (6, 13, index.digest)
    pope, rec = table.benchmarks
    assert (pope.rows, pope.by_bytes, pope.by_look, pope.by_words) == (2, 1, 1, 1)
    assert (rec.rows, rec.by_bytes, rec.by_look, rec.by_words) == (1, 0, 1, 0)
    assert (rec.benchmark, rec.pictures, rec.questions) == ("rec", 2, 0)


def test_a_missing_index_is_named(images: Path) -> None:
    judge = DecontaminateFilter(DecontaminateSettings(index=str(images / "gone.leaks"))).judge
    with pytest.raises(ConfigError, match=r"gone\.leaks"):
        judge([sample("test.png")], images)
