"""One model: figures, charts that zoom and stay, tables beside them, alerts and log lines."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.page.conftest import Look, card, faults, settled
from tests.page.house import HOSTILE

pytestmark = pytest.mark.needs("chromium")
Show = Callable[[str], Page]
MODEL = "/model?model=churn"


def chart(page: Page, name: str) -> Locator:
    """The drawing area of a chart."""
    return card(page, name).get_by_role("application")


def drag(page: Page, area: Locator, start: float, end: float) -> None:
    """Drags over parts of a chart's width."""
    area.scroll_into_view_if_needed()
    box = area.locator(".u-over").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * start, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * (start + end) / 2, middle)
    page.mouse.move(box["x"] + box["width"] * end, middle)
    page.mouse.up()


def test_figures_and_charts_of_the_model(show: Show) -> None:
    page = show(MODEL)
    for name in ("Predictions", "Latency", "Errors", "Quality", "Drifting features", "Live share", "CPU", "Memory"):
        expect(chart(page, name)).to_be_visible()
    legend = card(page, "Predictions").get_by_role("button")
    expect(legend.filter(has_text="2026.1")).to_contain_text("/min")
    expect(card(page, "Latency").get_by_role("button", name=re.compile("p95"))).to_contain_text("ms")
    expect(page.locator(".tile", has_text="AUC")).to_contain_text(re.compile(r"0\.\d+ – 0\.\d+"))
    expect(page.locator(".mark", has_text="2026.2").first).to_be_visible()


def test_a_drag_zooms_the_page_and_back_undoes_it(show: Show) -> None:
    page = show(MODEL)
    drag(page, chart(page, "Latency"), 0.25, 0.5)
    expect(page).to_have_url(re.compile(r"from=20\d\d-.*Z&to=20\d\d-.*Z"))
    settled(page)
    expect(page.get_by_role("button", name="Follow now")).to_be_visible()
    page.go_back()
    expect(page).to_have_url(re.compile(r"/model\?model=churn$"))


def test_a_live_update_moves_no_zoom(look: Look, show: Show) -> None:
    page = show(MODEL)
    drag(page, chart(page, "Predictions"), 0.3, 0.6)
    expect(page.get_by_role("button", name="Follow now")).to_be_visible()
    settled(page)
    address, zoomed = page.url, shot(chart(page, "Predictions"))
    teller = look.teller()
    for _ in range(3):
        teller.predict(look.serving.house.wall.now_ns(), 40)
        page.wait_for_timeout(700)
    teller.close()
    assert page.url == address
    assert shot(chart(page, "Predictions")) == zoomed


def shot(area: Locator) -> bytes:
    """The drawn pixels, without the pointer's cross."""
    area.page.mouse.move(1, 1)
    area.page.wait_for_timeout(300)
    return bytes(area.evaluate("e => e.querySelector('canvas').toDataURL()"), "ascii")


def test_new_points_come_by_themselves(look: Look, show: Show) -> None:
    page = show(f"{MODEL}&from=now-15m")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    settled(page)
    before = shot(chart(page, "Predictions"))
    teller = look.teller()
    teller.predict(look.serving.house.wall.now_ns() - 60_000_000_000, 200)
    teller.close()
    end = 40
    while shot(chart(page, "Predictions")) == before and end:
        end -= 1
        page.wait_for_timeout(500)
    assert end, "nothing was drawn"


FIRST = """e => [...e.querySelectorAll('.line')]
    .find(line => line.getBoundingClientRect().top >= e.getBoundingClientRect().top).innerText"""


def test_new_log_lines_come_and_a_scrolled_list_stays(look: Look, show: Show) -> None:
    page = show(MODEL)
    log = page.get_by_role("log")
    log.scroll_into_view_if_needed()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    log.evaluate("e => e.scrollTop = 480")
    page.wait_for_timeout(200)
    top = log.evaluate(FIRST)
    teller = look.teller()
    for turn in range(8):
        teller.log(look.serving.house.wall.now_ns(), f"fresh line {turn}", level="ERROR")
        page.wait_for_timeout(250)
    teller.close()
    news = page.get_by_role("button", name=re.compile(r"new lines?$"))
    expect(news).to_be_visible()
    assert top == log.evaluate(FIRST)
    news.click()
    expect(log).to_contain_text("fresh line 7")


