"""Explore: PromQL with completion, marked mistakes, chart, table and values at the end."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.page.conftest import card, faults, settled
from tests.page.test_model import chart, drag

pytestmark = pytest.mark.needs("chromium")
Show = Callable[[str], Page]
RATE = "sum by (model) (rate(model_predictions_total[10m]))"


def box(page: Page) -> Locator:
    return page.get_by_role("textbox", name="PromQL query")


def asked(query: str, **more: str) -> str:
    return f"/explore?{urlencode({'query': query, **more})}"


def test_a_query_gives_a_chart_and_a_table_and_is_a_link(show: Show) -> None:
    page = show("/explore")
    box(page).fill(RATE)
    box(page).press("Enter")
    expect(page).to_have_url(re.compile("query=sum"))
    expect(chart(page, "Chart")).to_be_visible()
    rows = card(page, "Series").get_by_role("row")
    expect(rows).to_have_count(4)
    expect(card(page, "Series")).to_contain_text('price/estimate "عقار"')
    page.reload()
    expect(box(page)).to_have_value(RATE)
    expect(rows).to_have_count(4)
    drag(page, chart(page, "Chart"), 0.3, 0.6)
    expect(page).to_have_url(re.compile("from=20"))
    page.go_back()
    page.go_back()
    expect(page.get_by_text("Ask anything that is measured")).to_be_visible()


def test_values_at_the_end(show: Show) -> None:
    page = show(asked('model_feature_drift{model="churn",version="2026.2",measure="psi"}'))
    page.get_by_role("button", name="At the end").click()
    expect(page).to_have_url(re.compile("kind=instant"))
    table = card(page, "Value").get_by_role("table")
    expect(table.get_by_role("row", name=re.compile("tenure"))).to_contain_text(re.compile(r"\d\.\d"))
    expect(chart(page, "Chart")).to_have_count(0)
    page = show(asked("1 + 1", kind="instant"))
    expect(card(page, "Value").get_by_role("table")).to_contain_text("2")


def test_the_table_becomes_csv(show: Show, tmp_path: Path) -> None:
    page = show(asked("model_predictions_total"))
    page.get_by_role("button", name="More: Series").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Download as CSV").click()
    download.value.save_as(tmp_path / "series.csv")
    head, *rows = (tmp_path / "series.csv").read_text(encoding="utf-8").splitlines()
    assert set(head.split(",")) >= {"__name__", "model", "version", "Newest"}
    assert len(rows) == 4


def test_names_labels_and_values_are_completed(show: Show) -> None:
    page = show("/explore")
    offers = page.get_by_role("option")
    box(page).press_sequentially("rat")
    expect(offers.filter(has_text="function").first).to_contain_text("rate")
    box(page).press("ArrowDown")
    while "rate" not in (page.locator("[aria-selected=true][role=option]").inner_text().split()):
        box(page).press("ArrowDown")
    box(page).press("Enter")
    expect(box(page)).to_have_value("rate(")
    box(page).press_sequentially("model_predic")
    expect(offers.first).to_contain_text("model_predictions_total")
    box(page).press("Tab")
    box(page).press_sequentially("{mod")
    expect(offers.first).to_contain_text("model")
    box(page).press("Tab")
    box(page).press_sequentially('="chu')
    expect(offers.first).to_contain_text("churn")
    box(page).press("Tab")
    expect(box(page)).to_have_value('rate(model_predictions_total{model="churn')
    box(page).press_sequentially('"}[10m])')
    box(page).press("Enter")
    expect(chart(page, "Chart")).to_be_visible()


MISTAKES = [
    ("sum(rate(model_predictions_total[5m])", 3, "(", "unclosed left parenthesis"),
    ("sumx(model_predictions_total)", 0, "sumx", "unknown function"),
    ("rate(model_predictions_total)", 0, "rate", "expected type matrix"),
    ("1 + * 2", 4, "*", "expected an expression"),
    ("model_age_seconds model_age_seconds", 18, "model_age_seconds", "expected an operator"),
    ("model_age_seconds +", 19, " ", "expected an expression"),
    ('model_age_seconds{model="churn}', 24, '"churn}', "unterminated quoted string"),
]


def test_a_mistake_is_marked_at_its_place(show: Show) -> None:
    page = show(asked("model_age_seconds"))
    mark = page.locator(".editor mark")
    for query, place, marked, told in MISTAKES:
        box(page).fill(query)
        expect(mark).to_have_count(0)
        box(page).press("Enter")
        expect(page.get_by_role("alert").filter(has_text=told)).to_be_visible()
        expect(box(page)).to_have_attribute("aria-invalid", "true")
        assert mark.evaluate("e => e.textContent") == marked
        assert mark.evaluate("e => e.previousSibling.textContent.length") == place, query


def test_examples_begin_and_nothing_found_says_what_to_do(show: Show) -> None:
    page = show("/explore")
    page.get_by_role("button", name=re.compile("Latency p95")).click()
    expect(box(page)).to_have_value(re.compile("histogram_quantile"))
    expect(card(page, "Series").get_by_role("row").nth(1)).to_contain_text("ms")
    page = show(asked("no_such_metric"))
    expect(page.get_by_text("The query found nothing in this time range")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_fault_for_people_who_cannot_see_or_point(show: Show, page: Page, theme: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    show(asked(RATE))
    expect(chart(page, "Chart")).to_be_visible()
    settled(page)
    assert faults(page) == []
    box(page).fill("")
    box(page).press_sequentially("mod")
    expect(page.get_by_role("option").first).to_be_visible()
    assert faults(page) == []
    show(asked("sum("))
    assert faults(page) == []
