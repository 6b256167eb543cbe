from collections.abc import Callable

import msgspec
import pytest
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from genixer.filters.decontaminate import BenchmarkLeaks, LeakTable
from genixer.report.model import Exhibit, Ledger, Page, Seen, Words
from genixer.report.page import render

pytestmark = pytest.mark.browser

Open = Callable[[str], Chrome]

CALLS = ("alert(1)", "confirm(2)", "prompt(3)", "console.error(4)", "document.title='owned'")
CARRIERS = (
    "<script>{}</script>",
    "</script><script>{}</script>",
    "<img src=x onerror={}>",
    '"><svg onload={}>',
    "' autofocus onfocus={} x='",
    "<!--<script>{}//-->",
    "]]>{}</textarea><details open ontoggle={}>",
    "javascript:{}//<a href=javascript:{}>x</a>",
    "{{{{ {} }}}}{{% if 1 %}}${{{}}}",
    "\u2028{}\u2029\\u003cscript>{}</style><style>*{{display:none}}</style>",
)
ATTACKS = [carrier.replace("{}", call) for carrier in CARRIERS for call in CALLS]


def count_shown(driver: Chrome) -> int:
    return len(driver.find_elements(By.CSS_SELECTOR, ".card"))


def status(driver: Chrome) -> str:
    return driver.find_element(By.ID, "shown").text


def set_threshold(driver: Chrome, value: float) -> None:
    dial = driver.find_element(By.ID, "threshold")
    driver.execute_script(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))",
        dial,
        value,
    )


def assert_silent(driver: Chrome) -> None:
    with pytest.raises(NoAlertPresentException):
        _ = driver.switch_to.alert.text
    assert driver.get_log("browser") == []


def infected(page: Page) -> Page:
    """`page` with an attack in every place that takes text from data."""
    rows = [
        Exhibit(
            id=text,
            task=text,
            mode=text,
            outcome="rejected",
            image=0,
            size=(96, 96),
            words=[Words("user", [text, 0]), Words("assistant", [text]), Words(text, [text])],
            marks=[[0.1, 0.1, 0.5, 0.5]],
            step=text,
            reason=text,
            scores={"judge": 0.5, text: 0.5},
            truth="wrong",
            detail=text,
        )
        for text in ATTACKS
    ]
    counts = dict.fromkeys(ATTACKS, 3)
    assert page.gallery
    assert page.students
    assert page.judge
    student = page.students.rows[0]
    effect = student.arms["none"]
    return msgspec.structs.replace(
        page,
        title="".join(ATTACKS),
        digest=ATTACKS[0],
        funnel=[Ledger(ATTACKS[1], ATTACKS[2], 300, 0, counts, counts)],
        ledgers=[Ledger(ATTACKS[1], ATTACKS[2], 300, 0, counts, counts)],
        seen=[Seen(ATTACKS[3], ATTACKS[4], counts)],
        precision=[msgspec.structs.replace(page.precision[0], task=text) for text in ATTACKS],
        judge=msgspec.structs.replace(
            page.judge,
            passing={"": page.judge.passing[""], **dict.fromkeys(ATTACKS, page.judge.passing[""])},
        ),
        students=msgspec.structs.replace(
            page.students,
            arms=["none", *ATTACKS],
            baseline=ATTACKS[5],
            rows=[
                msgspec.structs.replace(
                    student,
                    benchmark=text,
                    kind=text,
                    metric=text,
                    arms=dict.fromkeys(ATTACKS, effect),
                )
                for text in ATTACKS[:4]
            ],
        ),
        gallery=msgspec.structs.replace(page.gallery, rows=rows),
        leaks={
            text: LeakTable(True, 9, 3, index=text, benchmarks=(BenchmarkLeaks(text, 1, 1),))
            for text in ATTACKS[:4]
        }
        | {ATTACKS[5]: LeakTable(False)},
        curves=[msgspec.structs.replace(page.curves[0], step=text) for text in ATTACKS[:4]],
        versions=dict.fromkeys(ATTACKS, ATTACKS[0]),
        licences=list(ATTACKS),
        config="\n".join(ATTACKS),
    )


def test_page_opens_without_a_word_on_the_console(open_page: Open, example_page: Page) -> None:
    driver = open_page(render(example_page))
    assert count_shown(driver) == 48
    assert_silent(driver)


def test_fifty_attacks_in_every_text_raise_no_dialog_and_no_error(
    open_page: Open, example_page: Page
) -> None:
    assert len(set(ATTACKS)) == 50
    driver = open_page(render(infected(example_page)))
    driver.find_element(By.ID, "more").click()
    assert count_shown(driver) == 50
    shown = driver.find_elements(By.CSS_SELECTOR, ".words .assistant")
    texts = {driver.execute_script("return arguments[0].textContent", node) for node in shown}
    assert texts == set(ATTACKS)
    assert driver.title.endswith("Genixer report")
    assert len(driver.find_elements(By.TAG_NAME, "script")) == 2
    assert_silent(driver)


