"""The report: what it says, and that it is one sheet of paper that needs no colour."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import Look, faults, settled
from tests.page.house import PRICE

pytestmark = pytest.mark.needs("chromium")
Show = Callable[[str], Page]
CHURN = "/report?model=churn&from=now-3d"


def pages(pdf: bytes) -> int:
    """How many pages a PDF of Chromium has."""
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))


def test_it_says_in_words_what_the_tables_hold(look: Look, show: Show) -> None:
    page = show(CHURN)
    sheet = page.get_by_role("article", name="Report: churn")
    words = sheet.get_by_role("region", name="In short")
    assert look.told is not None
    expect(words).to_contain_text("of them failed")
    expect(words).to_contain_text("3 of 6 inputs look different")
    expect(words).to_contain_text("2 alerts fired, 2 of them still fire.")
    expect(words).to_contain_text("The newest release, 2026.2")
    expect(words).to_contain_text(re.compile(r"AUC was 0\.\d+ \(0\.\d+ to 0\.\d+\), against 0\.\d+ of 2026\.1"))
    releases = sheet.get_by_role("table").last
    shown = [int(text.replace(",", "")) for text in releases.locator("tbody td:nth-child(4)").all_inner_texts()]
    assert sum(shown) >= look.told.predictions
    total = re.search(r"answered ([\d,]+) calls", words.inner_text())
    assert total is not None
    assert int(total[1].replace(",", "")) == sum(shown)
    expect(sheet.get_by_role("img")).to_have_count(4)
    expect(sheet.get_by_role("row", name=re.compile("^tenure"))).to_contain_text("drifts")
    expect(sheet.get_by_role("row", name=re.compile("^ChurnLatencyHigh"))).to_contain_text("critical")


@pytest.mark.parametrize("model", ["churn", PRICE, "fraud"])
def test_it_is_one_sheet_of_a4(show: Show, model: str) -> None:
    page = show(f"/report?model={quote(model)}&from=now-3d")
    expect(page.get_by_role("article")).to_be_visible()
    pdf = page.pdf(prefer_css_page_size=True)
    assert pages(pdf) == 1
    width, height = (float(text) for text in re.findall(rb"/MediaBox\s*\[0 0 ([\d.]+) ([\d.]+)\]", pdf)[0])
    assert abs(width - 595) < 2
    assert abs(height - 842) < 2


def test_on_paper_there_is_only_the_sheet_and_ink_is_black_on_white(show: Show, page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    show(CHURN)
    page.emulate_media(color_scheme="dark", media="print")
    expect(page.get_by_role("navigation")).to_be_hidden()
    expect(page.get_by_role("button", name="Print or save as PDF")).to_be_hidden()
    sheet = page.get_by_role("article")
    assert sheet.evaluate("e => getComputedStyle(e).color") == "rgb(0, 0, 0)"
    assert sheet.evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(255, 255, 255)"
    colours = set(
        sheet.evaluate(
            "e => [...e.querySelectorAll('*')].flatMap(one => {const s = getComputedStyle(one);"
            " return [s.color, s.fill, s.stroke, s.borderBottomColor]})"
        )
    )
    for colour in colours:
        channels = re.findall(r"\d+", colour)[:3]
        assert len(set(channels)) <= 1, f"{colour} is no grey"


def test_a_period_can_be_held_so_that_the_link_stays_the_same(show: Show) -> None:
    page = show(CHURN)
    page.get_by_role("link", name="Hold this period").click()
    expect(page).to_have_url(re.compile(r"from=20\d\d-.*&to=20\d\d-"))
    settled(page)
    expect(page.get_by_role("article")).to_be_visible()
    expect(page.get_by_role("link", name="Hold this period")).to_have_count(0)


def test_the_link_is_copied_and_printing_is_asked_for(show: Show, page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.add_init_script("window.print = () => { window.printed = true }")
    show(CHURN)
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == page.url
    page.get_by_role("button", name="Print or save as PDF").click()
    assert page.evaluate("window.printed") is True


def test_a_regression_a_silent_model_and_none(show: Show) -> None:
    page = show(f"/report?model={quote(PRICE)}&from=now-3d")
    words = page.get_by_role("region", name="In short")
    expect(words).to_contain_text("Mean abs. error was")
    expect(words).to_contain_text("No alert fired.")
    page = show("/report?model=fraud&from=now-1h")
    expect(page.get_by_role("region", name="In short")).to_contain_text("fraud answered nobody")
    page = show("/report")
    expect(page.get_by_text("Choose a model", exact=True)).to_be_visible()


def test_a_question_that_fails_can_be_asked_again(show: Show, page: Page) -> None:
    page.route(
        "**/api/v1/quality*",
        lambda route: route.fulfill(
            status=500, json={"error": {"name": "Corrupt", "message": "a torn page", "hint": ""}}
        ),
    )
    show(CHURN)
    expect(page.get_by_role("alert")).to_contain_text("a torn page")
    page.unroute("**/api/v1/quality*")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("article")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_fault_for_people_who_cannot_see_or_point(show: Show, page: Page, theme: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    show(CHURN)
    expect(page.get_by_role("article")).to_be_visible()
    assert faults(page) == []
