from pathlib import Path

import msgspec

from genixer.report.model import Effect, Page, StudentRow, Students
from genixer.report.summary import summary

GOLDEN = Path(__file__).with_name("summary.txt")


def test_summary_is_the_golden_text(example_page: Page) -> None:
    assert summary(example_page) == GOLDEN.read_text()


def test_summary_never_reads_a_name_as_markup() -> None:
    students = Students(
        ["[red]"], "[red]", [StudentRow("b", "", "m", 1, {"[red]": Effect(1, 1, (0, 2))})]
    )
    page = Page(title="[bold]x[/bold]", digest="0", students=students)
    text = summary(page)
    assert "[bold]x[/bold]" in text
    assert "[red]" in text


def test_lines_fit_the_width(example_page: Page) -> None:
    wide = {f"a_reason_with_a_long_name_{n}": n for n in range(20)}
    funnel = [msgspec.structs.replace(example_page.funnel[0], rejected=wide)]
    text = summary(msgspec.structs.replace(example_page, funnel=funnel))
    assert max(map(len, text.splitlines())) <= 118
    assert all(name in text for name in wide)


def test_arm_that_was_not_run_is_a_dash() -> None:
    students = Students(
        ["none", "kept"], "none", [StudentRow("b", "", "m", 1, {"none": Effect(50, 1, (50, 50))})]
    )
    lines = summary(Page(title="t", digest="0", students=students)).splitlines()
    assert next(line for line in lines if line.startswith("b ")).split() == [
        "b",
        "m",
        "50.0",
        "±0.0",
        "-",
    ]


def test_numbers_of_many_arms_are_not_cut() -> None:
    arms = [f"an_arm_with_a_long_name_{n}" for n in range(9)]
    effects = {arm: Effect(50, 3, (40, 60), 1.0, (0.0, 2.0)) for arm in arms}
    students = Students(arms, arms[0], [StudentRow("b", "", "m", 1, effects)])
    text = summary(Page(title="t", digest="0", students=students))
    assert text.count("50.0 ±10.0") == 9
    assert text.count("+1.0 ±1.0") == 9
