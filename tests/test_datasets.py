"""The page about the datasets says what the sources are."""

import re
from pathlib import Path

import yaml

from genixer.sources import SOURCES
from genixer.stages.collect import CollectSettings

PAGE = (Path(__file__).parents[1] / "docs" / "datasets_grounding.md").read_text()


def test_every_grounding_source_has_a_row_with_its_licence_files_and_rows():
    table = PAGE.partition("## Boxes")[0]
    for name in (name for name in SOURCES if "grounding" in SOURCES[name].capability):
        (row,) = re.findall(rf"^\| `{name}` \|.*$", table, re.M)
        assert len([cell for cell in row.split("|") if cell.strip()]) == 5
        assert SOURCES[name].licence.split(" (")[0] in row


def test_the_example_is_a_step_that_loads():
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    settings = CollectSettings.model_validate(yaml.safe_load(block))
    assert [one.name for one in settings.sources] == [
        "refcoco",
        "vg_regions",
        "visual7w",
        "flickr30k_entities",
    ]
