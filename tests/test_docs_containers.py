"""The worked examples of docs/formats_containers.md, run in their order as a reader would."""

import doctest
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from genixer.cli import app
from genixer.formats import FORMATS

DOC = Path(__file__).parents[1] / "docs" / "formats_containers.md"
BLOCKS = re.findall(r"```(pycon|console)\n(.*?)```", DOC.read_text(encoding="utf-8"), re.S)


def test_every_example_does_what_the_page_says(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'genixer[data]'")
    monkeypatch.chdir(tmp_path)
    known: dict[str, object] = {}
    ran = {"pycon": 0, "console": 0}
    for kind, text in BLOCKS:
        if kind == "console":
            for line in text.splitlines():
                done = CliRunner().invoke(app, shlex.split(line.removeprefix("$ genixer ")))
                assert done.exit_code == 0, f"{line}: {done.output} {done.exception!r}"
        else:
            report: list[str] = []
            test = doctest.DocTestParser().get_doctest(text, known, "page", str(DOC), 0)
            doctest.DocTestRunner().run(test, out=report.append, clear_globs=False)
            known = test.globs
            assert report == [], "".join(report)
        ran[kind] += 1
    assert ran["console"] == 5
    assert ran["pycon"] >= 5


@pytest.mark.parametrize("name", ["coco", "csv", "hf_dataset", "parquet", "webdataset"])
def test_every_container_has_its_example(name):
    assert name in FORMATS
    assert any(kind == "console" and f"--format {name} " in text for kind, text in BLOCKS)
