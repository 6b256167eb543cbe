"""The page about datasets has a row for every source, and what it tells people to write holds."""

import re
from pathlib import Path

import pytest
import yaml

from genixer.sources import SOURCES
from genixer.stages import STAGES

PAGE = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_every_source_has_a_row_with_its_licence(name: str) -> None:
    (row,) = re.findall(rf"^\| `{name}` \|.*$", PAGE, re.MULTILINE)
    _, _, origin, licence, files, rows, *_ = (cell.strip() for cell in row.split("|"))
    assert licence.startswith(SOURCES[name].licence)
    assert origin
    assert "`" in files
    assert re.search(r"\d", rows)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_what_the_stage_takes(example: str) -> None:
    written = yaml.safe_load(example)
    for step in written.get("steps", {"collect": {"stage": "collect", "with": written}}).values():
        STAGES.settings(step["stage"], step["with"])


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 3
