import base64
import hashlib
import json
import re

import msgspec

from genixer.filters.decontaminate import BenchmarkLeaks, LeakTable
from genixer.report.model import Page
from genixer.report.page import render


def test_policy_admits_exactly_the_style_and_the_script_of_the_page(example_page: Page) -> None:
    html = render(example_page)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy
    rules = policy[1].replace("&#39;", "'")
    assert rules.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in rules
    for tag in ("style", "script"):
        bodies = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.S)
        assert len(bodies) == 1
        digest = base64.b64encode(hashlib.sha256(bodies[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in rules


def test_page_refers_to_nothing_outside_itself(example_page: Page) -> None:
    html = render(example_page)
    assert not re.findall(r'\b(?:src|href|action|poster|srcset)\s*=\s*"(?!#)', html)
    assert "@import" not in html
    assert "url(" not in html


def test_page_holds_its_data_as_json_that_closes_no_element(example_page: Page) -> None:
    html = render(example_page)
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert found
    assert "<" not in found[1]
    data = json.loads(found[1])
    assert len(data["gallery"]["rows"]) == 120
    assert data["judge"]["thresholds"] == 200


def test_markup_in_data_stays_text(example_page: Page) -> None:
    evil = "</script><script>alert(1)</script><!--"
    assert example_page.gallery
    row = msgspec.structs.replace(example_page.gallery.rows[0], detail=evil, reason=evil, task=evil)
    gallery = msgspec.structs.replace(example_page.gallery, rows=[row])
    page = msgspec.structs.replace(example_page, title=evil, config=evil, gallery=gallery)
    html = render(page)
    assert html.count("<script") == 2
    assert "alert(1)</script>" not in html
    found = re.search(r'id="data">(.*?)</script>', html, re.S)
    assert found
    assert json.loads(found[1])["gallery"]["rows"][0]["detail"] == evil


def test_same_page_is_the_same_text(example_page: Page) -> None:
    assert render(example_page) == render(example_page)


def test_empty_page_says_what_is_missing_in_every_section() -> None:
    html = render(Page(title="bare", digest="0"))
    assert html.count('class="missing"') == 7
    assert "No student was evaluated in this run." in html


def test_tables_without_script_show_precision_and_students(example_page: Page) -> None:
    html = re.sub(r"<script.*?</script>", "", render(example_page), flags=re.S)
    for text in ("image gone", "multiple choice", "judge says no", "shuffled", "OpenMoji"):
        assert text in html


def test_page_shows_what_leaked_and_what_was_not_checked(example_page: Page) -> None:
    html = render(Page(title="bare", digest="0"))
    assert "These rows: not checked against any benchmark." in html
    found = BenchmarkLeaks("<b>pope</b>", 60, 3000, rows=1200, by_bytes=5, by_look=1190, by_words=9)
    table = LeakTable(True, 9000, 1200, 17, 4, 13, "ab" * 16, (found,))
    tables = {"mix-<i>kept": table, "mix-none": LeakTable(False)}
    html = render(msgspec.structs.replace(example_page, leaks=tables))
    section = html[html.index('<section id="leaks">') : html.index('<section id="about">')]
    assert re.findall(r">([^<>]*)</t[dh]>", section.split("<tbody>")[1]) == [
        *("&lt;b&gt;pope&lt;/b&gt;", "60", "3,000", "1,200", "5", "1,190", "9")
    ]
    assert "<h3>mix-&lt;i&gt;kept</h3>" in section
    assert "Of 9,000 drawn rows 1,200 share" in section
    assert "mix-none: not checked against any benchmark." in section
    assert section.count("not checked") == 1
