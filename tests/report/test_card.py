import yaml

from genixer.report.card import card
from genixer.report.model import Page


def test_card_header_is_yaml_that_hubs_read(example_page: Page) -> None:
    text = card(example_page, {"rec": 1200, "reg": 422}, "CC-BY-SA-4.0")
    header = yaml.safe_load(text.split("---")[1])
    assert header["license"] == "cc-by-sa-4.0"
    assert header["size_categories"] == ["1K<n<10K"]


def test_card_names_rows_steps_precision_and_licences(example_page: Page) -> None:
    text = card(example_page, {"rec": 1200, "reg": 422}, "CC-BY-SA-4.0")
    for part in (
        "1,622 generated rows",
        "| rec | 1,200 |",
        "| judge | 2,410 | 1,622 |",
        "OpenMoji",
    ):
        assert part in text
    assert "kept 91.0%" in text


def test_task_name_cannot_break_the_table() -> None:
    text = card(Page(title="t", digest="0"), {"a|b\n# c": 1}, "MIT")
    assert "| a b c | 1 |" in text