def test_test_would_notice_a_page_that_runs_its_data(open_page: Open, example_page: Page) -> None:
    html = render(example_page).replace("<h1>", "<h1><script>console.error('in')</script>")
    driver = open_page(html)
    log = driver.get_log("browser")
    assert len(log) == 1
    assert "Content Security Policy" in log[0]["message"]


def test_filter_by_outcome_shows_only_those_rows(open_page: Open, example_page: Page) -> None:
    driver = open_page(render(example_page))
    assert example_page.gallery
    kept = sum(row.outcome == "kept" for row in example_page.gallery.rows)
    Select(driver.find_element(By.NAME, "outcome")).select_by_value("kept")
    assert status(driver).startswith(f"{kept} of 120 match")
    fates = {node.text.split("\n")[0] for node in driver.find_elements(By.CLASS_NAME, "fate")}
    assert fates == {"kept"}


def test_filters_narrow_together_and_clear_gives_all_back(
    open_page: Open, example_page: Page
) -> None:
    driver = open_page(render(example_page))
    Select(driver.find_element(By.NAME, "task")).select_by_value("rec")
    assert status(driver).startswith("40 of 120 match")
    driver.find_element(By.NAME, "words").send_keys("NUMBER 21?")
    assert status(driver).startswith("1 of 120 match")
    driver.find_element(By.CSS_SELECTOR, "#filters button").click()
    driver.execute_async_script("setTimeout(arguments[0], 20)")
    assert status(driver) == "48 of 120 shown"


def test_box_lies_over_the_picture_where_the_data_says(open_page: Open, example_page: Page) -> None:
    driver = open_page(render(example_page))
    picture = driver.find_element(By.CSS_SELECTOR, ".frame image").rect
    box = driver.find_element(By.CSS_SELECTOR, ".frame rect.mark-0").rect
    assert abs((box["x"] - picture["x"]) / picture["width"] - 0.21) < 0.02
    assert abs((box["y"] + box["height"] - picture["y"]) / picture["height"] - 0.59) < 0.02


def test_threshold_recounts_precision_and_recall(open_page: Open, example_page: Page) -> None:
    driver = open_page(render(example_page))
    assert example_page.judge
    passing = example_page.judge.passing[""]
    for threshold, step in ((0.8, 160), (0.0, 0)):
        set_threshold(driver, threshold)
        right, wrong = passing["right"][step], passing["wrong"][step]
        last = driver.find_elements(By.CSS_SELECTOR, "#judge-rows tr")[-1]
        assert [cell.text for cell in last.find_elements(By.TAG_NAME, "td")] == [
            str(right + wrong),
            f"{right / (right + wrong) * 100:.1f} %",
            f"{right / passing['right'][0] * 100:.1f} %",
        ]


def test_rows_that_flip_follow_the_threshold(open_page: Open, example_page: Page) -> None:
    driver = open_page(render(example_page))
    assert example_page.gallery
    driver.find_element(By.NAME, "flips").click()
    assert status(driver).startswith("0 of 120 match")
    set_threshold(driver, 0.75)
    above = [r for r in example_page.gallery.rows if 0.5 <= r.scores.get("judge", 0) < 0.75]
    assert status(driver).startswith(f"{len(above)} of 120 match")
    set_threshold(driver, 0.3)
    below = [r for r in example_page.gallery.rows if 0.3 <= r.scores.get("judge", 0) < 0.5]
    assert status(driver).startswith(f"{len(below)} of 120 match")


def test_keyboard_alone_reaches_sections_filters_and_rows(
    open_page: Open, example_page: Page
) -> None:
    driver = open_page(render(example_page))
    reached = set()
    for _ in range(40):
        driver.switch_to.active_element.send_keys(Keys.TAB)
        node = driver.switch_to.active_element
        reached.add(node.get_attribute("name") or node.get_attribute("id") or node.tag_name)
        reached.add(node.get_attribute("class"))
    assert {"a", "summary", "threshold", "task", "words", "flips"} <= reached


def test_page_does_not_scroll_sideways_on_a_phone(open_page: Open, example_page: Page) -> None:
    driver = open_page(render(example_page))
    driver.set_window_size(500, 900)
    try:
        width = driver.execute_script("return document.documentElement.scrollWidth - innerWidth")
        assert width <= 0
    finally:
        driver.set_window_size(1280, 1600)
