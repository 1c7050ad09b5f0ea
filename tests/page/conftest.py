"""A real browser on a real server: one small house for all tests of the page, and a page of its own for each test."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from modelkeep.server.page import STATIC
from modelkeep.server.run import Serving
from modelkeep.server.settings import AlertSettings, Settings
from tests.page.house import Teller, Told, fill, rules
from tests.peers import program

WAIT_MS = 15_000
expect.set_options(timeout=WAIT_MS)


class Look:
    """A server that can be stopped and started again on the same port, with the house told to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.serving = self._start()
        self.told: Told | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _start(self) -> Serving:
        alerts = AlertSettings(rules=[rules(self.folder)], defaults=False)
        serving = Serving(Settings(data=str(self.folder / "data"), port=self.port, self_sampling=False, alerts=alerts))
        serving.start()
        self.port = serving.settings.port
        return serving

    def stop(self) -> None:
        self.serving.stop()

    def start(self) -> None:
        end = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", self.port))
                    break
                except OSError:
                    assert time.monotonic() < end, "the port does not come free"
                    time.sleep(0.1)
        self.serving = self._start()

    def teller(self, token: str = "") -> Teller:
        return Teller(self.url, token)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The machine's Chromium, without a window; not for longer, since its event loop would run on in other tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(program("chromium")), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


def _looked_at(folder: Path) -> Iterator[Look]:
    assert (STATIC / "index.html").exists(), "the page is not built: python3 scripts/dev.py page"
    look = Look(folder)
    look.told = fill(look.url, look.serving.house)
    yield look
    look.stop()


@pytest.fixture(scope="session")
def look(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Look]:
    """The house, for tests that only look (or only add)."""
    yield from _looked_at(tmp_path_factory.mktemp("look"))


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser profile of its own."""
    made = chromium.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce", timezone_id="UTC")
    made.set_default_timeout(WAIT_MS)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page; a script error or a broken policy in it fails the test."""
    made = context.new_page()
    faults: list[str] = []
    made.on("pageerror", lambda error: faults.append(str(error)))
    made.on("console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None)
    yield made
    assert not faults, faults


@pytest.fixture
def show(look: Look, page: Page) -> Callable[[str], Page]:
    """Opens an address of the house, such as `/model?model=churn`, and waits until it has been drawn."""

    def shown(address: str) -> Page:
        page.goto(look.url + address)
        page.locator("main").wait_for()
        settled(page)
        return page

    return shown


def settled(page: Page) -> None:
    """Waits until nothing on the page is loading."""
    expect(page.locator(".loading")).to_have_count(0)


def card(page: Page, title: str) -> Locator:
    """A card of the view, by its title."""
    return page.get_by_role("region", name=title, exact=True)


def faults(page: Page) -> list[str]:
    """Gives what axe-core finds that is serious or critical, one line each."""
    axe = Path(__file__).resolve().parents[2] / "ui" / "node_modules" / "axe-core" / "axe.min.js"
    assert axe.exists(), "axe-core is not installed: python3 scripts/dev.py services"
    # the page's policy lets no other script in, and rightly so: the debugger may
    page.context.new_cdp_session(page).send("Runtime.evaluate", {"expression": axe.read_text(encoding="utf-8")})
    found = page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
    return [
        f"{one['id']}: {one['help']}: {node['target']} {node['failureSummary']}"
        for one in found
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]


def in_background(work: Callable[[], None]) -> threading.Thread:
    """Runs something beside the browser."""
    thread = threading.Thread(target=work)
    thread.start()
    return thread
