"""`modelkeep doctor`: is everything in order?"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click

from modelkeep._version import __version__
from modelkeep.cli.client import Client
from modelkeep.cli.output import json_option, print_json, rows_of
from modelkeep.core.errors import Error
from modelkeep.core.shapes import Json

SERVER_MODULES: Final = ("duckdb", "pyarrow", "numpy", "tantivy", "sqlalchemy", "uvicorn", "promql_parser")
FREE_BYTES: Final = 1 << 30
SLOW_SYNC_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: whether it is in order, what was found, and what to do when it is not."""

    name: str
    ok: bool
    detail: str
    hint: str = ""


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check installation, disk, clock and the server, and send a synthetic bad event through it.

    The event goes through ingest, rule and channel and is read back, with the time each took. Exits 1 when
    something is not in order.
    """
    checks: list[Check] = []
    for check in _checks():
        checks.append(check)
        if not as_json:
            mark = click.style("ok  ", fg="green") if check.ok else click.style("FAIL", fg="red")
            click.echo(f"{mark}  {check.name}: {check.detail}")
            if check.hint and not check.ok:
                click.echo(f"      {check.hint}")
    if as_json:
        listed: list[Json] = [dict(asdict(check)) for check in checks]
        print_json({"ok": all(check.ok for check in checks), "checks": listed})
    raise click.exceptions.Exit(0 if all(check.ok for check in checks) else 1)


def _checks() -> Iterator[Check]:
    yield Check("python", sys.version_info >= (3, 11), f"{sys.version.split()[0]}, modelkeep {__version__}")
    missing = [module for module in SERVER_MODULES if find_spec(module) is None]
    yield Check(
        "installation",
        not missing,
        f"without {', '.join(missing)}: SDK and command line only" if missing else "SDK, command line and server",
        "pip install 'modelkeep[server]' to run a server here",
    )
    yield _disk(Path.cwd())
    client = Client.here(timeout_s=30)
    try:
        status = client.get("/api/v1/status")
    except Error as error:
        yield Check("server", False, error.message, error.hint)
        yield _port(client.url)
        return
    yield Check("server", True, f"{client.url} answers")
    yield from _server(status)
    yield from _timed(client)


def _disk(folder: Path) -> Check:
    """Whether there is room, and how long one small durable write takes."""
    free = shutil.disk_usage(folder).free
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"modelkeep" * 500)
            file.flush()
            start = time.perf_counter()
            os.fsync(file.fileno())
            took = time.perf_counter() - start
    except OSError as error:
        return Check("disk", False, f"{folder}: {error.strerror}", "Run doctor in a folder that can be written.")
    detail = f"{free / 1e9:.1f} GB free, a durable write takes {took * 1000:.1f} ms"
    return Check("disk", free > FREE_BYTES and took < SLOW_SYNC_S, detail, "Free some space, or use a faster disk.")


def _port(url: str) -> Check:
    """Whether a server could listen where none answers."""
    import socket

    address = urlsplit(url)
    port = address.port or (443 if address.scheme == "https" else 80)
    if address.hostname not in {"127.0.0.1", "localhost", "::1"}:
        return Check("port", True, f"{port} is on {address.hostname}, not on this machine")
    with socket.socket() as probe:
        taken = probe.connect_ex(("127.0.0.1", port)) == 0
    if taken:
        return Check("port", False, f"{port} is taken by another program", "Stop it, or use modelkeep serve --port.")
    return Check("port", True, f"{port} is free")


def _server(status: dict[str, Json]) -> Iterator[Check]:
    """What the server says of its own journal and readers."""
    journal = status.get("journal")
    if isinstance(journal, dict):
        busy = bool(journal.get("busy"))
        yield Check(
            "journal",
            not busy,
            f"{journal.get('last')} entries so far, {cell_mb(journal.get('bytes'))} held"
            + (", closed: disk full" if busy else ""),
            "Free disk space: ingest opens again by itself.",
        )
    for reader in rows_of(status, "readers"):
        failure = reader.get("failure")
        yield Check(f"reader {reader.get('name')}", not failure, str(failure or f"applied {reader.get('applied')}"))


def cell_mb(value: Json) -> str:
    """Gives a size in MB."""
    return f"{value / 1e6:.1f} MB" if isinstance(value, int | float) else "-"


def _timed(client: Client) -> Iterator[Check]:
    """The server's clock beside this one, and the drill."""
    yield _guard("clock", lambda: _clock(client))
    try:
        answer = client.post("/api/v1/drill", {})
    except Error as error:
        yield Check("drill", False, error.message, error.hint)
        return
    total = 0.0
    for step in rows_of(answer, "steps"):
        seconds = step.get("seconds")
        total += seconds if isinstance(seconds, int | float) else 0.0
        yield Check(
            f"drill: {step.get('name')}", bool(step.get("ok")), f"{seconds} s {step.get('detail') or ''}".rstrip()
        )
    yield Check(
        "drill", all(step.get("ok") for step in rows_of(answer, "steps")), f"bad event to read-back in {total:.2f} s"
    )


def _clock(client: Client) -> Check:
    skew = client.clock_skew_s()
    return Check("clock", abs(skew) < 10, f"the server's clock is {skew:+.1f} s from this one", "Set both by NTP.")


def _guard(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except Error as error:
        return Check(name, False, error.message, error.hint)


plugin: click.Command = doctor
