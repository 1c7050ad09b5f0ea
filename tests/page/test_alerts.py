"""Alerts: states, value and causes, acknowledging, silencing, history."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import Look, card, faults, settled
from tests.page.house import fill

pytestmark = pytest.mark.needs("chromium")
Show = Callable[[str], Page]
SLOW = "churn answers slowly"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Look]:
    """A house of its own, for tests that change what others look at."""
    look = Look(tmp_path)
    look.told = fill(look.url, look.serving.house)
    yield look
    look.stop()


def opened(page: Page, url: str) -> Page:
    page.goto(url)
    page.locator("main").wait_for()
    settled(page)
    return page


def test_each_state_has_its_alerts(show: Show) -> None:
    page = show("/alerts")
    expect(page.get_by_role("tab", name=re.compile("^Firing"))).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("link", name=re.compile(SLOW))).to_be_visible()
    expect(page.get_by_role("link", name="3 features of churn drift")).to_be_visible()
    page.get_by_role("tab", name=re.compile("^Pending")).click()
    expect(page).to_have_url(re.compile("state=pending"))
    expect(page.get_by_role("link", name="fraud answers nobody")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("link", name=re.compile(SLOW))).to_be_visible()
    page.get_by_role("tab", name=re.compile("^Resolved")).click()
    expect(page.get_by_text("No alert has ended yet")).to_be_visible()
    expect(page.get_by_text("3 rules are evaluated.")).to_be_visible()


def test_an_alert_shows_its_value_and_what_changed_before(show: Show) -> None:
    page = show("/alerts")
    page.get_by_role("link", name=re.compile(SLOW)).click()
    expect(page).to_have_url(re.compile("id="))
    settled(page)
    expect(page.get_by_role("heading", name=re.compile(SLOW))).to_be_visible()
    expect(page.get_by_text("The mean latency of the last half hour is above 10 ms.")).to_be_visible()
    value = card(page, "Value")
    expect(value.get_by_role("application")).to_be_visible()
    expect(value.get_by_role("button", name=re.compile("ChurnLatencyHigh"))).to_contain_text(re.compile(r"0\.0\d"))
    expect(card(page, "What changed before it")).to_contain_text("churn 2026.2 took over from 2026.1")
    expect(card(page, "History").get_by_role("row").nth(1)).to_contain_text("firing")
    address = page.url
    page.reload()
    expect(page.get_by_role("heading", name=re.compile(SLOW))).to_be_visible()
    page.get_by_role("link", name="Log lines around its start").click()
    expect(page).to_have_url(re.compile(r"/logs\?(?=.*from=)(?=.*model=churn)"))
    page.go_back()
    expect(page).to_have_url(address)


def test_only_the_chosen_models_alerts_are_shown(show: Show) -> None:
    page = show("/alerts?model=fraud")
    expect(page.get_by_text("Only alerts about fraud are shown.")).to_be_visible()
    expect(page.get_by_role("link", name="fraud answers nobody")).to_be_visible()
    page.get_by_role("link", name="Show those of all models").click()
    expect(page.get_by_role("link", name=re.compile(SLOW))).to_be_visible()


def test_an_unknown_alert_says_so(show: Show) -> None:
    page = show("/alerts?id=nobody")
    expect(page.get_by_text("This alert is not known")).to_be_visible()
    page.get_by_role("link", name="All alerts").click()
    expect(page).to_have_url(re.compile(r"/alerts$"))


def test_silencing_and_acknowledging_need_a_name_and_a_reason(own: Look, page: Page) -> None:
    opened(page, own.url + "/alerts")
    page.get_by_role("link", name="3 features of churn drift").click()
    page.get_by_role("button", name="Silence", exact=True).click()
    dialog = page.get_by_role("dialog", name="Silence: ChurnDrift")
    make = dialog.get_by_role("button", name="Silence")
    expect(make).to_be_disabled()
    expect(dialog.get_by_label("severity = warning")).not_to_be_checked()
    dialog.get_by_label("Your name").fill("Ann")
    dialog.get_by_label("Reason").fill("a new reference is on its way <b>")
    make.click()
    expect(dialog).to_have_count(0)
    row = card(page, "Silences").get_by_role("row").nth(1)
    expect(row).to_contain_text("a new reference is on its way <b>")
    (silence,) = own.serving.house.alerts.silences()
    assert {matcher.name for matcher in silence.matchers} == {"alertname", "model", "version"}
    assert silence.by == "Ann"
    expect(page.locator(".detail").get_by_text(re.compile("silenced"))).to_be_visible()
    row.get_by_role("button", name=re.compile("End the silence")).click()
    expect(row).to_contain_text("over")

    page.get_by_role("link", name=re.compile(SLOW)).click()
    page.get_by_role("button", name="Acknowledge").click()
    dialog = page.get_by_role("dialog", name="Acknowledge: ChurnLatencyHigh")
    expect(dialog.get_by_label("Your name")).to_have_value("Ann")
    dialog.get_by_label("Note").fill("looking")
    dialog.get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_role("tab", name=re.compile("^Acknowledged"))).to_contain_text("1")
    expect(page.locator(".detail").get_by_text(re.compile("acknowledged"))).to_be_visible()
    expect(card(page, "History")).to_contain_text("acknowledged")


def test_a_viewer_may_look_but_not_touch(own: Look, page: Page) -> None:
    _, text = own.serving.house.tokens.create("viewer", ["read"])
    own.serving.app.door.look_again()
    page.goto(own.url + "/alerts")
    page.get_by_label("Token").fill(text)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name=re.compile(SLOW)).click()
    expect(page.get_by_role("button", name="Acknowledge")).to_be_disabled()
    expect(page.get_by_role("button", name="Silence", exact=True)).to_be_disabled()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_fault_for_people_who_cannot_see_or_point(show: Show, page: Page, theme: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    show("/alerts")
    page.get_by_role("link", name=re.compile(SLOW)).click()
    expect(card(page, "Value").get_by_role("application")).to_be_visible()
    settled(page)
    assert faults(page) == []
    page.get_by_role("button", name="Silence", exact=True).click()
    assert faults(page) == []
