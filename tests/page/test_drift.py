"""Drift: the map of all features, one feature beside its reference, ten thousand features, names of any letters."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.page.conftest import card, faults, settled
from tests.page.house import PRICE

pytestmark = pytest.mark.needs("chromium")
Show = Callable[[str], Page]
DRIFT = "/drift?model=churn&from=now-48h"
MAP = "Features over time"


def heat(page: Page) -> Locator:
    """The drawing area of the map."""
    return card(page, MAP).get_by_role("application")


def test_the_features_that_drift_stand_first(show: Show) -> None:
    page = show(DRIFT)
    names = card(page, MAP).locator(".name")
    expect(names.first).to_be_visible()
    drifting = {"tenure", "monthly_fee", "plan", "@score"}
    assert set(names.all_inner_texts()[:4]) == drifting
    expect(page.locator(".tile", has_text="Drifted in the range")).to_contain_text("4")
    expect(page.locator(".tile", has_text="Most missing values")).to_contain_text("discount")
    expect(card(page, "Effect over time").get_by_role("application")).to_be_visible()


def test_a_click_on_a_cell_opens_its_feature_and_back_closes_it(show: Show) -> None:
    page = show(f"{DRIFT}&sort=name")
    names = card(page, MAP).locator(".name")
    expect(names.last).to_be_visible()
    place = names.all_inner_texts().index("plan")
    before = page.url
    canvas = heat(page).locator("canvas")
    box = canvas.bounding_box()
    assert box is not None
    canvas.click(position={"x": box["width"] * 0.7, "y": place * 22 + 8})
    expect(page).to_have_url(re.compile(r"feature=plan&at=20\d\d.*&until=20\d\d"))
    one = card(page, "plan")
    expect(one.get_by_role("row", name=re.compile("^unseen in the reference"))).to_contain_text("%")
    expect(one.get_by_role("button", name="Whole time range")).to_be_visible()
    address = page.url
    page.reload()
    settled(page)
    assert page.url == address
    expect(one.get_by_role("button", name="Whole time range")).to_be_visible()
    page.go_back()
    expect(page).to_have_url(before)
    expect(one.get_by_role("button", name="Whole time range")).to_have_count(0)


def test_numbers_are_shown_as_two_shapes_with_their_measures(show: Show) -> None:
    page = show(f"{DRIFT}&feature=tenure")
    one = card(page, "tenure")
    chart = one.get_by_role("application")
    expect(chart).to_be_visible()
    assert chart.locator("rect.current").count() > 10
    chart.focus()
    page.keyboard.press("ArrowRight")
    expect(chart.locator("[aria-live]")).to_contain_text(re.compile("Reference .* %, Current .* %"))
    measures = one.get_by_role("table", name="Measures: tenure")
    for name in ("PSI", "Kolmogorov–Smirnov", "Jensen–Shannon", "Wasserstein"):
        expect(measures.get_by_role("row").filter(has_text=name)).to_be_visible()
    expect(one.get_by_role("row", name=re.compile("^Mean"))).to_contain_text(re.compile(r"23\.\d[ \t]*3\d"))


def test_the_map_has_a_table_twin_and_a_csv(show: Show, tmp_path: Path) -> None:
    page = show(DRIFT)
    expect(heat(page)).to_be_visible()
    menu = page.get_by_role("button", name=f"More: {MAP}")
    menu.click()
    page.get_by_role("menuitem", name="Show as table").click()
    table = page.get_by_role("table", name=MAP)
    expect(table.get_by_role("row")).to_have_count(8)
    table.get_by_role("button", name="region").click()
    expect(page).to_have_url(re.compile("feature=region"))
    menu.click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Download CSV").click()
    path = tmp_path / "drift.csv"
    download.value.save_as(path)
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    assert rows[0][0] == "feature"
    assert {row[0].lstrip("'") for row in rows[1:]} == {
        "tenure", "monthly_fee", "plan", "@score", "discount", "calls", "region"
    }  # fmt: skip
    assert max(float(value or 0) for row in rows[1:] for value in row[1:]) > 1


def test_keys_move_over_the_map_and_open_a_cell(show: Show) -> None:
    page = show(f"{DRIFT}&sort=name")
    heat(page).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(heat(page).locator("[aria-live]")).to_contain_text("calls")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("feature=calls&at="))


def test_order_measure_and_filter_are_in_the_address(show: Show) -> None:
    page = show(DRIFT)
    page.get_by_label("Measure", exact=True).select_option("ks")
    expect(page).to_have_url(re.compile("measure=ks"))
    page.get_by_label("Order", exact=True).select_option("name")
    expect(card(page, MAP).locator(".name").first).to_have_text("@score")
    page.get_by_label("Only drifting").check()
    expect(page).to_have_url(re.compile("only=1"))
    page.get_by_placeholder("Find a feature").fill("nothing of this kind")
    expect(page.get_by_text("No feature matches.")).to_be_visible()
    page.get_by_role("button", name="Show all features").click()
    expect(card(page, MAP).locator(".name").first).to_be_visible()


def test_ten_thousand_features_stay_usable(show: Show, page: Page) -> None:
    def many(route: Route) -> None:
        answer = route.fetch().json()
        columns = len(answer["starts"])
        answer["features"] = [
            {
                "feature": f"feature/{place} \"ق\"",
                "numeric": True,
                "rows": [100] * columns,
                "missing": [0.0] * columns,
                "values": [place / 1e5] * columns,
                "ratios": [place / 1e4] * columns,
            }
            for place in range(10_000)
        ]  # fmt: skip
        route.fulfill(json=answer)

    page.route("**/api/v1/drift/map?*", many)
    show(DRIFT)
    expect(card(page, MAP).get_by_text("10000 rows")).to_be_visible()
    assert page.locator("main *").count() < 1500
    expect(card(page, MAP).locator(".name").first).to_have_text('feature/9999 "ق"')
    heat(page).evaluate("e => { e.scrollTop = e.scrollHeight; }")
    expect(card(page, MAP).locator(".name").last).to_have_text('feature/0 "ق"')
    page.get_by_placeholder("Find a feature").fill("feature/1234")
    expect(card(page, MAP).get_by_text("1 of 10000 rows")).to_be_visible()


def test_a_name_with_slash_quotes_and_another_direction(show: Show) -> None:
    page = show(f"/drift?model={quote(PRICE)}&from=now-48h&feature=area")
    expect(page.get_by_text("Fewer than 30 values in each hour")).to_be_visible()
    page.get_by_role("button", name="Daily", exact=True).click()
    expect(page).to_have_url(re.compile("by=day"))
    expect(heat(page)).to_be_visible()
    expect(card(page, "area").get_by_role("application")).to_be_visible()


def test_without_a_reference_the_next_step_is_said(show: Show) -> None:
    page = show("/drift?model=fraud&from=now-60h")
    expect(page.get_by_text("Nothing to compare with yet.")).to_be_visible()
    expect(page.locator("pre").first).to_contain_text('mk.reference("fraud", "3"')


def test_no_predictions_no_model_and_an_error_say_so(show: Show, page: Page) -> None:
    show("/drift?model=churn&from=2001-01-01T00:00:00Z&to=2001-01-02T00:00:00Z")
    expect(page.get_by_text("No predictions of this version in this time range.")).to_be_visible()
    show("/drift")
    expect(page.get_by_text("Choose a model", exact=True)).to_be_visible()
    show("/drift?model=churn&measure=nonsense")
    expect(page.get_by_role("alert")).to_contain_text("no measure 'nonsense'")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_fault_for_people_who_cannot_see_or_point(show: Show, page: Page, theme: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    show(f"{DRIFT}&feature=plan")
    expect(card(page, "plan").get_by_role("table").first).to_be_visible()
    assert faults(page) == []
