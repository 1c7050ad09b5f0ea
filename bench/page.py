"""The web page: what it costs browser and server, beside the same page built with NiceGUI, in one run.

    python bench/page.py [--seconds 15] [--clients 20] [--loads 3]

The view of one model: six tiles, eight charts, alerts and log lines, with something new every second. Both pages are
opened in the machine's Chromium; both servers run in processes of their own. First load: all but the answers of the
API (NiceGUI sends its data within the page's own files and its socket). Interactive: the charts are drawn, log lines
are there, and the browser has nothing to do. Main thread: the share of the time that it is busy. Server CPU: that of
the process while so many tabs look; with none it still takes in the records. NiceGUI is pinned in
bench/peers/nicegui.txt and made once under build/peers. The page must have been built: `python3 scripts/dev.py page`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).resolve()
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT))
PEER = ROOT / "build" / "peers" / "nicegui"
PINS = ROOT / "bench" / "peers" / "nicegui.txt"
AIM_KB, AIM_REQUESTS, AIM_MAIN, AIM_SERVER = 200, 6, 3.0, 2.0
READY = """
(() => {
  const look = () => {
    const drawn = document.querySelectorAll('canvas').length >= 7;
    const said = /#\\d+/.test(document.body?.innerText ?? '');
    if (drawn && said) requestIdleCallback(() => { window.interactiveAt = performance.now() });
    else requestAnimationFrame(look);
  };
  look();
})();
"""


@dataclass
class Server:
    """A server in a process of its own."""

    url: str
    path: str
    process: subprocess.Popen[str]

    def cpu_s(self) -> float:
        """Seconds of CPU that the process has used, with its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """What it holds in memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@dataclass
class Found:
    """What one page cost.

    Args:
        kb: of the first load, compressed as sent.
        interactive_ms: median of the loads.
        main: per cent of the main thread.
        heap_mb: of JavaScript.
        server: per cent of a core by the number of tabs.
        memory_mb: of the server, by the number of tabs.
    """

    kb: float
    requests: int
    interactive_ms: float
    main: float
    heap_mb: float
    server: dict[int, float]
    memory_mb: dict[int, float]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve() -> None:
    """Runs modelkeep's server with the small house of the tests, until its input ends."""
    from modelkeep.server.run import Serving
    from modelkeep.server.settings import AlertSettings, Settings
    from tests.page.house import fill, rules

    with tempfile.TemporaryDirectory() as folder:
        alerts = AlertSettings(rules=[rules(Path(folder))], defaults=False)
        serving = Serving(Settings(data=f"{folder}/data", port=0, self_sampling=False, alerts=alerts))
        serving.start()
        url = f"http://127.0.0.1:{serving.settings.port}"
        fill(url, serving.house)
        print(url, flush=True)
        sys.stdin.read()
        serving.stop()


@contextlib.contextmanager
def ours() -> Iterator[Server]:
    """modelkeep, with some predictions and a log line every second."""
    from tests.page.house import Teller

    process = subprocess.Popen(
        [sys.executable, HERE, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    end = threading.Event()

    def tell() -> None:
        teller = Teller(url)
        number = 0
        while not end.wait(1.0):
            number += 1
            teller.predict(time.time_ns(), 10)
            teller.log(time.time_ns(), f"request served #{number}")
        teller.close()

    telling = threading.Thread(target=tell)
    telling.start()
    try:
        yield Server(url, "/model?model=churn&from=now-15m", process)
    finally:
        end.set()
        telling.join()
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)


@contextlib.contextmanager
def nicegui() -> Iterator[Server]:
    """The peer's page."""
    python = environment()
    port = free_port()
    process = subprocess.Popen(
        [python, ROOT / "bench" / "page_nicegui.py", str(port)], stdout=subprocess.DEVNULL, text=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url, timeout=5).read()
                break
            time.sleep(0.2)
        yield Server(url, "/", process)
    finally:
        process.terminate()
        process.wait(30)


def environment() -> Path:
    """Makes the peer's environment once and gives its Python."""
    python = PEER / "bin" / "python"
    stamp = PEER / "installed"
    if not stamp.exists() or stamp.read_bytes() != PINS.read_bytes():
        print("Making build/peers/nicegui (once)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", PEER], check=True)
        pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", PINS]
        subprocess.run(pip, check=True)
        stamp.write_bytes(PINS.read_bytes())
    return python


