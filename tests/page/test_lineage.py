"""Models and data: the graph and its twin, what served when, two releases side by side, trainings."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.page.conftest import card, faults

pytestmark = pytest.mark.needs("chromium")
Show = Callable[[str], Page]
CHURN = "/lineage?model=churn"


def box(page: Page, name: str) -> Locator:
    """A box of the graph."""
    return card(page, "Lineage").get_by_role("button", name=re.compile(f"^{re.escape(name)}"))


def test_the_graph_leads_from_data_to_alerts(show: Show) -> None:
    page = show(CHURN)
    for name in (
        "Data: 22222222",
        "Code: 9c1d9c1d",
        "Training: training of churn 2026.2",
        "Model version: churn@2026.2",
        "Release: churn 2026.2",
        "Alert: ChurnDrift",
    ):
        expect(box(page, name)).to_be_visible()
    left = [box(page, name).bounding_box() for name in ("Data: 22222222", "Release: churn 2026.2", "Alert: ChurnDrift")]
    places = [one["x"] for one in left if one]
    assert places == sorted(places)
    assert len(set(places)) == 3


def test_no_box_lies_on_another(show: Show) -> None:
    page = show(CHURN)
    expect(box(page, "Data: 22222222")).to_be_visible()
    found = page.locator("g.box rect:first-of-type").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect()).map(r => [r.left, r.top, r.right, r.bottom])"
    )
    assert len(found) > 10
    for place, one in enumerate(found):
        for other in found[place + 1 :]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_a_choice_is_followed_both_ways_and_is_a_link(show: Show) -> None:
    page = show(CHURN)
    box(page, "Model version: churn@2026.2").click()
    expect(page).to_have_url(re.compile("node=model"))
    expect(page.locator("g.box.faint")).not_to_have_count(0)
    assert "faint" in (box(page, "Model version: churn@2026.1").get_attribute("class") or "")
    assert "faint" not in (box(page, "Alert: ChurnDrift").get_attribute("class") or "")
    page.reload()
    detail = page.get_by_role("region", name="Model version churn@2026.2")
    expect(detail).to_contain_text("22222222")
    detail.get_by_role("link", name="Open the model").click()
    expect(page).to_have_url(re.compile(r"/model\?.*model=churn&version=2026\.2"))
    page.go_back()
    expect(detail).to_be_visible()
    page.go_back()
    expect(detail).to_have_count(0)


def test_the_keyboard_walks_along_the_edges(show: Show) -> None:
    page = show(CHURN)
    box(page, "Data: 22222222").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(box(page, "Release: churn 2026.2")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(page.locator("g.box.chosen")).to_have_count(1)


def test_everything_that_was_made_with_some_data_or_code(show: Show) -> None:
    page = show(f"{CHURN}&node=code%3A{'4f2a' * 10}")
    page.get_by_role("link", name="Everything made with this code").click()
    region = page.get_by_role("region", name=re.compile("All that was made with code 4f2a4f2a"))
    expect(region.get_by_role("button", name=re.compile("^Model version: churn@2026.1"))).to_be_visible()
    expect(region.get_by_role("button", name=re.compile("^Model version: price"))).to_be_visible()


def test_the_table_twin_csv_and_picture(show: Show, tmp_path: Path) -> None:
    page = show(CHURN)
    menu = page.get_by_role("button", name="More: Lineage")
    menu.click()
    with page.expect_download() as given:
        page.get_by_role("menuitem", name="Download PNG").click()
    given.value.save_as(tmp_path / "a.png")
    picture = (tmp_path / "a.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000
    menu.click()
    with page.expect_download() as given:
        page.get_by_role("menuitem", name="Download CSV").click()
    given.value.save_as(tmp_path / "a.csv")
    rows = list(csv.reader((tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()))
    assert rows[0][0] == "kind"
    assert [row[1] for row in rows if row[0] == "alert"] == ["ChurnDrift", "ChurnLatencyHigh"]
    menu.click()
    page.get_by_role("menuitem", name="Show as table").click()
    expect(page).to_have_url(re.compile("as=table"))
    row = page.get_by_role("table", name="Lineage").get_by_role("row").filter(has_text="churn@2026.2").first
    expect(row).to_be_visible()


def test_what_served_when_and_with_which_share(show: Show) -> None:
    page = show(CHURN)
    served = card(page, "What served when")
    expect(served.get_by_role("listitem")).to_have_count(2)
    expect(served.get_by_role("listitem").first).to_contain_text("2026.2")
    expect(card(page, "Live share").get_by_role("button", name=re.compile(r"2026\.1"))).to_contain_text("%")


def test_two_releases_side_by_side(show: Show) -> None:
    page = show(CHURN)
    both = card(page, "Two releases")
    expect(both.get_by_role("row", name=re.compile("^Code"))).to_contain_text("4f2a4f2a9c1d9c1d")
    expect(both.get_by_role("row", name=re.compile("^Data"))).to_contain_text("22222222")
    expect(both.get_by_role("row", name=re.compile("^auc"))).to_contain_text("0.87")
    expect(both.get_by_role("link", name="Show the commits")).to_have_attribute(
        "href", re.compile(r"/compare/4f2a.*9c1d")
    )
    expect(both.get_by_role("table", name="Configuration")).to_contain_text("model.threshold0.50.45conf/base.yaml")
    expect(both).to_contain_text("model.threshold 0.5 → 0.45")
    both.get_by_role("button", name="Swap").click()
    expect(page).to_have_url(re.compile("before=r2&after=r1"))
    expect(both.get_by_role("table", name="Configuration")).to_contain_text("model.threshold0.450.5")


def test_trainings(show: Show) -> None:
    page = show(CHURN)
    row = page.get_by_role("table", name="Trainings").get_by_role("row").nth(1)
    for text in ("finished", "2026.2", "60 min", "auc 0.87", "depth 6", "Cy"):
        expect(row).to_contain_text(text)


def test_empty_unknown_and_without_a_model(show: Show) -> None:
    page = show("/lineage")
    expect(page.get_by_text("Choose a model", exact=True)).to_be_visible()
    page = show("/lineage?model=nobody")
    expect(card(page, "Lineage")).to_contain_text("nothing is known of nobody")
    expect(card(page, "Lineage").locator("pre")).to_contain_text("mk.release")
    page = show("/lineage?model=fraud")
    expect(card(page, "Trainings")).to_contain_text("mk.train")


def test_forty_releases_show_the_newest_and_on_request_all(show: Show, page: Page) -> None:
    nodes, edges = [], []
    for number in range(40):
        at = f"2026-01-{number % 28 + 1:02}T{number // 28:02}:00:00Z"
        for kind, name in (("code", f"c{number}"), ("model", f"churn@{number}"), ("release", f"r{number}")):
            nodes.append({"id": f"{kind}:{name}", "kind": kind, "name": name, "at": at, "details": {}})
        edges.append({"source": f"code:c{number}", "target": f"model:churn@{number}"})
        edges.append({"source": "data:d", "target": f"model:churn@{number}"})
        edges.append({"source": f"model:churn@{number}", "target": f"release:r{number}"})
    nodes.append({"id": "data:d", "kind": "data", "name": "d", "at": None, "details": {}})
    answer = {"nodes": nodes, "edges": edges, "truncated": False}
    page.route("**/api/v1/lineage*", lambda route: route.fulfill(json=answer))
    show(CHURN)
    expect(page.locator("g.box.release")).to_have_count(8)
    expect(card(page, "Lineage")).to_contain_text("The newest 8 of 40 releases")
    expect(box(page, "Release: r27")).to_be_attached()
    page.get_by_role("button", name="Show all").click()
    expect(page.locator("g.box.release")).to_have_count(40)
    expect(page).to_have_url(re.compile("all=1"))


def test_a_question_that_fails_can_be_asked_again(show: Show, page: Page) -> None:
    page.route(
        "**/api/v1/lineage*",
        lambda route: route.fulfill(
            status=500, json={"error": {"name": "Corrupt", "message": "a torn page", "hint": ""}}
        ),
    )
    show(CHURN)
    expect(card(page, "Lineage").get_by_role("alert")).to_contain_text("a torn page")
    page.unroute("**/api/v1/lineage*")
    card(page, "Lineage").get_by_role("button", name="Try again").click()
    expect(box(page, "Data: 22222222")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_fault_for_people_who_cannot_see_or_point(show: Show, page: Page, theme: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    show(f"{CHURN}&node=release%3Ar2")
    expect(page.get_by_role("table", name="Trainings")).to_be_visible()
    assert faults(page) == []