def test_what_users_write_is_text(show: Show) -> None:
    page = show(MODEL)
    line = page.get_by_role("log").get_by_role("button").filter(has_text="wants to be HTML")
    line.scroll_into_view_if_needed()
    expect(line).to_contain_text(HOSTILE[:40])
    line.click()
    expect(page.locator(".detail pre")).to_have_text(HOSTILE)
    assert page.locator("img").count() == 0
    assert page.title().startswith("Model")


def test_a_line_of_a_megabyte_opens(show: Show) -> None:
    page = show(MODEL)
    line = page.get_by_role("log").get_by_role("button").filter(has_text="one very long line")
    line.scroll_into_view_if_needed()
    assert len(line.inner_text()) < 1_000
    line.click()
    more = page.get_by_role("button", name=re.compile("Show all of this line"))
    expect(more).to_contain_text("1,000,")
    more.click()
    assert page.locator(".detail pre").evaluate("e => e.textContent.length") > 1_000_000


def test_a_chart_has_a_table_and_a_csv(show: Show, tmp_path: Path) -> None:
    page = show(MODEL)
    box = card(page, "Predictions")
    box.get_by_role("button", name="More: Predictions").click()
    page.get_by_role("menuitem", name="Show as table").click()
    table = box.get_by_role("table", name="Predictions")
    expect(table.get_by_role("columnheader", name="2026.2")).to_be_visible()
    assert table.get_by_role("row").count() < 60
    assert int(table.get_attribute("aria-rowcount") or 0) > 100
    with page.expect_download() as waited:
        box.get_by_role("button", name="More: Predictions").click()
        page.get_by_role("menuitem", name="Download CSV").click()
    path = tmp_path / "predictions.csv"
    waited.value.save_as(path)
    rows = list(csv.reader(path.read_text().splitlines()))
    assert rows[0] == ["time", "2026.1", "2026.2"]
    assert len(rows) > 100
    assert any(row[2] not in {"", "0"} for row in rows[1:])


def test_a_chart_is_a_picture(show: Show, tmp_path: Path) -> None:
    page = show(MODEL)
    with page.expect_download() as waited:
        page.get_by_role("button", name="More: Latency").click()
        page.get_by_role("menuitem", name="Download PNG").click()
    path = tmp_path / "latency.png"
    waited.value.save_as(path)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert path.stat().st_size > 5_000


def test_the_keyboard_reads_a_chart_and_zooms(show: Show) -> None:
    page = show(MODEL)
    area = chart(page, "Latency")
    area.focus()
    page.keyboard.press("ArrowLeft")
    said = card(page, "Latency").locator("[aria-live=polite]").first
    expect(said).to_contain_text(re.compile(r"p50 .* p95 .* p99"))
    page.keyboard.press("PageUp")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("from=.*to="))


def test_a_legend_entry_shows_its_series_alone(show: Show) -> None:
    page = show(MODEL)
    legend = card(page, "Latency").get_by_role("button", name=re.compile("^p"))
    legend.filter(has_text="p99").click()
    expect(legend.filter(has_text="p50")).to_have_attribute("aria-pressed", "false")
    expect(legend.filter(has_text="p99")).to_have_attribute("aria-pressed", "true")
    legend.filter(has_text="p99").click()
    expect(legend.filter(has_text="p50")).to_have_attribute("aria-pressed", "true")


def test_a_query_that_fails_says_so_in_its_card(look: Look, page: Page) -> None:
    page.route(
        re.compile(r"query_range.*latency"),
        lambda route: route.fulfill(
            status=503, json={"status": "error", "errorType": "unavailable", "error": "the query took too long"}
        ),
    )
    page.goto(look.url + MODEL)
    box = card(page, "Latency")
    expect(box.get_by_role("alert")).to_contain_text("the query took too long")
    expect(chart(page, "Predictions")).to_be_visible()
    page.unroute(re.compile(r"query_range.*latency"))
    box.get_by_role("button", name="Try again").click()
    expect(chart(page, "Latency")).to_be_visible()


def test_without_a_model_or_with_an_unknown_one(show: Show) -> None:
    page = show("/model")
    expect(page.get_by_text("Choose a model")).to_be_visible()
    page = show("/model?model=nobody")
    expect(page.get_by_text("Nothing is known of nobody")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_fault_for_people_who_cannot_see_or_point(show: Show, page: Page, theme: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    show(MODEL)
    expect(chart(page, "Memory")).to_be_visible()
    page.get_by_role("log").get_by_role("button").first.click()
    assert faults(page) == []
