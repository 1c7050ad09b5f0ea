"""Quality: figures over time, label coverage and delay, calibration, confusion, and models without any of them."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import Look, card, faults, settled
from tests.page.house import PRICE

pytestmark = pytest.mark.needs("chromium")
Show = Callable[[str], Page]
QUALITY = "/quality?model=churn&from=now-48h"


def test_figures_coverage_and_delay_over_time(show: Show) -> None:
    page = show(QUALITY)
    for name in ("AUC", "Label coverage", "Label delay"):
        expect(card(page, name).get_by_role("application")).to_be_visible()
    legend = card(page, "AUC").get_by_role("button")
    expect(legend.filter(has_text="2026.1")).to_contain_text(re.compile(r"0\.\d"))
    expect(page.locator(".tile", has_text="AUC · 2026.2")).to_contain_text(re.compile(r"0\.\d+ – 0\.\d+"))
    expect(page.locator(".tile", has_text="Median label delay")).to_contain_text("same day")


def test_the_figures_are_those_of_the_server(show: Show, look: Look) -> None:
    page = show("/quality?model=churn&from=now-60h")
    (row,) = [one for one in look.serving.house.quality.figures("churn").rows if one.version == "2026.1"]
    table = page.get_by_role("table", name="All figures")
    line = table.get_by_role("row").filter(has_text="2026.1")
    expect(line).to_contain_text(f"{row.labels:,}")
    expect(line).to_contain_text(f"{row.metrics['auc'].value:.3g}")


def test_another_metric_and_period_are_in_the_address(show: Show) -> None:
    page = show(QUALITY)
    page.get_by_label("Metric").select_option("recall")
    expect(page).to_have_url(re.compile("metric=recall"))
    expect(card(page, "Recall").get_by_role("application")).to_be_visible()
    page.get_by_label("Period").select_option("day")
    expect(page).to_have_url(re.compile("by=day"))
    page.go_back()
    page.go_back()
    expect(card(page, "AUC")).to_be_visible()


def test_calibration_by_keyboard_as_table_and_csv(show: Show, tmp_path: Path) -> None:
    page = show(QUALITY)
    chart = card(page, "Calibration").get_by_role("application")
    chart.focus()
    page.keyboard.press("ArrowRight")
    expect(chart.locator("[aria-live]")).to_contain_text(re.compile(r"Score 0\.0 – 0\.1: 2026\.1 .* labels"))
    menu = page.get_by_role("button", name="More: Calibration")
    menu.click()
    page.get_by_role("menuitem", name="Show as table").click()
    expect(page.get_by_role("table", name="Calibration")).to_contain_text("0.1 – 0.2")
    menu.click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Download CSV").click()
    download.value.save_as(tmp_path / "calibration.csv")
    rows = list(csv.DictReader((tmp_path / "calibration.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 20
    assert all(float(row["low"]) <= float(row["actual"]) <= float(row["high"]) for row in rows if row["actual"])


def test_confusion_follows_the_threshold(show: Show) -> None:
    page = show(QUALITY)
    table = card(page, "Confusion").get_by_role("table")
    cells = table.get_by_role("cell")
    expect(cells.nth(3)).to_be_visible()
    before = table.inner_text()
    page.get_by_label("Threshold").fill("0.2")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"threshold=0\.2"))
    settled(page)
    expect(table).not_to_have_text(before, use_inner_text=True)


def test_a_model_of_numbers_says_what_it_has_not(show: Show) -> None:
    page = show(f"/quality?model={quote(PRICE)}&from=now-48h")
    expect(card(page, "Mean absolute error").get_by_role("application")).to_be_visible()
    expect(page.get_by_text("this model predicts numbers")).to_be_visible()
    expect(page.get_by_text("for numbers, see the bias")).to_be_visible()


def test_without_labels_the_next_step_is_said(show: Show, page: Page) -> None:
    show("/quality?model=fraud&from=now-60h")
    expect(page.get_by_text("No labels of these predictions have come yet")).to_be_visible()
    expect(page.locator("pre")).to_contain_text('mk.truth(prediction_id, value, model="fraud")')
    show("/quality?model=churn&from=2001-01-01T00:00:00Z&to=2001-01-02T00:00:00Z")
    expect(page.get_by_text("No predictions in this time range.")).to_be_visible()


def test_a_question_that_fails_can_be_asked_again(show: Show, page: Page) -> None:
    page.route(
        "**/api/v1/quality/outcomes?*",
        lambda route: route.fulfill(
            status=500, json={"error": {"name": "Corrupt", "message": "a torn page", "hint": "Call somebody."}}
        ),
    )
    show(QUALITY)
    failed = card(page, "Calibration").get_by_role("alert")
    expect(failed).to_contain_text("a torn page")
    page.unroute("**/api/v1/quality/outcomes?*")
    failed.get_by_role("button", name="Try again").click()
    expect(card(page, "Calibration").get_by_role("application")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_fault_for_people_who_cannot_see_or_point(show: Show, page: Page, theme: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    show(QUALITY)
    expect(card(page, "Confusion").get_by_role("table")).to_be_visible()
    assert faults(page) == []
