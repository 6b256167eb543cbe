import msgspec
import yaml

from genixer.filters.decontaminate import BenchmarkLeaks, LeakTable
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


def leaking(page: Page, tables: dict[str, LeakTable]) -> str:
    return card(msgspec.structs.replace(page, leaks=tables), {}, "MIT")


def test_card_says_what_was_not_checked_for_leaks(example_page: Page) -> None:
    assert "These rows: not checked against any benchmark." in card(example_page, {}, "MIT")
    text = leaking(example_page, {"mix-kept": LeakTable(False), "mix-none": LeakTable(False)})
    assert "mix-kept, mix-none: not checked against any benchmark." in text


def test_card_shows_what_leaked_by_mixture_and_benchmark(example_page: Page) -> None:
    found = BenchmarkLeaks("vqa|v2", 60, 300, rows=1200, by_bytes=5, by_look=1190, by_words=9)
    tables = {"mix-kept": LeakTable(True, 9000, 1200, benchmarks=(found,))}
    text = leaking(example_page, tables)
    assert "| mix-kept | vqa v2 | 1,200 | 5 | 1,190 | 9 |" in text
    assert "not checked" not in text
    tables["mix-none"] = LeakTable(False)
    assert "mix-none: not checked against any benchmark." in leaking(example_page, tables)