def first_load(browser: Browser, server: Server) -> tuple[float, int, float]:
    """Gives KB, requests and ms until interactive of a load with an empty cache."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.add_init_script(READY)
    wire = context.new_cdp_session(page)
    wire.send("Network.enable")
    names: dict[str, str] = {}
    sizes: dict[str, float] = {}
    wire.on("Network.requestWillBeSent", lambda event: names.update({event["requestId"]: event["request"]["url"]}))
    wire.on("Network.loadingFinished", lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}))
    page.goto(server.url + server.path)
    page.wait_for_function("() => window.interactiveAt", timeout=90_000)
    at = float(page.evaluate("window.interactiveAt"))
    files = [one for one, url in names.items() if url.startswith(server.url) and "/api/" not in url]
    context.close()
    return sum(sizes.get(one, 0) for one in files) / 1024, len(files), at


def watched(
    browser: Browser, server: Server, seconds: float, clients: int
) -> tuple[float, float, dict[int, float], dict[int, float]]:
    """Gives the main thread's share and heap with one tab, and the server's CPU and memory with none, one and many."""
    shares: dict[int, float] = {0: busy(server, seconds)}
    memory = {0: server.memory_mb()}
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = opened(context.new_page(), server)
    wire = context.new_cdp_session(page)
    wire.send("Performance.enable")

    def metric(name: str) -> float:
        found = wire.send("Performance.getMetrics")["metrics"]
        return float(next(one["value"] for one in found if one["name"] == name))

    before, start = metric("TaskDuration"), time.perf_counter()
    shares[1] = busy(server, seconds)
    main = (metric("TaskDuration") - before) / (time.perf_counter() - start) * 100
    heap = metric("JSHeapUsedSize") / 1e6
    memory[1] = server.memory_mb()
    for _ in range(clients - 1):
        opened(context.new_page(), server)
    time.sleep(5)
    shares[clients] = busy(server, seconds)
    memory[clients] = server.memory_mb()
    context.close()
    return main, heap, shares, memory


def opened(page: Page, server: Server) -> Page:
    page.add_init_script(READY)
    page.goto(server.url + server.path)
    page.wait_for_function("() => window.interactiveAt", timeout=90_000)
    return page


def busy(server: Server, seconds: float) -> float:
    """Gives the server's CPU over some seconds, per cent of a core."""
    before, start = server.cpu_s(), time.perf_counter()
    time.sleep(seconds)
    return (server.cpu_s() - before) / (time.perf_counter() - start) * 100


def measure(browser: Browser, server: Server, arguments: argparse.Namespace) -> Found:
    time.sleep(8)
    loads = [first_load(browser, server) for _ in range(arguments.loads)]
    main, heap, shares, memory = watched(browser, server, arguments.seconds, arguments.clients)
    return Found(loads[0][0], loads[0][1], statistics.median(one[2] for one in loads), main, heap, shares, memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--loads", type=int, default=3)
    parser.add_argument("--serve", action="store_true")
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
        return
    from tests.peers import program

    environment()
    flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    found: dict[str, Found] = {}
    with sync_playwright() as playwright:
        for name, server in (("modelkeep", ours), ("NiceGUI", nicegui)):
            browser = playwright.chromium.launch(executable_path=str(program("chromium")), args=flags)
            with server() as running:
                found[name] = measure(browser, running, arguments)
            browser.close()
    show(found["modelkeep"], found["NiceGUI"], arguments.clients)


def show(own: Found, peer: Found, clients: int) -> None:
    """Prints both with their ratio and the aims."""

    def line(name: str, one: float, other: float, digits: int, aim: float | None = None) -> None:
        ratio = f"{other / one:.1f}x" if one > 0 else "–"
        judged = "" if aim is None else f"  aim ≤ {aim:g}: {'met' if one <= aim else 'missed'}"
        print(f"{name:42}{one:12.{digits}f}{other:12.{digits}f}{ratio:>9}{judged}")

    print(f"{'':42}{'modelkeep':>12}{'NiceGUI':>12}{'ratio':>9}")
    line("first load, KB compressed", own.kb, peer.kb, 0, AIM_KB)
    line("first load, requests", own.requests, peer.requests, 0, AIM_REQUESTS)
    line("interactive, ms", own.interactive_ms, peer.interactive_ms, 0)
    line("main thread at an update a second, %", own.main, peer.main, 1, AIM_MAIN)
    line("JavaScript heap, MB", own.heap_mb, peer.heap_mb, 1)
    for count in (0, 1, clients):
        line(f"server CPU, {count} tabs, % of a core", own.server[count], peer.server[count], 1)
    added, theirs = own.server[clients] - own.server[0], peer.server[clients] - peer.server[0]
    line(f"  of it for {clients} tabs", max(0.0, added), max(0.0, theirs), 1, AIM_SERVER)
    line(f"server memory, {clients} tabs, MB", own.memory_mb[clients], peer.memory_mb[clients], 0)
    line(
        f"  of it for {clients} tabs",
        own.memory_mb[clients] - own.memory_mb[0],
        peer.memory_mb[clients] - peer.memory_mb[0],
        0,
    )


if __name__ == "__main__":
    main()
