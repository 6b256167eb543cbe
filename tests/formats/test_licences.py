import pytest

from genixer.data import ImageRef, Origin, Sample, Turn
from genixer.errors import LicenceError
from genixer.formats.licences import LICENCES, Permit, allows, licences_in
from genixer.sources import SOURCES

IMAGE = ImageRef("1.png", 8, 8, "aa")


def row(source, licence):
    turns = Turn("user", "What?"), Turn("assistant", "cat")
    return Sample.of("common_vqa", IMAGE, turns, Origin(source, licence))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("CC BY-SA 4.0", ["cc by sa"]),
        ("cc-by-nc-sa-3.0", ["cc by nc sa"]),
        ("CC-BY-NC-4.0 International", ["cc by nc"]),
        ("CC0-1.0", ["cc0"]),
        ("CC0", ["cc0"]),
        ("MIT License", ["mit"]),
        ("BSD-3-Clause", ["bsd"]),
        ("Apache-2.0 (expressions), CC BY 4.0 (COCO boxes)", ["apache", "cc by"]),
        ("MIT and CDLA-Permissive-2.0", ["mit", "cdla permissive"]),
        ("", []),
    ],
)
def test_a_licence_is_known_however_it_is_spelt(text, names):
    assert licences_in(text) == names
    assert set(names) <= set(LICENCES)


def test_licences_that_sources_state_are_in_the_table():
    unknown = {
        name: SOURCES[name].licence
        for name in SOURCES
        if not set(licences_in(SOURCES[name].licence)) <= {*LICENCES, "not stated"}
    }
    assert unknown == {}


@pytest.mark.parametrize(
    ("licence", "research", "commercial"),
    [
        ("CC BY 4.0", True, True),
        ("CC BY-NC 4.0", True, False),
        ("CC BY-ND 4.0", False, False),
        ("MIT, CC BY-NC 4.0", True, False),
        ("", True, False),
        ("homemade", True, False),
    ],
)
def test_a_use_is_allowed_when_every_licence_allows_it(licence, research, commercial):
    assert (allows(licence, "research"), allows(licence, "commercial")) == (research, commercial)


def test_rows_pass_unchanged_and_what_is_refused_is_counted_by_source():
    rows = [row("a", "MIT"), row("b", "CC BY-NC 4.0"), row("b", "CC BY-NC 4.0"), row("c", "")]
    passed = Permit("commercial").of(rows)
    assert [next(passed) for _ in rows] == rows
    with pytest.raises(LicenceError) as refused:
        next(passed)
    assert "2 rows from b are under CC BY-NC 4.0" in str(refused.value)
    assert "1 rows from c are under no stated licence" in str(refused.value)
    assert "from a" not in str(refused.value)


def test_what_no_table_knows_is_told_for_research():
    permit = Permit("research")
    assert len(list(permit.of([row("a", "MIT"), row("c", ""), row("d", "homemade")]))) == 3
    assert permit.unknown() == ["1 rows from c: no licence stated", "1 rows from d: homemade"]
