import shutil
from pathlib import Path

import pytest

from genixer.data import Box, Quarantined, Turn
from genixer.errors import ConfigError
from genixer.sources.entities import XmlError, parse_boxes, parse_caption
from genixer.sources.flickr30k import Flickr30kEntities
from genixer.store.entries import EntryError

FIXTURES = Path(__file__).parents[1] / "fixtures"
SOURCES = FIXTURES / "sources"
GOOD = (SOURCES / "flickr30k_annotations" / "1.xml").read_bytes()


def source(folder=SOURCES, **settings):
    base = {
        "images": FIXTURES / "images",
        "sentences": folder / "flickr30k_sentences",
        "annotations": folder / "flickr30k_annotations",
        "image_suffix": ".png",
    }
    return Flickr30kEntities(Flickr30kEntities.Settings(**{**base, **settings}))


def read(**settings):
    return list(source(**settings).read())


def test_phrases_of_one_box_are_asked_both_ways_each_once_an_image():
    rows = read()
    assert [row.turns[1].text for row in rows if row.task == "reg"] == [
        "A man",
        "a blue shirt",
        "A small dog",
    ]
    assert rows[0].turns[1] == Turn("assistant", "<box>", (Box(0.5, 0.5, 0.75, 0.75),))
    assert [row.origin.question_type for row in rows[::2]] == [
        "people",
        "clothing",
        "animals/other",
    ]


def test_captions_carry_boxes_after_phrases_in_groups_and_scenes_carry_none():
    first, second, third = read(tasks=("rd",))
    assert first.turns[1].text == (
        "A man <box> in a blue shirt <box> feeds two dogs <box><box> in a park ."
    )
    assert first.turns[1].groups == (1, 1, 2)
    assert second.turns[1] == Turn(
        "assistant", "A man <box> is outside .", (Box(0.5, 0.5, 0.75, 0.75),)
    )
    assert third.turns[1].text == "A small dog <box> rests ."


def test_ids_choose_the_images_in_their_order(tmp_path):
    ids = tmp_path / "train.txt"
    ids.write_text("2\n1\n2\n")
    assert [row.image.path for row in read(tasks=("reg",), image_ids=ids)] == [
        "2.png",
        "1.png",
        "1.png",
    ]
    assert source(image_ids=ids).files()[-1] == ids


def test_an_id_without_files_or_that_climbs_is_one_row(tmp_path):
    ids = tmp_path / "train.txt"
    ids.write_text("404\n../../images/1\n2\n")
    rows = read(image_ids=ids)
    assert [(row.where, row.reason, row.raw) for row in rows if isinstance(row, Quarantined)] == [
        ("404.txt:1", "no_sentences", ""),
        ("../../images/1.txt:1", "path_escapes", ""),
    ]
    assert len(rows) == 4


def test_a_file_of_absurd_size_is_not_read(tmp_path):
    for name in ("flickr30k_sentences", "flickr30k_annotations"):
        shutil.copytree(SOURCES / name, tmp_path / name)
    with (tmp_path / "flickr30k_sentences" / "1.txt").open("ab") as file:
        file.truncate(1 << 24)
    with (tmp_path / "flickr30k_annotations" / "2.xml").open("ab") as file:
        file.truncate(1 << 24)
    rows = read(folder=tmp_path)
    assert [row.reason for row in rows] == ["no_sentences", "no_annotation"]
    assert all(len(row.raw) < 1000 for row in rows)


def test_folders_without_such_files_are_a_config_error(tmp_path):
    for name in ("flickr30k_sentences", "flickr30k_annotations"):
        shutil.copytree(SOURCES / name, tmp_path / name)
    for path in (tmp_path / "flickr30k_annotations").iterdir():
        path.unlink()
    with pytest.raises(ConfigError, match=r"no \.xml file in it"):
        source(folder=tmp_path).count()


def test_pixels_count_from_one_and_an_object_may_stand_in_several_chains():
    chains = parse_boxes(GOOD)
    assert (chains.width, chains.height) == (64, 48)
    assert chains.boxes["11"] == [(32, 24, 48, 36)]
    assert chains.boxes["12"] == chains.boxes["15"]
    assert len(chains.boxes["13"]) == 2
    assert "14" not in chains.boxes


LAUGHS = b"""<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;">]>
"""
OUTSIDE = b'<!DOCTYPE annotation [<!ENTITY x SYSTEM "file:///etc/hostname">]>\n'


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (LAUGHS + GOOD.replace(b"<name>11<", b"<name>&c;<"), "xml_forbidden"),
        (OUTSIDE + GOOD.replace(b"<name>11<", b"<name>&x;<"), "xml_forbidden"),
        (b'<!DOCTYPE annotation SYSTEM "x.dtd">' + GOOD, "xml_forbidden"),
        (b"<a>" * 1000, "xml_forbidden"),
        (GOOD.replace(b"<name>11<", b"<name>&c;<"), "bad_xml"),
        (GOOD[:-5], "bad_xml"),
        (b"", "bad_xml"),
        (b"<annotation/>", "bad_xml"),
        (GOOD.replace(b"33", b"1e3", 1), "bad_xml"),
        (GOOD.replace(b"<xmin>33</xmin>", b"", 1), "bad_xml"),
        (b'<?xml version="1.0" encoding="latin-1"?>' + GOOD.replace(b"1.jpg", b"\xe9"), "bad_xml"),
    ],
)
def test_xml_that_declares_anything_or_is_none_is_refused(data, reason):
    with pytest.raises(XmlError) as caught:
        parse_boxes(data)
    assert caught.value.reason == reason
    assert caught.value.line >= 1


@pytest.mark.parametrize("encoding", ["no-such", "utf-16", "big5", "punycode", "zlib"])
def test_a_declared_encoding_is_not_looked_up(encoding):
    assert parse_boxes(f'<?xml version="1.0" encoding="{encoding}"?>'.encode() + GOOD).width == 64


def test_a_caption_loses_its_marks_and_keeps_other_brackets():
    text, phrases = parse_caption("[/EN#5/people/other Two men] and [ a sign ] .")
    assert text == "Two men and [ a sign ] ."
    assert [text[one.start : one.end] for one in phrases] == ["Two men"]
    for line in ("[/EN#5/people Two men .", "[/EN#5 Two men]", "[/EN#5/a x [/EN#6/b y] z]"):
        with pytest.raises(EntryError, match="bad_markup"):
            parse_caption(line)
