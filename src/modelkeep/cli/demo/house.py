"""The demo's two processes: a real server on the clock of events, and the serving process that talks to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Final

from modelkeep.cli.client import Client
from modelkeep.core.errors import Conflict, Error, Unreachable
from modelkeep.core.shapes import Json

START_S: Final = 60.0


@contextmanager
def server(folder: Path, port: int) -> Iterator[Client]:
    """Runs `modelkeep serve --clock events` on a fresh folder and gives its client.

    Args:
        folder: data folder; one that an earlier demo left there is replaced.
        port: 0 takes a free one.

    Raises:
        Conflict: the folder exists and is not a demo's.
        Unreachable: the server does not come up; the message quotes its last words.
    """
    marker = folder / "demo"
    if folder.exists():
        if not marker.exists():
            raise Conflict(f"{folder} exists and no demo made it", hint="Name another folder with --data.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    marker.write_text("Made by `modelkeep demo`, which replaces this folder when it runs again.\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "modelkeep",
        "serve",
        "--clock",
        "events",
        "--data",
        str(folder),
        "--port",
        str(port),
    ]
    own = _environment(MODELKEEP_RETENTION_LOGS="1y", MODELKEEP_RETENTION_SAMPLES="1y")
    words = folder / "server.log"
    with words.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log, env=own) as process:
        try:
            yield _await(process, folder, words)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _await(process: subprocess.Popen[bytes], folder: Path, words: Path) -> Client:
    """Waits until the server answers and gives the client for it."""
    end = time.monotonic() + START_S
    told = folder / "server.json"
    while time.monotonic() < end and process.poll() is None:
        try:
            client = Client(str(json.loads(told.read_text(encoding="utf-8"))["url"]), timeout_s=120)
            client.get("/readyz")
        except (OSError, ValueError, KeyError, Error):
            time.sleep(0.1)
        else:
            return client
    last = words.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
    raise Unreachable("the demo's server did not start: " + " / ".join(last), hint=f"Its log is {words}.")


def serving(client: Client, first: date, last: date, seconds: float) -> Iterator[dict[str, Json]]:
    """Runs the serving process and gives what it tells after each event day.

    Raises:
        Unreachable: the process failed; its words are on stderr.
    """
    command = [sys.executable, "-m", "modelkeep.cli.demo.serving", str(first), str(last), str(seconds)]
    own = _environment(MODELKEEP_URL=client.url, OMP_NUM_THREADS="1")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=own) as process:
        try:
            for line in process.stdout or ():
                yield json.loads(line)
        except BaseException:
            process.terminate()
            raise
        if process.wait():
            raise Unreachable(f"the serving process ended with exit code {process.returncode}")


def _environment(**more: str) -> dict[str, str]:
    """Gives this process's environment without modelkeep's own variables, and with `more`."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MODELKEEP_")} | more
