"""Pictures of every view for docs/page, light and dark, from a small server that is filled the same way each time.

    python scripts/screenshots.py [--out docs/page] [--only report]

The page must have been built (`python3 scripts/dev.py page`).
"""

from __future__ import annotations

import argparse
import re
import struct
import sys
import tempfile
import time
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser, Page, expect, sync_playwright  # noqa: E402

from modelkeep.server.run import Serving  # noqa: E402
from modelkeep.server.settings import AlertSettings, Settings  # noqa: E402
from tests.page.conftest import settled  # noqa: E402
from tests.page.house import Teller, fill, rules  # noqa: E402
from tests.peers import program  # noqa: E402

WIDTH, HEIGHT, MOST_BYTES = 1440, 900, 200_000
CHURN = "model=churn&from=now-2d"
ADDRESSES = {
    "/": "/",
    "/drift": f"/drift?{CHURN}",
    "/predictions": f"/predictions?{CHURN}",
    "/logs": "/logs?from=now-24h",
    "/alerts": "/alerts?from=now-2d",
    "/lineage": "/lineage?model=churn&from=now-3d&node=model%3Achurn%402026.2",
    "/configuration": "/configuration?all=1&key=model.threshold",
    "/explore": "/explore?from=now-24h&query=sum+by+(model)+(rate(model_predictions_total[30m]))",
    "/system": "/system?from=now-15m",
    "/report": "/report?model=churn&from=now-3d",
}
"""What a view shows in its picture; those that are not here show churn."""


def paths() -> list[str]:
    """The paths of all views, in the page's order."""
    return re.findall(r'path: "([^"]+)"', (ROOT / "ui" / "src" / "views.ts").read_text(encoding="utf-8"))


def name(path: str) -> str:
    """The name of a view's pictures."""
    return path.strip("/") or "overview"


def take(browser: Browser, url: str, path: str, theme: str) -> bytes:
    """Opens a view and gives its picture."""
    context = browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT},
        color_scheme=theme,  # type: ignore[arg-type]
        reduced_motion="reduce",
        timezone_id="UTC",
    )
    page = context.new_page()
    page.goto(url + ADDRESSES.get(path, f"{path}?{CHURN}"))
    page.locator("main").wait_for()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    still(page)
    if path == "/alerts":
        page.get_by_text("churn answers slowly").first.click()
        still(page)
    if path == "/system":
        busy(page, url)
    picture = page.screenshot()
    context.close()
    return smaller(picture)


def still(page: Page) -> None:
    """Waits until nothing loads, and what was loaded has been drawn."""
    for _ in range(2):
        settled(page)
        page.wait_for_timeout(700)


def busy(page: Page, url: str) -> None:
    """Sends something for a while, so that the server has something to tell of itself."""
    teller = Teller(url)
    for turn in range(40):
        teller.log(time.time_ns(), f"request served #{600 + turn}", "cache warmed", "model loaded")
        page.wait_for_timeout(800)
    teller.close()


def smaller(picture: bytes) -> bytes:
    """Gives the same PNG, its rows compressed as well as zlib can."""
    place, chunks, rows = 8, [], b""
    while place < len(picture):
        (length,) = struct.unpack_from(">I", picture, place)
        kind, body = picture[place + 4 : place + 8], picture[place + 8 : place + 8 + length]
        if kind == b"IDAT":
            rows += body
        elif kind != b"IEND":
            chunks.append((kind, body))
        place += length + 12
    made = picture[:8]
    for kind, body in [*chunks, (b"IDAT", zlib.compress(zlib.decompress(rows), 9)), (b"IEND", b"")]:
        made += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return min(made, picture, key=len)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "page")
    parser.add_argument("--only", default="", help="name of one view")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    large = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=str(program("chromium")), args=flags)
        alerts = AlertSettings(rules=[rules(Path(folder))], defaults=False)
        serving = Serving(Settings(data=f"{folder}/data", port=0, alerts=alerts))
        serving.start()
        url = f"http://127.0.0.1:{serving.settings.port}"
        try:
            fill(url, serving.house)
            for path in paths():
                if arguments.only not in ("", name(path)):
                    continue
                for theme in ("light", "dark"):
                    file = arguments.out / f"{name(path)}-{theme}.png"
                    file.write_bytes(take(browser, url, path, theme))
                    size = file.stat().st_size
                    print(f"{file.name:28}{size / 1000:7.0f} kB", flush=True)
                    if size > MOST_BYTES:
                        large.append(file.name)
        finally:
            serving.stop()
            browser.close()
    if large:
        print(f"larger than {MOST_BYTES / 1000:.0f} kB: {', '.join(large)}", file=sys.stderr)
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main())
