"""Every example in docs/formats.md is run, and gives the row that it shows."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image

from genixer import cli
from genixer.data import Box, Origin, Sample, Turn, encode_row
from genixer.formats import FORMATS
from genixer.store.images import ImageCatalog

DOCS = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
SECTIONS = dict(
    re.findall(r"^### (\w+)\n.*?```sh\n(.*?```\n```json\n.*?)\n```", DOCS, re.MULTILINE | re.DOTALL)
)
CAT, DOG = Box(0.125, 0.25, 0.5, 1.0), Box(0.5, 0.0, 1.0, 0.5)
OURS = sorted(name for name in FORMATS if name in SECTIONS)


@pytest.fixture
def rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (640, 480), "white").save("pictures/cat.png")
    image = ImageCatalog(Path("pictures")).ref("cat.png")
    asked = Turn("user", "Where is the cat?"), Turn("assistant", "<box>", (CAT,))
    listed = (
        Turn("user", "List the animals."),
        Turn("assistant", "cat <box>, dog <box>", (CAT, DOG)),
    )
    samples = [
        Sample.of("rec", image, asked, Origin("refcoco", "CC BY 4.0")),
        Sample.of("dense_caption", image, listed, Origin("coco", "CC BY 4.0")),
    ]
    Path("rows.jsonl").write_bytes(b"".join(encode_row(one) + b"\n" for one in samples))
    return samples


def run(line, monkeypatch):
    monkeypatch.setattr(sys, "argv", shlex.split(line))
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code


@pytest.mark.parametrize("name", OURS)
def test_an_example_gives_the_row_it_shows(name, rows, monkeypatch):
    command, _, shown = SECTIONS[name].partition("```\n```json\n")
    run(command, monkeypatch)
    written = json.loads(Path(f"{name}.jsonl").read_text().splitlines()[1])
    assert {**json.loads(shown), "id": rows[1].id} == written


def test_all_formats_of_conversations_have_an_example():
    assert set(OURS) >= {
        *("llava", "sharegpt", "messages", "axolotl", "llama_factory", "ms_swift", "qwen_vl"),
        *("qwen_json", "paligemma", "shikra"),
    }


def test_the_way_back_is_run_too(rows, monkeypatch):
    run(SECTIONS["ms_swift"].partition("```")[0], monkeypatch)
    for line in re.findall(r"### And back\n```sh\n(.*?)```", DOCS, re.DOTALL)[0].splitlines():
        run(line, monkeypatch)
    run("genixer export runs/animals --format ms_swift --out again.jsonl", monkeypatch)
    assert Path("again.jsonl").read_bytes() == Path("ms_swift.jsonl").read_bytes()


def test_rounding_is_what_the_page_says(rows, monkeypatch, capsys):
    run(SECTIONS["llava"].partition("```")[0], monkeypatch)
    assert "moved to the grid, at most 0.32 px" in capsys.readouterr().out
    run(SECTIONS["llava"].partition("```")[0].strip() + " decimals=4", monkeypatch)
    assert "none moved" in capsys.readouterr().out
