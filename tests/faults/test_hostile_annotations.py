"""Annotation files with numbers and bytes that JSON does not know: kept aside entry by entry."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from genixer.data import Sample
from genixer.pipeline.run import run
from genixer.pipeline.verify import verify
from genixer.store.reader import open_step
from genixer.store.shards import raw_bytes

HUGE = b"9" * 400
LINES = {
    b'{"question_id": NaN, "image": "1.png", "text": "Is it?", "label": "yes"}': "not_json",
    b'{"question_id": 1e999, "image": "1.png", "text": "Is it?", "label": "yes"}': "bad_entry",
    b'{"question_id": 4, "image": -Infinity, "text": "Is it?", "label": "yes"}': "not_json",
    b'{"question_id": 5, "image": "1.png", "text": "\xff\xfe", "label": "yes"}': "not_utf8",
    b'{"question_id": 6, "image": "1.png", "text": "a\x00b", "label": "yes"}': "not_json",
    rb'{"question_id": 7, "image": "1.png", "text": "\ud800", "label": "yes"}': "not_json",
    b'\xef\xbb\xbf{"question_id": 8, "image": "1.png", "text": "x", "label": "yes"}': "not_json",
    b"[" * 100_000: "bad_entry",
    b'{"question_id": 9, "image": "1.png", "more": NaN, "text": "x", "label": "no"}': "not_json",
}
GOOD = [
    {"question_id": 100, "image": "0.png", "text": "line\u2028and\u2029more?", "label": "yes"},
    {"question_id": 101, "image": "1.png", "text": "\u202eright to left?", "label": "no"},
    {"question_id": 10**400, "image": "1.png", "text": "an id that fits nowhere?", "label": "no"},
    {"question_id": 102, "image": "2.png", "text": "long " * 200_000 + "?", "label": "no"},
]


def collected(tmp_path: Path, pool: Path, *sources: dict[str, object], rows: int = 4) -> Any:
    step = {"stage": "collect", "rows_per_shard": rows, "with": {"sources": list(sources)}}
    config = {"name": "c", "seed": 1, "images": str(pool), "steps": {"collect": step}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    done = run(tmp_path / "c.yaml", out=tmp_path / "run", workers=0)
    assert verify(done.folder).ok
    return open_step(done.folder / "collect")


def test_lines_that_are_no_json_are_kept_aside_with_their_bytes(pool: Path, tmp_path: Path) -> None:
    good = [json.dumps(one, ensure_ascii=False).encode() for one in GOOD]
    lines = [*good[:1], *LINES, *good[1:]]
    (tmp_path / "pope.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    source = {"name": "pope", "questions": str(tmp_path / "pope.jsonl")}
    found = collected(tmp_path, pool, source)
    rows = list(found.rows(Sample))
    assert [row.turns[0].text for row in rows] == [str(one["text"]).strip() for one in GOOD]
    aside = {raw_bytes(row.raw): row.reason for row in found.quarantined()}
    assert aside == LINES


@pytest.mark.parametrize("number", [b"NaN", b"-Infinity", b"1e999", HUGE, b"-" + HUGE])
def test_a_box_or_an_id_that_is_no_number_costs_its_row_alone(
    pool: Path, tmp_path: Path, number: bytes
) -> None:
    for name, text in _refcoco(number).items():
        (tmp_path / name).write_bytes(text)
    source = {
        "name": "refcoco",
        "refs": str(tmp_path / "refs.json"),
        "instances": str(tmp_path / "instances.json"),
    }
    found = collected(tmp_path, pool, source)
    # Each of the two that are whole gives a row to find it and a row to name it.
    assert found.rows_kept == 4
    places = {row.where for row in found.quarantined()}
    assert places == {"refs.json[1]", "refs.json[3]"}


def _refcoco(number: bytes) -> dict[str, bytes]:
    """Four expressions: two whole, one with a bad box, one with a bad id of its box."""
    box = b'{"id": %d, "image_id": %d, "category_id": 1, "bbox": [1, 1, %s, 3]}'
    image = b'{"id": %d, "file_name": "%d.png", "width": 8, "height": %d}'
    ref = b'{"ref_id": %d, "ann_id": %s, "image_id": %d, "split": "train", %s}'
    words = b'"sentences": [{"sent_id": 1, "sent": "the thing"}]'
    boxes = [box % (11, 0, b"3"), box % (12, 1, number), box % (13, 2, b"3")]
    images = [image % (at, at, 8 + at) for at in range(3)]
    refs = [ref % (at, b"%d" % (10 + at), at - 1, words) for at in (1, 2, 3)]
    refs.append(ref % (4, number, 0, words))
    parts = (b",".join(images), b",".join(boxes), b'{"id": 1, "name": "thing"}')
    instances = b'{"images": [%s], "annotations": [%s], "categories": [%s]}' % parts
    return {"refs.json": b"[" + b",".join(refs) + b"]", "instances.json": instances}
