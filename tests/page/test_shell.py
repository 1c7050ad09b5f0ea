"""What every view shares: addresses, theme, time range, login, and a server that goes away and comes back."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.page.conftest import Look, card, faults, settled
from tests.page.house import CHURN, PRICE, fill

pytestmark = pytest.mark.needs("chromium")
Show = Callable[[str], Page]


def test_the_first_load_is_small_and_asks_nobody_else(look: Look, page: Page) -> None:
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url))
    page.goto(look.url)
    page.locator("main").wait_for()
    settled(page)
    assert all(url.startswith((look.url, "data:", "blob:")) for url in seen)
    files = [url for url in seen if "/api/" not in url and not url.startswith(("data:", "blob:"))]
    assert len(files) <= 6
    sizes = page.evaluate(
        "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))"
        ".filter(e => !e.name.includes('/api/')).map(e => e.encodedBodySize)"
    )
    assert 20_000 < sum(sizes) <= 200_000


def test_links_follow_without_loading_again_and_back_returns(show: Show) -> None:
    page = show("/?from=now-6h")
    page.evaluate("window.same = true")
    page.get_by_role("table").get_by_role("link", name=CHURN, exact=True).click()
    expect(page).to_have_url(re.compile(r"/model\?from=now-6h&model=churn$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Model")
    expect(page).to_have_title(f"Model · {CHURN} · modelkeep")
    page.go_back()
    expect(page).to_have_url(re.compile(r"/\?from=now-6h$"))
    expect(page.get_by_role("heading", name="What changed")).to_be_visible()
    assert page.evaluate("window.same") is True


def test_an_address_restores_model_version_and_range(show: Show) -> None:
    page = show("/model?model=churn&version=2026.1&from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z")
    expect(page.get_by_role("button", name="Model: churn")).to_be_visible()
    expect(page.get_by_role("button", name="Version: 2026.1")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("Time range: 2026-01-01 00:00"))).to_be_visible()


def test_a_name_with_slash_quotes_and_another_direction(show: Show) -> None:
    page = show("/")
    page.get_by_role("table").get_by_role("link", name=PRICE).click()
    expect(page.get_by_role("button", name=f"Model: {PRICE}")).to_be_visible()
    settled(page)
    address = page.url
    page.reload()
    settled(page)
    assert page.url == address
    expect(card(page, "Predictions").get_by_role("application")).to_be_visible()


def test_a_model_is_found_by_keyboard(show: Show) -> None:
    page = show("/model")
    page.get_by_role("button", name=re.compile("^Model: ")).click()
    page.keyboard.type("chu")
    expect(page.get_by_role("option", name="churn")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"model=churn"))
    settled(page)


def test_an_address_of_no_view_is_refused_by_the_server_and_said_by_the_page(look: Look, show: Show) -> None:
    page = show("/")
    page.evaluate("history.pushState(null, '', '/nowhere'); dispatchEvent(new PopStateEvent('popstate'))")
    expect(page.get_by_text("There is no such page")).to_be_visible()
    page.get_by_role("link", name="Go to the overview").click()
    expect(page.get_by_role("heading", name="What changed")).to_be_visible()


@pytest.mark.parametrize(("system", "chosen"), [("light", None), ("dark", None), ("light", "dark"), ("dark", "light")])
def test_the_theme_is_there_before_the_first_paint(
    look: Look, chromium: Browser, system: str, chosen: str | None
) -> None:
    context = chromium.new_context(color_scheme=system)  # type: ignore[arg-type]
    context.add_init_script(
        f"{f'localStorage.setItem(`modelkeep.theme`, `{chosen}`);' if chosen else ''}"
        "new MutationObserver(() => { if (document.body && !window.first)"
        " window.first = document.documentElement.dataset.theme ?? 'none'; })"
        ".observe(document, {childList: true, subtree: true})"
    )
    page = context.new_page()
    page.goto(look.url)
    assert page.evaluate("window.first") == (chosen or system)
    page.locator("main").wait_for()
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(14, 17, 22)") == ((chosen or system) == "dark")
    context.close()


def test_the_theme_can_be_chosen_and_stays(show: Show) -> None:
    page = show("/model?model=churn")
    page.get_by_role("button", name="Colours").click()
    page.get_by_role("menuitemradio", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.emulate_media(color_scheme="light")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_a_range_is_chosen_typed_and_shifted(show: Show) -> None:
    page = show("/")
    page.get_by_role("button", name=re.compile("^Time range")).click()
    page.get_by_role("button", name="Last 7 days").click()
    expect(page).to_have_url(re.compile(r"from=now-7d$"))
    page.get_by_role("button", name=re.compile("^Time range")).click()
    page.get_by_label("From").fill("2026-04-01 10:00")
    page.get_by_label("To").fill("whenever")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("alert")).to_contain_text("A time is")
    page.get_by_label("To").fill("2026-04-01 12:00")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"from=2026-04-01T10%3A00%3A00Z&to=2026-04-01T12%3A00%3A00Z"))
    page.get_by_role("button", name="Earlier").click()
    expect(page).to_have_url(re.compile(r"from=2026-04-01T09%3A00%3A00Z&to=2026-04-01T11%3A00%3A00Z"))
    page.get_by_role("button", name="Follow now").click()
    expect(page).not_to_have_url(re.compile("from="))


def test_a_range_that_makes_no_sense_does_no_harm(show: Show) -> None:
    page = show("/model?model=churn&from=yesterday&to=now-9x")
    expect(card(page, "Predictions")).to_be_visible()


def test_the_keyboard_reaches_the_view_first(show: Show) -> None:
    page = show("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the view")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


@pytest.fixture
def own_look(tmp_path: Path) -> Look:
    return Look(tmp_path)


def test_login_and_logout(own_look: Look, context: BrowserContext, page: Page) -> None:
    try:
        house = own_look.serving.house
        admin = house.tokens.create("admin", ["admin"])[1]
        reader = house.tokens.create("Ann", ["read"])[1]
        own_look.serving.app.door.look_again()
        fill(own_look.url, house, admin)
        page.goto(f"{own_look.url}/model?model=churn")
        field = page.get_by_label("Token")
        field.fill("mk_wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_contain_text("no valid token")
        assert not faults(page)
        field.fill(reader)
        field.press("Enter")
        expect(card(page, "Predictions")).to_be_visible()
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        (cookie,) = context.cookies()
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert reader not in str(cookie)
        assert page.evaluate("document.cookie") == ""
        page.reload()
        expect(card(page, "Predictions")).to_be_visible()
        page.get_by_role("button", name="Logged in as Ann").click()
        page.get_by_role("menuitem", name="Log out").click()
        expect(page.get_by_label("Token")).to_be_visible()
        assert context.cookies() == []
        page.reload()
        expect(page.get_by_label("Token")).to_be_visible()
    finally:
        own_look.stop()


def test_the_server_goes_away_and_comes_back(own_look: Look, page: Page) -> None:
    stopped = False
    try:
        fill(own_look.url, own_look.serving.house)
        page.goto(f"{own_look.url}/model?model=churn")
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        settled(page)
        before = page.url
        own_look.stop()
        stopped = True
        expect(page.get_by_text("Connection lost")).to_be_visible()
        expect(page.get_by_role("alert")).to_contain_text("tries again by itself")
        expect(card(page, "Predictions").get_by_role("application")).to_be_visible()
        own_look.start()
        stopped = False
        expect(page.get_by_text("Live", exact=True)).to_be_visible(timeout=30_000)
        expect(page.get_by_text("Connection lost")).to_have_count(0)
        teller = own_look.teller()
        for _ in range(3):
            teller.log(own_look.serving.house.wall.now_ns(), "after the restart", level="ERROR")
        expect(page.get_by_role("log")).to_contain_text("after the restart")
        teller.close()
        assert page.url == before
    finally:
        if not stopped:
            own_look.stop()


def test_a_hidden_tab_asks_for_nothing(look: Look, page: Page) -> None:
    page.goto(look.url)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    hide = (
        "hidden => { Object.defineProperty(document, 'hidden', {configurable: true, get: () => hidden});"
        " document.dispatchEvent(new Event('visibilitychange')) }"
    )
    page.evaluate(hide, True)
    expect(page.get_by_text("Paused", exact=True)).to_be_visible()
    page.wait_for_function("() => true")
    page.evaluate(hide, False)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()


def test_a_clock_that_is_off_is_told(look: Look, chromium: Browser) -> None:
    context = chromium.new_context()
    context.add_init_script("const real = Date.now; Date.now = () => real() - 7 * 60_000")
    page = context.new_page()
    page.goto(look.url)
    expect(page.get_by_text(re.compile("clock differs from the server's by 7 min"))).to_be_visible()
    context.close()
