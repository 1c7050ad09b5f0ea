"""Configuration: processes, the tree with its places, search, comparison, history and who wrote a key."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.page.configurations import LESS_ALARMS, NEW_MODEL, named
from tests.page.conftest import Look, card, faults

pytestmark = pytest.mark.needs("chromium")
Show = Callable[[str], Page]
ALL = "/configuration?all=1"


def tree(page: Page) -> Locator:
    return page.get_by_role("tree", name="Values of the configuration")


def item(page: Page, name: str) -> Locator:
    return tree(page).get_by_role("treeitem", name=re.compile(f"^{re.escape(name)}"))


def test_processes_and_the_values_that_hold_in_them(show: Show) -> None:
    page = show(ALL)
    table = page.get_by_role("table", name="Processes")
    expect(table.get_by_role("row")).to_have_count(4)
    row = table.get_by_role("row").filter(has_text="api-1:78:x")
    for text in ("churn", named(NEW_MODEL)[:8], "Cy", "slow feature store"):
        expect(row).to_contain_text(text)
    expect(item(page, "threshold")).to_contain_text("0.45")
    expect(item(page, "threshold")).to_contain_text(re.compile(r"conf/base\.yaml:\d+"))
    expect(item(page, "timeout_ms")).to_contain_text("consul http://consul.example.org/churn/features/timeout_ms")
    table.get_by_role("link", name="api-2:9:x").click()
    expect(item(page, "currency")).to_contain_text("EUR")
    page.go_back()
    expect(item(page, "threshold")).to_be_visible()


def test_those_that_are_alive_come_alone_unless_asked(look: Look, show: Show) -> None:
    teller = look.teller()
    teller.log(look.serving.house.wall.now_ns(), "here I am")
    teller.close()
    page = show("/configuration")
    table = page.get_by_role("table", name="Processes")
    expect(table.get_by_role("row")).to_have_count(2)
    expect(table.get_by_role("row").nth(1)).to_contain_text("live")
    page.get_by_role("button", name="Also those that fell silent").click()
    expect(page).to_have_url(re.compile("all=1"))
    expect(table.get_by_role("row")).to_have_count(4)


def test_secrets_are_masked(show: Show) -> None:
    page = show(ALL)
    expect(item(page, "password")).to_contain_text("masked")
    expect(item(page, "password")).to_contain_text("secret:DATABASE_PASSWORD")
    expect(item(page, "url")).to_contain_text("postgresql://churn:***@db.example.org/churn")


def test_search_finds_keys_values_and_files(show: Show) -> None:
    page = show(ALL)
    field = page.get_by_role("searchbox", name="Find a key, value or file")
    field.fill("pool")
    expect(tree(page).get_by_role("treeitem")).to_have_count(2)
    expect(page).to_have_url(re.compile("q=pool"))
    field.fill("consul")
    expect(item(page, "timeout_ms")).to_be_visible()
    expect(tree(page).get_by_role("treeitem")).to_have_count(2)
    field.fill("400")
    expect(item(page, "timeout_ms")).to_be_visible()
    page.reload()
    expect(field).to_have_value("400")
    field.fill("no such thing")
    expect(page.get_by_text("No key, value or file like this.")).to_be_visible()


def test_the_tree_by_keyboard(show: Show) -> None:
    page = show(ALL)
    item(page, "model").first.focus()
    before = tree(page).get_by_role("treeitem").count()
    page.keyboard.press("ArrowLeft")
    expect(item(page, "model").first).to_have_attribute("aria-expanded", "false")
    assert tree(page).get_by_role("treeitem").count() <= before
    page.keyboard.press("ArrowRight")
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    expect(item(page, "threshold")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"key=model\.threshold"))


def test_who_wrote_a_key(show: Show) -> None:
    page = show(ALL)
    item(page, "threshold").click()
    blame = page.get_by_role("region", name="model.threshold: who wrote it")
    expect(blame.get_by_role("listitem")).to_have_count(3)
    expect(blame.get_by_role("listitem").last).to_contain_text("0.5")
    expect(blame.get_by_role("listitem").nth(1)).to_contain_text("Ann: fewer missed customers")
    expect(blame.get_by_role("listitem").nth(1)).to_contain_text("conf/base.yaml:4")
    page.go_back()
    expect(page.get_by_text("Choose a key to see who gave it which value")).to_be_visible()


def test_two_versions_compared(show: Show) -> None:
    page = show(f"{ALL}&tab=compare")
    table = page.get_by_role("table", name="Differences")
    expect(table.get_by_role("row")).to_have_count(4)
    expect(table.get_by_role("row").filter(has_text="features.timeout_ms")).to_contain_text("250400consul")
    expect(page.get_by_text("Masked on both sides")).to_contain_text("database.password")
    page.get_by_role("button", name="Swap").click()
    expect(table.get_by_role("row").filter(has_text="features.timeout_ms")).to_contain_text("400250")
    expect(page).to_have_url(re.compile(f"before={named(NEW_MODEL)}&after={named(LESS_ALARMS)}"))


def test_history_tells_who_when_why_and_what_was_refused(show: Show) -> None:
    page = show(f"{ALL}&tab=history")
    lines = card(page, "churn · api-1:78:x").get_by_role("listitem")
    expect(lines).to_have_count(5)
    expect(lines.first).to_contain_text("Cy: slow feature store")
    expect(lines.first).to_contain_text("features.timeout_ms")
    page.get_by_label("State").select_option("rejected")
    expect(lines).to_have_count(1)
    expect(lines.first).to_contain_text("model.threshold: input should be less than 1, value 45")
    page.get_by_label("State").select_option("")
    page.get_by_label("Process", exact=True).select_option("1")
    expect(lines).to_have_count(2)
    lines.first.get_by_role("link").click()
    expect(page.get_by_role("table", name="Differences").get_by_role("row")).to_have_count(4)


def test_a_version_by_its_hash(show: Show) -> None:
    page = show(f"{ALL}&hash={named(LESS_ALARMS)[:12]}")
    expect(item(page, "timeout_ms")).to_contain_text("250")
    page = show(f"{ALL}&hash=ffffffffffff")
    expect(page.get_by_role("alert")).to_be_visible()


def test_ten_thousand_keys_are_searched_and_only_those_in_sight_drawn(show: Show, page: Page) -> None:
    made = {f"part_{place}": {f"key_{place}_{number}": number for number in range(100)} for place in range(100)}

    def answer(route: Route) -> None:
        told = route.fetch().json()
        for one in told["configurations"]:
            one["tree"] = made
        route.fulfill(json=told)

    page.route("**/api/v1/configurations?*", answer)
    show(f"{ALL}&process=api-1%3A78%3Ax")
    expect(page.get_by_text("10000 keys")).to_be_visible()
    assert tree(page).get_by_role("treeitem").count() < 60
    tree(page).evaluate("e => e.scrollTop = e.scrollHeight")
    expect(item(page, "key_99_99")).to_be_visible()
    page.get_by_role("searchbox").fill("key_57_31")
    expect(tree(page).get_by_role("treeitem")).to_have_count(2)


def test_nothing_told_says_the_first_step(tmp_path: Path, chromium: Browser) -> None:
    empty = Look(tmp_path)
    try:
        page = chromium.new_page()
        page.goto(f"{empty.url}/configuration")
        page.get_by_role("link", name="Show them").click()
        expect(page.get_by_text("No configuration has been told")).to_be_visible()
        expect(page.locator("pre")).to_contain_text("mk.config")
        page.close()
    finally:
        empty.stop()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("tab", ["values&key=model.threshold", "compare", "history"])
def test_no_serious_fault_for_people_who_cannot_see_or_point(show: Show, page: Page, theme: str, tab: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    show(f"{ALL}&tab={tab}")
    expect(page.get_by_role("tab", name="Values")).to_be_visible()
    assert faults(page) == []
