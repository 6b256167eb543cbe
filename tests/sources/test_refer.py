import json
import pickle
import tracemalloc
from pathlib import Path

import pytest

from genixer.data import Quarantined, Sample
from genixer.errors import ConfigError
from genixer.sources.grounding import RefCoco
from genixer.sources.refer import refer_file

FIXTURES = Path(__file__).parents[1] / "fixtures"
SOURCES = FIXTURES / "sources"
REFS = json.loads((SOURCES / "refs.json").read_text())


def rows(path):
    settings = {"refs": path, "instances": SOURCES / "instances.json"}
    return list(RefCoco(RefCoco.Settings(images=FIXTURES / "images", **settings)).read())


def write(tmp_path, data):
    path = tmp_path / "refs(unc).p"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_the_published_pickle_gives_the_rows_of_the_json(tmp_path, protocol):
    found = rows(write(tmp_path, pickle.dumps(REFS, protocol)))
    assert found == rows(SOURCES / "refs.json")
    assert all(isinstance(row, Sample) for row in found)


def test_the_pickle_shipped_as_a_fixture_is_as_python_2_wrote_it():
    path = SOURCES / "refs(unc).p"
    assert path.read_bytes().startswith(b"(lp0\n(dp1\nS'sent_ids'\n")
    assert [row.turns for row in rows(path)] == [row.turns for row in rows(SOURCES / "refs.json")]


def test_a_broken_reference_in_a_pickle_is_one_row_with_its_place(tmp_path):
    bad = [
        {**REFS[0], "ref_id": 11, "ann_id": 10**400},
        {**REFS[0], "ref_id": 12, "image_id": float("nan")},
        {**REFS[0], "ref_id": 13, "sentences": [{"sent": "a \udcff b"}]},
        {**REFS[0], "ref_id": 14, "sentences": [{"sent": "a \ud800 b"}]},
        "no dict",
        REFS[0],
    ]
    data = pickle.dumps([*REFS, *bad], 0)
    found = [row for row in rows(write(tmp_path, data)) if isinstance(row, Quarantined)]
    assert list(dict.fromkeys((row.where, row.reason) for row in found)) == [
        ("refs(unc).p[3]", "unknown_annotation"),
        ("refs(unc).p[4]", "not_json"),
        ("refs(unc).p[5]", "not_utf8"),
        ("refs(unc).p[6]", "not_utf8"),
        ("refs(unc).p[7]", "bad_entry"),
        ("refs(unc).p[8]", "duplicate_id"),
    ]


class Evil:
    def __reduce__(self):
        return print, ("owned",)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([Evil()], "not plain data"),
        ({"refs": REFS}, "got a dict"),
        ("refs", "got a str"),
    ],
)
def test_a_pickle_that_is_no_list_of_plain_data_is_a_config_error(value, message, tmp_path, capsys):
    with pytest.raises(ConfigError, match=rf"refs\(unc\)\.p: refused: .*{message}"):
        rows(write(tmp_path, pickle.dumps(value, 2)))
    assert capsys.readouterr().out == ""


def test_a_list_that_holds_itself_or_doubles_without_end_is_refused_in_little_memory(tmp_path):
    loop: list[object] = []
    loop.append(loop)
    bomb: list[object] = ["lol" * 1000]
    for _ in range(12):
        bomb = [*bomb * 10] if len(bomb) == 1 else [bomb] * 10
    tracemalloc.start()
    for value in ([loop], [bomb]):
        with pytest.raises(ConfigError, match="holds itself, or the same things too often"):
            refer_file(write(tmp_path, pickle.dumps(value, 2)))
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_cut_pickle_is_a_config_error(tmp_path):
    whole = pickle.dumps(REFS, 2)
    for size in (2, len(whole) // 2, len(whole) - 1):
        with pytest.raises(ConfigError, match="refused"):
            refer_file(write(tmp_path, whole[:size]))


def test_a_reference_is_not_held_twice_for_its_own_words(tmp_path):
    file = refer_file(write(tmp_path, pickle.dumps(REFS, 2)))
    assert json.loads(file.raw(1)) == REFS[1]
    assert file.places[1] == "refs(unc).p[1]"
