"""The overview: the health of every model in one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.page.conftest import Look, card, faults
from tests.page.house import CHURN, PRICE

pytestmark = pytest.mark.needs("chromium")
Show = Callable[[str], Page]


def test_each_model_has_a_line_with_its_health(show: Show) -> None:
    page = show("/")
    table = page.get_by_role("table", name="Models")
    churn = table.get_by_role("row").filter(has=page.get_by_role("link", name=CHURN, exact=True))
    expect(churn).to_contain_text("Critical")
    expect(churn).to_contain_text("2026.2")
    expect(churn).to_contain_text("AUC 0.")
    expect(churn).to_contain_text(re.compile(r"3 of 6"))
    silent = table.get_by_role("row").filter(has=page.get_by_role("link", name="fraud", exact=True))
    expect(silent).to_contain_text("Silent")
    price = table.get_by_role("row").filter(has=page.get_by_role("link", name=PRICE))
    expect(price).to_contain_text("Healthy")
    expect(price).to_contain_text("MAE")


def test_the_worst_comes_first_and_columns_sort(show: Show) -> None:
    page = show("/")
    rows = page.get_by_role("table", name="Models").get_by_role("row")
    expect(rows.nth(1)).to_contain_text(CHURN)
    expect(rows.nth(3)).to_contain_text("Healthy")
    page.get_by_role("columnheader", name="Predictions").get_by_role("button").click()
    expect(page.get_by_role("columnheader", name="Predictions")).to_have_attribute("aria-sort", "descending")
    expect(rows.nth(1)).to_contain_text(CHURN)
    page.get_by_role("columnheader", name="Predictions").get_by_role("button").click()
    expect(rows.nth(1)).to_contain_text("fraud")


def test_alerts_and_changes_are_beside(show: Show) -> None:
    page = show("/")
    alerts = card(page, "Alerts")
    expect(alerts.get_by_role("listitem").first).to_contain_text("churn answers slowly")
    expect(alerts).to_contain_text("features of churn drift")
    expect(card(page, "What changed")).to_contain_text("2026.2 took over from 2026.1")


def test_new_models_appear_by_themselves(look: Look, show: Show) -> None:
    page = show("/")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    teller = look.teller()
    teller.predict(look.serving.house.wall.now_ns(), 3, model="newcomer")
    teller.close()
    table = page.get_by_role("table", name="Models")
    expect(table.get_by_role("row").filter(has_text="newcomer")).to_be_visible(timeout=30_000)


def test_no_model_yet_says_the_first_step(tmp_path: Path, chromium: Browser) -> None:
    empty = Look(tmp_path)
    try:
        page = chromium.new_page()
        page.goto(empty.url)
        expect(page.get_by_text("No prediction has arrived yet")).to_be_visible()
        expect(page.locator("pre")).to_contain_text("mk.log_prediction")
        expect(page.locator("pre")).to_contain_text(empty.url)
        page.close()
    finally:
        empty.stop()


def test_a_question_that_fails_says_so_and_can_be_asked_again(look: Look, page: Page) -> None:
    page.route(
        "**/api/v1/models",
        lambda route: route.fulfill(
            status=500, json={"error": {"name": "Corrupt", "message": "a torn page", "hint": "Call somebody."}}
        ),
    )
    page.goto(look.url)
    expect(page.get_by_role("alert")).to_contain_text("a torn page")
    page.unroute("**/api/v1/models")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("table", name="Models")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_fault_for_people_who_cannot_see_or_point(show: Show, page: Page, theme: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    show("/")
    expect(page.get_by_role("table", name="Models")).to_be_visible()
    assert faults(page) == []
