"""The system: journal, readers, what was refused, disk, tokens, backup, drill."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import Look, card, faults, settled

pytestmark = pytest.mark.needs("chromium")
Show = Callable[[str], Page]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Look]:
    """An empty server of its own, for tests that change who may do what."""
    look = Look(tmp_path)
    yield look
    look.stop()


def test_the_server_tells_how_it_is(look: Look, show: Show) -> None:
    page = show("/system")
    expect(page.locator(".tile", has_text="Records")).to_contain_text("taken")
    expect(page.locator(".tile", has_text="Disk free")).to_contain_text("iB")
    readers = card(page, "Readers and engines").get_by_role("table")
    for feed in look.serving.house.feeds:
        expect(readers.get_by_role("row", name=re.compile(rf"^{feed}\b"))).to_be_visible()
    expect(card(page, "What is held")).to_contain_text("labels")
    expect(card(page, "Journal")).to_contain_text("Last entry")
    expect(card(page, "Disk free")).to_contain_text("This server does not sample itself")


def test_figures_move_by_themselves(look: Look, show: Show) -> None:
    page = show("/system")
    last = card(page, "Journal").locator("dd").nth(1)
    before = last.inner_text()
    teller = look.teller()
    teller.log(look.serving.house.wall.now_ns(), "one more entry")
    teller.close()
    expect(last).not_to_have_text(before)


def test_what_was_refused_is_told(own: Look, page: Page) -> None:
    old = {"name": "queue_length", "value": 1, "at": "2020-01-01T00:00:00Z"}
    httpx.post(f"{own.url}/api/v1/samples", json=[{"name": "queue_length", "value": 1}])
    httpx.post(f"{own.url}/api/v1/samples", json=[old])
    page.goto(own.url + "/system")
    expect(card(page, "Dropped, refused, late")).to_contain_text("Samples refused")
    expect(page.locator(".tile", has_text="Not kept")).to_contain_text("1")


def test_tokens_are_made_used_and_revoked(own: Look, page: Page) -> None:
    page.goto(own.url + "/system")
    tokens = card(page, "Tokens")
    expect(tokens).to_contain_text("There is no token")
    page.get_by_role("button", name="Create a token").click()
    dialog = page.get_by_role("dialog", name="Create a token")
    expect(dialog).to_contain_text("This is the first token")
    expect(dialog.get_by_role("checkbox", name=re.compile("^admin"))).to_be_checked()
    dialog.get_by_label("Name").fill("boss")
    dialog.get_by_role("button", name="Create", exact=True).click()
    made = page.get_by_role("dialog", name="The new token")
    expect(made).to_contain_text("It is shown this once")
    text = made.locator("code").inner_text()
    assert httpx.get(f"{own.url}/api/v1/tokens").status_code == 401
    assert httpx.get(f"{own.url}/api/v1/tokens", headers={"Authorization": f"Bearer {text}"}).status_code == 200
    made.get_by_role("button", name="Done").click()
    expect(tokens.get_by_role("row", name=re.compile("boss"))).to_contain_text("admin")

    page.get_by_role("button", name="Create a token").click()
    dialog.get_by_label("Name").fill("model process")
    dialog.get_by_label("Ends").select_option("90")
    dialog.get_by_role("button", name="Create", exact=True).click()
    second = made.locator("code").inner_text()
    made.get_by_role("button", name="Done").click()
    row = tokens.get_by_role("row", name=re.compile("model process"))
    expect(row).to_contain_text("ingest")
    row.get_by_role("button", name="Revoke model process").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).click()
    expect(row).to_have_count(0)
    refused = httpx.post(f"{own.url}/api/v1/logs", json=[], headers={"Authorization": f"Bearer {second}"})
    assert refused.status_code == 401


def test_a_backup_is_downloaded(show: Show, tmp_path: Path) -> None:
    page = show("/system")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download a backup").click()
    download.value.save_as(tmp_path / "backup.tar")
    with tarfile.open(tmp_path / "backup.tar") as tar:
        assert tar.getnames()


def test_a_viewer_sees_neither_tokens_nor_backup(own: Look, page: Page) -> None:
    _, text = own.serving.house.tokens.create("viewer", ["read"])
    own.serving.app.door.look_again()
    page.goto(own.url + "/system")
    page.get_by_label("Token").fill(text)
    page.get_by_role("button", name="Log in").click()
    expect(card(page, "Tokens")).to_contain_text("need a token with the scope admin")
    expect(page.get_by_role("link", name="Download a backup")).to_have_count(0)
    expect(page.get_by_role("button", name="Run the drill")).to_be_disabled()


def test_the_drill_tells_each_step(own: Look, page: Page) -> None:
    page.goto(own.url + "/system")
    page.get_by_role("button", name="Run the drill").click()
    steps = card(page, "Alarm drill").get_by_role("listitem")
    expect(steps.first).to_contain_text("good")
    assert steps.count() >= 3


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_fault_for_people_who_cannot_see_or_point(show: Show, page: Page, theme: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    show("/system")
    settled(page)
    assert faults(page) == []
    page.get_by_role("button", name="Create a token").click()
    assert faults(page) == []
