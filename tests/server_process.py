"""A real `modelkeep serve` in its own process, for tests that kill it, fill its disk or talk to it from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from modelkeep.cli.client import Client
from modelkeep.core.errors import Error


class ServerProcess:
    """One data folder whose server can be started, stopped and killed again and again, always on the same port.

    Args:
        folder: the data folder.
        words: options for `modelkeep serve`.
    """

    def __init__(self, folder: Path, *words: str, **environment: str) -> None:
        self.folder = folder
        self.words = words
        self.environment = {**os.environ, **environment}
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self, timeout_s: float = 40.0) -> Client:
        command = [
            sys.executable,
            "-m",
            "modelkeep",
            "serve",
            "--data",
            str(self.folder),
            "--port",
            str(self.port),
            *self.words,
        ]
        told = self.folder / "server.json"
        told.unlink(missing_ok=True)
        self.log = self.folder.with_suffix(".log")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment)
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                url = str(json.loads(told.read_text())["url"])
                client = Client(url, timeout_s=30)
                client.get("/readyz")
            except (OSError, ValueError, KeyError, Error):
                time.sleep(0.02)
                continue
            self.port = int(url.rpartition(":")[2])
            return client
        raise AssertionError(f"the server did not start:\n{self.log.read_text(errors='replace')[-3000:]}")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)

    def stop(self) -> int:
        if self.process is None or self.process.poll() is not None:
            return 0
        self.process.terminate()
        try:
            return self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
