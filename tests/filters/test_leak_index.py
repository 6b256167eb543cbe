"""An index of hashes gives back what was put in; equal input makes equal bytes."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genixer.errors import ConfigError, StoreError
from genixer.filters import leak_index
from genixer.filters.leak_index import HashedItem, LeakIndex, LeakIndexBuilder, picture_key

big = st.integers(0, 2**64 - 1)
few = st.sampled_from([0, 1, 2**63, 2**64 - 1])
items = st.lists(
    st.builds(
        HashedItem,
        st.just("id"),
        st.sampled_from(["pope", "rec", "mme"]),
        few | big,
        st.none() | few | big,
        st.lists(few | big, max_size=4).map(tuple),
        st.just(True),
    ),
    max_size=20,
)


def built(items, words: int = 13, common_above: int = 1000) -> bytes:
    builder = LeakIndexBuilder(words, common_above)
    for item in items:
        builder.add(item)
    return builder.build()


def opened(folder: Path, data: bytes) -> LeakIndex:
    path = folder / f"{random.getrandbits(64)}.leaks"
    path.write_bytes(data)
    return LeakIndex(path)


def found(index: LeakIndex, kind, keys) -> set[tuple[int, str]]:
    asked, of = index.find(kind, np.array(keys, dtype="<u8"))
    return {(keys[at], index.benchmarks[number].name) for at, number in zip(asked, of, strict=True)}


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(items)
def test_what_was_put_in_is_found_under_its_benchmark_and_nothing_else(tmp_path, items) -> None:
    index = opened(tmp_path, built(items))
    keys = [0, 5, *(item.picture for item in items)]
    assert found(index, "pictures", keys) == {(one.picture, one.benchmark) for one in items}
    runs = [7, *(run for item in items for run in item.runs)]
    assert found(index, "runs", runs) == {(run, one.benchmark) for one in items for run in one.runs}
    looks = [item.look for item in items if item.look is not None]
    asked, of, bits = index.near(np.array(looks, dtype="<u8"), 0)
    near = {(looks[at], index.benchmarks[n].name) for at, n in zip(asked, of, strict=True)}
    assert near == {(one.look, one.benchmark) for one in items if one.look is not None}
    assert not bits.any()


@settings(max_examples=30)
@given(items, st.randoms(use_true_random=False))
def test_equal_items_give_equal_bytes_in_any_order_of_rows(items, rng) -> None:
    # Benchmarks are numbered as they come, so theirs is the one order that counts.
    items = sorted(items, key=lambda one: one.benchmark)
    shuffled = items[:]
    rng.shuffle(shuffled)
    shuffled.sort(key=lambda one: one.benchmark)
    assert built(items) == built(shuffled)


def test_an_entry_counts_what_is_known_of_its_benchmark(tmp_path: Path) -> None:
    rows = [
        HashedItem("1", "pope", 1, 8, (), True),
        HashedItem("2", "pope", 1, 8, (5, 5, 6), True),
        HashedItem("3", "pope", 2, None, (5,), True),
        HashedItem("4", "mme", 2),
    ]
    pope, mme = opened(tmp_path, built(rows)).benchmarks
    assert (pope.name, pope.pictures, pope.plain) == ("pope", 2, 1)
    assert (pope.questions, pope.short, pope.common) == (3, 1, 0)
    assert (mme.pictures, mme.plain, mme.questions) == (1, 1, 0)


def test_runs_that_many_questions_share_are_left_out(tmp_path: Path) -> None:
    rows = [HashedItem(str(n), "gqa", n, None, (1, 1, 100 + n), True) for n in range(4)]
    rows.append(HashedItem("x", "mme", 9, None, (1,), True))
    index = opened(tmp_path, built(rows, common_above=3))
    assert found(index, "runs", [1, 100, 103]) == {(1, "mme"), (100, "gqa"), (103, "gqa")}
    assert [one.common for one in index.benchmarks] == [1, 0]


def test_nothing_but_hashes_names_and_counts_is_in_the_file() -> None:
    data = built([HashedItem("secret-id", "pope", picture_key("ab"), 3, (4,), True)])
    assert b"secret" not in data
    assert b"pope" in data
    assert len(data) < 500


def test_every_changed_or_missing_byte_is_noticed(tmp_path: Path) -> None:
    data = built([HashedItem("1", "pope", 1, 2, (3,), True)])
    for at in range(8, len(data)):
        with pytest.raises(StoreError, match="make it again"):
            opened(tmp_path, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    for end in (8, 20, 24, len(data) - 1):
        with pytest.raises(StoreError, match="make it again"):
            opened(tmp_path, data[:end])


@pytest.mark.parametrize("data", [b"", b"gx", b"PK\3\4 a zip file of some sort"])
def test_what_is_no_index_is_refused_with_the_way_out(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ConfigError, match="stage leak_index"):
        opened(tmp_path, data)


def test_a_missing_file_and_another_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.leaks: no leak index"):
        LeakIndex(tmp_path / "gone.leaks")
    data = built([])
    with pytest.raises(ConfigError, match="format 2, this version reads 1"):
        opened(tmp_path, data[:7] + b"\2" + data[8:])


def test_more_benchmarks_than_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leak_index, "_MOST_BENCHMARKS", 2)
    with pytest.raises(ConfigError, match="make two indexes"):
        built([HashedItem(str(n), str(n), 1) for n in range(3)])
