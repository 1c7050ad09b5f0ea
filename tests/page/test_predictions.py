"""Predictions: the table with its search, and the page of one."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.page.conftest import Look, card, faults, settled
from tests.page.house import PRICE

pytestmark = pytest.mark.needs("chromium")
Show = Callable[[str], Page]
LIST = "/predictions?model=churn&from=now-48h"
HOSTILE = 'ق/"><img src=x onerror="document.title=1">'


def rows(page: Page) -> Locator:
    """The rows of the table, without its head."""
    return page.get_by_role("table", name="Predictions").get_by_role("row")


def test_thousands_of_rows_and_few_in_the_document(show: Show) -> None:
    page = show(LIST)
    expect(page.get_by_role("status").filter(has_text="predictions")).to_contain_text(re.compile(r"\d,\d+ predictions"))
    assert rows(page).count() < 80
    table = page.get_by_role("table", name="Predictions")
    expect(table).to_have_attribute("aria-rowcount", "201")
    table.evaluate("e => { e.scrollTop = e.scrollHeight; }")
    expect(table).to_have_attribute("aria-rowcount", "401")


def test_a_search_narrows_and_is_in_the_address(show: Show, look: Look) -> None:
    page = show(LIST)
    field = page.get_by_label("Search predictions")
    field.fill("plan:pro tenure>40")
    field.press("Enter")
    expect(page).to_have_url(re.compile(r"q=plan%3Apro\+tenure%3E40"))
    settled(page)
    table = look.serving.house.rows.sql(
        """SELECT count(*) AS n FROM prediction WHERE model = 'churn' AND "features.plan" = 'pro'
        AND TRY_CAST("features.tenure" AS DOUBLE) > 40"""
    )
    count = int(table.to_pylist()[0]["n"])
    expect(page.get_by_role("status").filter(has_text=f"{count:,} predictions")).to_be_visible()
    page.get_by_role("button", name="Failed", exact=True).click()
    expect(page).to_have_url(re.compile("is%3Afailed"))
    expect(field).to_have_value("plan:pro tenure>40 is:failed")
    page.get_by_role("button", name="Failed", exact=True).click()
    expect(field).to_have_value("plan:pro tenure>40")
    page.go_back()
    expect(field).to_have_value("plan:pro tenure>40 is:failed")


def test_wrong_ones_are_marked(show: Show) -> None:
    page = show(f"{LIST}&q=is:wrong")
    expect(rows(page).nth(1)).to_contain_text("wrong")
    assert rows(page).filter(has_text="right").count() == 0


def test_a_search_that_cannot_be_read_says_what_is_near(show: Show) -> None:
    page = show(f"{LIST}&q=tenur>40")
    expect(page.get_by_role("alert")).to_contain_text("Did you mean tenure?")
    page.get_by_label("Search predictions").fill("tenure>1000000")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No prediction matches")).to_be_visible()
    page.get_by_role("button", name="Clear the search").click()
    expect(rows(page).nth(1)).to_be_visible()


def test_one_prediction_with_what_produced_it(show: Show) -> None:
    page = show(f"{LIST}&q=c5000")
    page.get_by_role("link", name="c5000", exact=True).click()
    expect(page).to_have_url(re.compile("id=c5000"))
    settled(page)
    table = page.get_by_role("table", name="Features")
    expect(table.get_by_role("row").filter(has_text="tenure")).to_be_visible()
    produced = card(page, "What produced it")
    for text in ("9c1d9c1d", "2222", "api-1", "Cy <cy@example.org>"):
        expect(produced).to_contain_text(text)
    expect(page.locator(".tile", has_text="Latency")).to_contain_text("ms")
    expect(card(page, "Log lines around it").get_by_role("log")).to_be_visible()
    page.reload()
    expect(produced).to_contain_text("9c1d9c1d")
    page.get_by_role("link", name="All predictions").click()
    expect(page.get_by_label("Search predictions")).to_have_value("c5000")


def test_its_truth_feedback_and_log_lines_are_told(show: Show, look: Look) -> None:
    house = look.serving.house
    now_ns = house.wall.now_ns()
    teller = look.teller()
    teller.predict(now_ns, 1)
    teller.close()
    name = f"live-{now_ns}-0"
    client = httpx.Client(base_url=look.url)
    client.post("/api/v1/facts", json=[
        {"id": name, "model": "churn", "value": False, "source": "billing"},
        {"id": name, "model": "churn", "kind": "feedback", "value": "wrong limit", "source": "desk"},
    ])  # fmt: skip
    client.post("/api/v1/logs", json={"message": "one of its own", "prediction_id": name, "at": now_ns / 1e9})
    client.close()
    page = show(f"/predictions?model=churn&id={name}")
    facts = page.get_by_role("table", name="Truth, feedback and engagement")
    expect(facts).to_contain_text("billing")
    expect(facts).to_contain_text("wrong limit")
    expect(page.locator(".badge", has_text="wrong")).to_be_visible()
    expect(card(page, "Log lines around it")).to_contain_text("one of its own")


def test_a_feature_leads_to_its_drift(show: Show) -> None:
    page = show("/predictions?model=churn&id=c5000&from=now-48h")
    page.get_by_role("table", name="Features").get_by_role("link", name="tenure").click()
    expect(page).to_have_url(re.compile(r"/drift\?.*feature=tenure"))


def test_ids_and_features_are_text_never_html(show: Show, look: Look) -> None:
    client = httpx.Client(base_url=look.url)
    sent = {"model": PRICE, "version": "7", "id": HOSTILE, "features": {'of "عقار" <b>': "<i>x</i>"}, "prediction": 1.5}
    assert client.post("/api/v1/predictions", json=sent).status_code == 200
    client.close()
    page = show(f"/predictions?model={quote(PRICE)}")
    page.get_by_role("link", name=HOSTILE).click()
    expect(page.get_by_role("table", name="Features")).to_contain_text("<i>x</i>")
    expect(page.get_by_role("heading", level=2).filter(has_text="onerror")).to_be_visible()
    assert page.locator("img").count() == 0
    address = page.url
    page.reload()
    settled(page)
    assert page.url == address
    expect(page.get_by_role("table", name="Features")).to_contain_text("<i>x</i>")


def test_csv_holds_what_is_loaded(show: Show, tmp_path: Path) -> None:
    page = show(f"{LIST}&q=is:wrong")
    page.get_by_role("button", name="More: Predictions").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Download CSV").click()
    download.value.save_as(tmp_path / "rows.csv")
    found = list(csv.DictReader((tmp_path / "rows.csv").read_text(encoding="utf-8").splitlines()))
    assert len(found) == 200
    assert all(row["prediction"] != row["label"] for row in found)


def test_nothing_there_says_so(show: Show, page: Page) -> None:
    show("/predictions?model=churn&id=nobody")
    expect(page.get_by_text("There is no prediction nobody")).to_be_visible()
    show("/predictions?model=churn&from=2001-01-01T00:00:00Z&to=2001-01-02T00:00:00Z")
    expect(page.get_by_text("No predictions in this time range.")).to_be_visible()
    show("/predictions")
    expect(page.get_by_text("Choose a model", exact=True)).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("address", [LIST, "/predictions?model=churn&id=c5000"])
def test_no_serious_fault_for_people_who_cannot_see_or_point(show: Show, page: Page, address: str, theme: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    show(address)
    expect(page.get_by_role("table").first).to_be_visible()
    assert faults(page) == []
