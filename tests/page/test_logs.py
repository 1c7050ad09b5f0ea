"""The logs: search, histogram, live tail, links to lines, very long lines."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import Look, card, faults, settled
from tests.page.house import HOSTILE, LONG, MINUTE
from tests.page.test_model import FIRST, chart, drag

pytestmark = pytest.mark.needs("chromium")
Show = Callable[[str], Page]


def search(page: Page, text: str) -> None:
    page.get_by_role("searchbox").fill(text)
    page.get_by_role("searchbox").press("Enter")
    settled(page)


def test_a_search_finds_marks_and_is_a_link(show: Show) -> None:
    page = show("/logs")
    search(page, 'slow level:warn "310 ms"')
    expect(page).to_have_url(re.compile(r"/logs\?q=slow\+level%3Awarn"))
    rows = page.get_by_role("log").locator(".line")
    expect(rows.first).to_contain_text("slow call")
    assert set(rows.locator(".level").all_inner_texts()) == {"WARN"}
    expect(rows.first.locator("mark").first).to_have_text("slow")
    shown = rows.count()
    page.reload()
    expect(page.get_by_role("searchbox")).to_have_value('slow level:warn "310 ms"')
    expect(rows.first).to_contain_text("slow call")
    assert rows.count() == shown
    page.go_back()
    expect(page).to_have_url(re.compile(r"/logs$"))
    expect(page.get_by_role("searchbox")).to_have_value("")


def test_a_wrong_search_is_marked_at_its_place(show: Show) -> None:
    page = show("/logs")
    search(page, "level:error wrong:field")
    told = page.get_by_role("alert").filter(has_text="there is no field")
    expect(told).to_contain_text("Fields: level, service")
    expect(told.locator("mark")).to_have_text("w")
    search(page, "level:error")
    expect(told).to_have_count(0)
    expect(page.get_by_role("log")).to_contain_text("ValueError")


def test_the_histogram_is_brushed_to_a_range(show: Show) -> None:
    page = show("/logs?level=error")
    expect(page.get_by_label("Level", exact=True)).to_have_value("error")
    bars = chart(page, "Lines over time")
    expect(card(page, "Lines over time").get_by_role("button", name=re.compile("^error"))).to_be_visible()
    drag(page, bars, 0.4, 0.7)
    expect(page).to_have_url(re.compile(r"level=error&from=20.*Z&to=20.*Z"))
    settled(page)
    expect(page.get_by_role("log")).to_contain_text("ValueError")
    page.go_back()
    expect(page).to_have_url(re.compile(r"/logs\?level=error$"))


def test_the_histogram_has_a_table(show: Show) -> None:
    page = show("/logs")
    page.get_by_role("button", name="More: Lines over time").click()
    page.get_by_role("menuitem", name="Show as table").click()
    table = card(page, "Lines over time").get_by_role("table")
    expect(table.get_by_role("columnheader", name="error")).to_be_visible()
    expect(table.get_by_role("row").nth(2)).to_contain_text(re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d"))


def test_new_lines_come_a_scrolled_list_stays_and_pause_holds_them(look: Look, show: Show) -> None:
    page = show("/logs")
    log = page.get_by_role("log")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    teller = look.teller()
    teller.log(look.serving.house.wall.now_ns(), "seen at the top")
    expect(log.locator(".line").first).to_contain_text("seen at the top")
    log.evaluate("e => e.scrollTop = 720")
    page.wait_for_timeout(200)
    top = log.evaluate(FIRST)
    teller.log(look.serving.house.wall.now_ns(), "came while reading")
    expect(page.get_by_role("button", name=re.compile(r"new lines?$"))).to_be_visible()
    assert log.evaluate(FIRST) == top
    page.get_by_role("button", name=re.compile(r"new lines?$")).click()
    expect(log).to_contain_text("came while reading")
    page.get_by_role("button", name="Pause").click()
    teller.log(look.serving.house.wall.now_ns(), "came while paused")
    page.wait_for_timeout(2_500)
    expect(log).not_to_contain_text("came while paused")
    page.get_by_role("button", name="Resume").click()
    expect(log).to_contain_text("came while paused")
    teller.close()


def test_a_link_leads_to_the_line_among_its_neighbours(show: Show) -> None:
    page = show("/logs?q=%22%23580%22")
    page.get_by_role("log").locator(".line").first.click()
    link = page.get_by_role("link", name="Link to this line")
    address = link.get_attribute("href") or ""
    assert "line=" in address
    assert "from=" in address
    page = show(address.replace("q=%22%23580%22&", ""))
    opened = page.get_by_role("log").locator(".line.open")
    expect(opened).to_contain_text("#580")
    expect(page.get_by_role("log")).to_contain_text("#579")
    expect(page.get_by_role("region", name="Around the linked line")).to_be_visible()


def test_a_linked_line_is_found_among_many(look: Look, show: Show) -> None:
    assert look.told is not None
    at = look.told.now_ns - 400 * MINUTE
    teller = look.teller()
    teller.log(at, *[f"crowd number {row}" for row in range(900)])
    teller.close()
    page = show("/logs?q=%22crowd+number+0%22")
    page.get_by_role("log").locator(".line").first.click()
    address = page.get_by_role("link", name="Link to this line").get_attribute("href") or ""
    page = show(re.sub(r"q=[^&]*&", "", address))
    opened = page.get_by_role("log").locator(".line.open")
    expect(opened).to_contain_text("crowd number 0")
    expect(opened).to_be_in_viewport()
    expect(page.get_by_role("log")).to_contain_text("crowd number 1")


def test_a_value_becomes_a_condition(show: Show) -> None:
    page = show("/logs?q=served")
    page.get_by_role("log").locator(".line").first.click()
    user = page.get_by_role("log").get_by_role("button", name=re.compile(r"^u\d+$")).inner_text()
    page.get_by_role("log").get_by_role("button", name=user, exact=True).click()
    expect(page.get_by_role("searchbox")).to_have_value(f"served attributes.user:{user}")
    settled(page)
    expect(page.get_by_role("log")).to_contain_text("request served")


def test_a_long_line_is_cut_and_opens_and_html_is_text(look: Look, show: Show) -> None:
    page = show("/logs?q=long+OR+HTML")
    log = page.get_by_role("log")
    expect(log).to_contain_text(HOSTILE)
    assert page.title().startswith("Logs")
    row = log.locator(".line", has_text="one very long line")
    assert len(row.inner_text()) < 1_000
    row.click()
    expect(log.locator("pre")).to_contain_text("one very long line")
    page.get_by_role("button", name=re.compile("Show all of this line")).click()
    assert len(log.locator("pre").inner_text()) == len(LONG)


def test_a_models_lines_are_those_of_its_hosts(show: Show) -> None:
    page = show("/logs?model=churn")
    scope = page.get_by_role("button", name=re.compile("Hosts of churn: api-1"))
    expect(scope).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("log")).to_contain_text("churn-api")
    scope.click()
    expect(page).to_have_url(re.compile("hosts=all"))
    expect(page.get_by_role("button", name="Only hosts of churn")).to_have_attribute("aria-pressed", "false")


def test_nothing_found_says_what_to_do(show: Show) -> None:
    page = show("/logs?q=thereisnosuchword")
    expect(page.get_by_text("Take a longer time range or fewer conditions.")).to_be_visible()
    page.get_by_role("link", name="Clear the search").click()
    expect(page.get_by_role("log")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_fault_for_people_who_cannot_see_or_point(show: Show, page: Page, theme: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    show("/logs?q=slow+OR+level:error")
    page.get_by_role("log").locator(".line").first.click()
    expect(page.get_by_role("log")).to_have_attribute("aria-live", "off")
    assert faults(page) == []
    page.get_by_role("button", name="Syntax").click()
    assert faults(page) == []
