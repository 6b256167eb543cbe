"""Files of every format with a row a conversation: clean ones are clean, faults are found."""

import json
from contextlib import suppress
from pathlib import Path

import pytest

from genixer.data import Quarantined
from genixer.doctor.audit import audit
from genixer.doctor.conversations import CONVERSATIONS
from genixer.doctor.fix import fix
from genixer.doctor.layouts import layout_of
from genixer.errors import ConfigError
from genixer.formats import FORMATS
from genixer.formats.conversation import ConversationFormat
from genixer.formats.llava import LlavaFormat

names = pytest.mark.parametrize("name", sorted(CONVERSATIONS))
TOLD = {"llava", "sharegpt", "shikra", "qwen_vl", "qwen_json", "paligemma", "ms_swift", "messages"}
"""Formats whose own rows, with boxes, can be told from those of all others."""
SIGNS = {
    "ms_swift": ("<bbox>", "<bbox><bbox>"),
    "shikra": ("<boxes>", "<boxes><boxes>"),
    "qwen_vl": ("<box>", "<box>(1,"),
    "paligemma": ("<loc", "<loc9999><loc"),
    "qwen_json": ('bbox_2d\\": [', 'bbox_2d\\": [9999'),
}
"""A sign of boxes, and what spoils it."""


def exported(name: str, world: Path, suffix: str = ".json") -> Path:
    out = world / f"{name}-rows{suffix.replace('.jsonl', '-lines.jsonl')}"
    if not out.exists():
        samples = LlavaFormat().read(world / "world.json", world)
        assert FORMATS.load(name)().write(samples, out, world)["written"] > 100
    return out


def test_every_format_with_a_row_a_conversation_is_here() -> None:
    kinds = {name for name in FORMATS if isinstance(FORMATS.load(name), type)}
    rows = {name for name in kinds if issubclass(FORMATS.load(name), ConversationFormat)}
    assert rows == CONVERSATIONS.keys()


@names
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_what_the_format_wrote_has_no_findings(name: str, suffix: str, world: Path) -> None:
    report = audit(exported(name, world, suffix), format=name)
    assert list(report.findings) == []
    assert report.rows > 100
    assert report.images == 40


@names
def test_a_box_that_the_reader_refuses_is_found(name: str, world: Path) -> None:
    rows = json.loads(exported(name, world).read_text())
    old, new = SIGNS.get(name, ("[0.", "[7."))
    at = next(i for i, row in enumerate(rows) if old in json.dumps(row))
    rows[at] = json.loads(json.dumps(rows[at]).replace(old, new, 1))
    broken = world / f"{name}-box.json"
    broken.write_text(json.dumps(rows))
    report = audit(broken, format=name)
    assert {one.where for one in report.findings} == {f"{name}-box.json[{at}]"}
    found = list(FORMATS.load(name)().read(broken, world))
    assert [i for i, row in enumerate(found) if isinstance(row, Quarantined)] == [at]


@names
def test_ids_and_images_are_looked_at_in_every_format(name: str, world: Path) -> None:
    text = exported(name, world).read_text()
    rows = json.loads(text)
    rows[1]["id"] = rows[0]["id"]
    rows[2] = json.loads(json.dumps(rows[2]).replace(".jpg", ".gone.jpg"))
    broken = world / f"{name}-image.json"
    broken.write_text(json.dumps(rows))
    report = audit(broken, format=name)
    assert report.counts == {"duplicate_id": 1, "missing_image": 1}
    if CONVERSATIONS[name].editable:
        out = world / f"{name}-fixed"
        assert fix(report, out) == {"renumbered": 1, "set_aside": 1}
        again = audit(out / broken.name, images=out / "images", format=name)
        assert list(again.findings) == []
        assert again.rows == len(rows) - 1
    else:
        with pytest.raises(ConfigError, match=f"{name} can be audited but not repaired"):
            fix(report, world / f"{name}-fixed")


@names
def test_a_format_is_told_from_its_rows_or_the_choices_are_named(name: str, world: Path) -> None:
    rows = json.loads(exported(name, world).read_text())
    boxed = next(row for row in rows if SIGNS.get(name, ("[0.",))[0] in json.dumps(row))
    raw = json.dumps(boxed).encode()
    if name in TOLD:
        assert layout_of(raw, "a.json").name == name
    else:
        with pytest.raises(ConfigError, match=rf"several formats \(.*{name}.*name one with"):
            layout_of(raw, "a.json")


def test_rows_of_qwen_are_told_by_their_first_box(world: Path) -> None:
    rows = json.loads(exported("qwen_json", world).read_text())
    rows.sort(key=lambda row: "bbox_2d" in json.dumps(row))
    path = world / "qwen-late.json"
    path.write_text(json.dumps(rows))
    assert "bbox_2d" not in json.dumps(rows[0])
    assert list(audit(path).findings) == []


@names
@pytest.mark.parametrize(
    "entry",
    [
        "7",
        "[]",
        '{"conversations": 7, "messages": 7, "prefix": 7, "suffix": 7}',
        '{"conversations": [7], "messages": [7]}',
        '{"conversations": [{"from": [], "value": 1}], "messages": [{"role": 1, "content": {}}]}',
        '{"messages": [{"role": "user", "content": [7, {"type": []}]}]}',
        '{"id": NaN, "conversations": [], "messages": [], "prefix": "", "suffix": ""}',
        '{"id": ' + "9" * 400 + ', "conversations": [], "messages": []}',
        '{"id": "\\ud83d", "conversations": [], "messages": []}',
    ],
)
def test_an_entry_of_wrong_types_is_a_finding_not_a_crash(
    name: str, entry: str, world: Path
) -> None:
    path = world / "wrong.jsonl"
    path.write_text("\ufeff" + entry + "\n")
    report = audit(path, format=name)
    assert report.rows == 1
    assert report.errors + report.counts["no_id"] >= 1
    with suppress(ConfigError):  # where no format, or no single one, can be told
        assert audit(path).rows == 1


@pytest.mark.parametrize("name", ["shikra", "ms_swift", "qwen_vl", "paligemma"])
def test_a_frame_is_refused_where_coordinates_are_not_in_the_text(name: str, world: Path) -> None:
    with pytest.raises(ConfigError, match="has its own"):
        audit(exported(name, world), format=name, frame="unit")
